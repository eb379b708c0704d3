"""The executor of encoder–decoders against a full recompute by the untouched module: ≤ 1e-5 · max|logit|."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from draftwood.errors import InvalidArgument, UnsupportedModel  # noqa: E402
from draftwood.executors.encoder_decoder import EncoderDecoderExecutor  # noqa: E402
from draftwood.executors.hf import HfExecutor  # noqa: E402
from support.hf_plans import (  # noqa: E402
    Feed,
    Pool,
    Text,
    accept,
    make_plan,
    one_thread,  # noqa: F401
    random_tokens,
    random_tree,
    tiny_model,
)
from support.seq2seq import FAMILIES, decoder_logits, sources, tiny  # noqa: E402


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param, tiny(request.param)


def start(model, some, page_size=4):
    """An executor with a cache full of NaN, and one request per source."""
    executor = EncoderDecoderExecutor(model)
    executor.allocate(512, page_size)
    executor._cache.storage.fill_(float("nan"))
    for request, source in enumerate(some):
        executor.sources[request] = executor.source(source)
    return executor, Pool(512, page_size)


def expected(model, some, feed):
    """What a recompute gives for the rows that the feed reads."""
    source = some[feed.request]
    chain = decoder_logits(model, source, feed.text.tokens + feed.chain)[-len(feed.chain) :]
    rows = list({"tree": chain[-1:], "all": chain, "none": chain[:0]}[feed.read])
    if feed.read != "none":
        rows += [decoder_logits(model, source, feed.path(node))[-1] for node in range(1, len(feed.tree_tokens) + 1)]
    return torch.stack(rows) if rows else chain[:0]


def step(executor, model, some, feeds, rng=None):
    """Runs a step, checks every read row, accepts a random node of each tree."""
    wanted = torch.cat([expected(model, some, feed) for feed in feeds])
    rows = executor.forward(make_plan(feeds))
    assert rows.logits.shape == wanted.shape
    if len(wanted):
        assert (torch.from_numpy(rows.logits) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    moves = [accept(feed, rng.randrange(len(feed.tree_tokens) + 1) if rng else 0) for feed in feeds]
    executor.apply(np.concatenate(moves, axis=1))


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_ragged_batches_of_chunks_rows_and_trees(family, page_size):
    """Texts of different lengths, two of each request, share a step."""
    name, model = family
    rng, some = random.Random(page_size), sources(name, 3, seed=page_size)
    executor, pool = start(model, some, page_size)
    texts = [(Text(pool), request) for request in (0, 0, 1, 2, 1)]
    for _ in range(6):
        feeds = [
            Feed(
                text,
                random_tokens(rng, rng.choice([1, 1, 2, 7])),
                *random_tree(rng, rng.choice([0, 0, 1, 9])),
                read=rng.choice(["all", "tree", "tree", "none"]),
                request=request,
            )
            for text, request in rng.sample(texts, rng.randrange(1, 6))
        ]
        step(executor, model, some, feeds, rng)
    assert executor.encoder_runs == 3


def test_long_texts(family):
    """Beyond the distances that T5 tells apart."""
    name, model = family
    rng, some = random.Random(1), sources(name, 1)
    executor, pool = start(model, some)
    text = Text(pool)
    while len(text.tokens) < 80:
        feed = Feed(text, random_tokens(rng, rng.randrange(1, 14)), read="all")
        step(executor, model, some, [feed])


def test_a_request_without_its_source_is_noticed(family):
    name, model = family
    some = sources(name, 2)
    executor, pool = start(model, some)
    del executor.sources[1]
    plan = make_plan([Feed(Text(pool), [1], request=request) for request in (0, 1)])
    logits = executor.forward(plan).logits
    assert np.isfinite(logits[0]).all() and np.isnan(logits[1]).all()


def test_keys_are_computed_once_and_never_copied(family):
    """Counted where they are made: eight texts of one request, many steps, one projection per layer."""
    name, model = family
    some = sources(name, 1)
    executor, pool = start(model, some)
    made = []
    hooks = [
        key.register_forward_hook(lambda module, args, out: made.append(out.shape[1]))
        for key, _ in executor._projections()
    ]
    texts, pointers = [Text(pool) for _ in range(8)], set()
    for i in range(5):
        feeds = [Feed(text, [1 + i]) for text in texts]
        executor.forward(make_plan(feeds))
        for feed in feeds:
            accept(feed, 0)
        pointers.add(executor.sources[0].cross.keys[0].data_ptr())
    for hook in hooks:
        hook.remove()
    assert made == [executor.sources[0].cross.length] * 2 and len(pointers) == 1 and executor.encoder_runs == 1


def test_the_module_is_left_as_it_was(family):
    name, model = family
    some = sources(name, 1)
    before = model.config._attn_implementation, decoder_logits(model, some[0], [1, 2, 3])
    executor, pool = start(model, some)
    executor.forward(make_plan([Feed(Text(pool), [1, 2, 3])]))
    assert model.config._attn_implementation == before[0]
    assert torch.equal(decoder_logits(model, some[0], [1, 2, 3]), before[1])
    model.train()
    with pytest.raises(InvalidArgument, match="evaluation mode"):
        executor.forward(make_plan([Feed(Text(pool), [1])]))
    model.eval()


def test_eager_modules():
    for name in ("t5", "bart"):
        model, some = tiny(name), sources(name, 1)
        model.set_attn_implementation("eager")
        executor, pool = start(model, some)
        rng = random.Random(2)
        step(executor, model, some, [Feed(Text(pool), random_tokens(rng, 5), *random_tree(rng, 6), read="all")])


def test_hidden_states_are_the_input_of_the_head(family):
    name, model = family
    executor, pool = start(model, sources(name, 1))
    rows = executor.forward(make_plan([Feed(Text(pool), [1, 2], read="all")]), hidden=("last",))
    logits = rows.logits.copy()
    assert rows.hidden.shape == (2, 64)
    assert np.array_equal(executor.head(rows.hidden).numpy(), logits)


def test_caps():
    contexts = {"t5": 4096, "bart": 128, "marian": 128, "whisper": 96}
    for name in FAMILIES:
        caps = EncoderDecoderExecutor(tiny(name)).caps
        assert (caps.vocab_size, caps.max_context, caps.slot_bytes) == (256, contexts[name], 2 * 2 * 64 * 4)
        assert caps.trees and "encoder runs once per prompt" in caps.name


def test_models_that_are_none():
    with pytest.raises(UnsupportedModel, match=r"llama.*bart, marian, t5, whisper"):
        EncoderDecoderExecutor(tiny_model("llama"))
    with pytest.raises(UnsupportedModel, match="is_encoder_decoder"):
        HfExecutor(tiny("t5"))
    model = tiny("bart")
    with pytest.raises(UnsupportedModel, match="without encoder or language head"):
        EncoderDecoderExecutor(model.model)
    model.generation_config.decoder_start_token_id = None
    with pytest.raises(UnsupportedModel, match="decoder_start_token_id is None"):
        EncoderDecoderExecutor(model)
