"""Engines over modules in memory: weights are read where torch has them, with the bits of their folder; what the native
executor cannot read goes to transformers, by name; and no answer is a mixture of two states of the weights."""

from __future__ import annotations

import copy
import gc
import random
import weakref

import numpy as np
import pytest

import draftwood as dw

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from support.families import MODELS, VOCAB, family_model  # noqa: E402 - needs torch
from support.native import native_logits  # noqa: E402

PROMPT = random.Random(5).choices(range(VOCAB), k=90)
LONG = dw.SamplingParams(max_new_tokens=40)


@pytest.fixture
def module():
    return family_model("llama2")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", MODELS)
def test_borrowed_weights_give_the_bits_of_their_folder(name, dtype, tmp_path):
    module = family_model(name)
    # Not module.to(dtype): that would round the rope's frequencies too.
    module.save_pretrained(tmp_path / "f32")
    module = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "f32", dtype=getattr(torch, dtype)).eval()
    module.save_pretrained(tmp_path / "same")
    with dw.Engine.load(str(tmp_path / "same"), executor="native", drafter=None) as packed:
        expected = {chunk: native_logits(packed, PROMPT, chunk) for chunk in (1, 3, 17, 90)}
    with dw.Engine(module, drafter=None) as engine:
        assert f"borrowed from {type(module).__name__}" in engine.stats().executor
        for chunk, logits in expected.items():
            assert np.array_equal(native_logits(engine, PROMPT, chunk), logits)
    with dw.Engine.load(str(tmp_path / "same"), executor="native", drafter=None, dtype="float32") as packed:
        whole = native_logits(packed, PROMPT, 90)
    with dw.Engine(module, executor="native", dtype="float32", drafter=None) as engine:
        assert ("borrowed" if dtype == "float32" else "copied") in engine.stats().executor
        assert np.array_equal(native_logits(engine, PROMPT, 90), whole)


def test_weights_are_not_copied_and_the_module_is_held_weakly():
    module = family_model("llama2")
    before = native_logits(dw.Engine(module, drafter=None), PROMPT, 90)
    engine = dw.Engine(module, drafter=None)
    with torch.no_grad():
        module.lm_head.weight.data[7].fill_(0.5)  # which torch does not count
    changed = native_logits(engine, PROMPT, 90)
    assert np.array_equal(np.delete(changed, 7, 1), np.delete(before, 7, 1)) and (changed[:, 7] != before[:, 7]).all()
    text = engine.generate(PROMPT, LONG).token_ids.tolist()
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None
    assert engine.generate(PROMPT, LONG).token_ids.tolist() == text
    engine.refresh()
    assert engine.generate(PROMPT, LONG).token_ids.tolist() == text


def change_in_place(module):
    with torch.no_grad():
        module.model.layers[1].mlp.down_proj.weight.mul_(-1)


def change_tensor(module):
    module.model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(-module.model.layers[1].mlp.down_proj.weight)


def change_address(module):
    weight = module.model.layers[1].mlp.down_proj.weight
    weight.data = -weight.data


def change_norm(module):
    with torch.no_grad():
        module.model.norm.weight.mul_(-1)


CHANGES = [change_in_place, change_tensor, change_address, change_norm]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("drafter", [None, "auto"])
def test_a_change_ends_running_texts_and_the_next_one_takes_it(module, change, drafter):
    engine = dw.Engine(module, drafter=drafter)
    whole = engine.generate(PROMPT, LONG).token_ids.tolist()
    stream = engine.stream(PROMPT, LONG)
    first = [*next(stream).token_ids, *next(stream).token_ids]
    other = engine.stream(PROMPT[:20], LONG)
    next(other)
    change(module)
    for one in (stream, other):
        with pytest.raises(dw.InvalidArgument, match=r"the weights must be those .* call engine.refresh\(\)") as caught:
            list(one)
        assert one.output.finish_reason == "error" and caught.value.output is not None
    assert stream.output.token_ids.tolist()[: len(first)] == first == whole[: len(first)]
    changed = engine.generate(PROMPT, LONG).token_ids.tolist()
    assert changed != whole
    assert changed == dw.Engine(module, drafter=None).generate(PROMPT, LONG).token_ids.tolist()
    stats = engine.stats()
    assert stats.running == stats.waiting == 0 and stats.pages_free == stats.pages_total


def test_a_change_ends_searches_and_the_texts_of_a_list(module):
    engine = dw.Engine(module, drafter=None)
    beams = dw.BeamParams(num_beams=3, num_return=1, max_new_tokens=8)
    expected = engine.beam_search(PROMPT, beams)

    def at_step(number, change):
        steps = iter(range(99))
        engine.on_step(lambda plan, events: change(module) if next(steps) == number else None)

    at_step(3, change_in_place)
    with pytest.raises(dw.InvalidArgument, match=r"down_proj\.weight changed in place"):
        engine.beam_search(PROMPT, beams)
    at_step(3, change_in_place)  # back again
    outputs = engine.generate([PROMPT, PROMPT[:9]], LONG)
    assert [out.finish_reason for out in outputs] == ["error"] * 2
    assert all(isinstance(out.error, dw.InvalidArgument) and len(out.token_ids) for out in outputs)
    engine.on_step(None)
    assert engine.beam_search(PROMPT, beams)[0].token_ids.tolist() == expected[0].token_ids.tolist()


def test_copies_are_made_again_for_the_next_text():
    module = family_model("qwen2").to(torch.bfloat16)
    module.model.rotary_emb.inv_freq = module.model.rotary_emb.original_inv_freq = type(module.model.rotary_emb)(
        config=module.config
    ).inv_freq
    engine = dw.Engine(module, executor="native", dtype="float32", drafter=None)
    assert "copied" in engine.stats().executor
    before = engine.generate(PROMPT, LONG).token_ids.tolist()
    change_norm(module)
    after = engine.generate(PROMPT, LONG).token_ids.tolist()
    assert after != before
    module.model.norm.weight.data.mul_(-1)
    assert engine.generate(PROMPT, LONG).token_ids.tolist() == after
    engine.refresh()
    assert engine.generate(PROMPT, LONG).token_ids.tolist() == before
    shared = dw.Engine(copy.copy(engine.executor), drafter=None)
    assert shared.generate(PROMPT, LONG).token_ids.tolist() == before


def test_refresh_ends_what_runs_with_every_executor(module):
    for executor in ("native", "transformers"):
        engine = dw.Engine(module, executor=executor, drafter=None)
        stream = engine.stream(PROMPT, LONG)
        next(stream)
        engine.refresh()
        with pytest.raises(dw.InvalidArgument, match=r"engine\.refresh\(\) was called"):
            list(stream)
        assert engine.generate(PROMPT, LONG).finish_reason == "length"


# ── what goes to transformers ───────────────────────────────────────────────────────────────────────────────────────


class MyLinear(torch.nn.Linear):
    pass


def own_class(module):
    module.model.layers[0].mlp.up_proj.__class__ = MyLinear


def parametrised(module):
    torch.nn.utils.parametrizations.weight_norm(module.lm_head)


def own_forward(module):
    mlp = module.model.layers[2].mlp
    mlp.forward = lambda x: 2 * type(mlp).forward(mlp, x)


def epsilon(module):
    module.model.norm.variance_epsilon = 0.5


def frequencies(module):
    module.model.rotary_emb.inv_freq = module.model.rotary_emb.inv_freq * 2


def strided(module):
    weight = module.model.layers[0].mlp.up_proj.weight
    weight.data = weight.data.t().contiguous().t()


def doubles(module):
    module.lm_head.double()


def more(module):
    module.model.norm.register_parameter("more", torch.nn.Parameter(torch.ones(3)))


def meta(module):
    module.to("meta")


def sparse(module):
    module.lm_head.weight = torch.nn.Parameter(module.lm_head.weight.detach().to_sparse())


def quantised(module):
    module.lm_head.weight = torch.nn.Parameter(
        torch.quantize_per_tensor(module.lm_head.weight.detach(), 0.1, 0, torch.qint8), requires_grad=False
    )


def subclass(module):
    class Mine(torch.Tensor):
        pass

    weight = module.lm_head.weight
    del module.lm_head.weight
    module.lm_head.weight = torch.nn.Parameter(weight.detach().as_subclass(Mine))


def inference(module):
    with torch.inference_mode():
        module.lm_head.weight = torch.nn.Parameter(torch.ones_like(module.lm_head.weight))


def tied(module):
    module.config.tie_word_embeddings = True


def scaling(module):
    module.model.layers[1].self_attn.scaling = 0.3


def setting(module):
    module.config.hidden_act = "relu"


REFUSED = [
    (lambda module: module.model.layers[1].register_forward_hook(lambda *a: None), "model.layers.1, which has hooks"),
    (lambda module: module.lm_head.register_forward_pre_hook(lambda *a: None), "lm_head, which has hooks"),
    (own_class, "up_proj, a .*MyLinear"),
    (parametrised, "lm_head, a torch.nn.utils.parametrize"),
    (own_forward, "mlp, whose forward was exchanged"),
    (epsilon, "model.norm with epsilon 0.5"),
    (frequencies, "rotary_emb, whose frequencies"),
    (scaling, "self_attn with a scaling of 0.3"),
    (setting, "hidden_act = 'relu'"),
    (strided, "up_proj.weight, strided"),
    (doubles, "lm_head.weight, of torch.float64"),
    (more, "tensor model.norm.more"),
    (meta, "embed_tokens.weight, which is meta"),
    (sparse, "lm_head.weight, which is sparse"),
    (quantised, "lm_head.weight, which is quantised"),
    (subclass, "lm_head.weight, a Mine"),
    (inference, "lm_head.weight, made under inference_mode"),
    (tied, "lm_head.weight, which is not model.embed_tokens.weight"),
]


@pytest.mark.parametrize(("spoil", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_refused_by_name(module, spoil, words):
    spoil(module)
    with pytest.raises(dw.UnsupportedModel, match=words) as caught:
        dw.Engine(module, executor="native")
    assert "transformers" in caught.value.hint


def test_other_modules_go_to_transformers_with_the_reason(module):
    calls = []
    module.model.layers[1].register_forward_hook(lambda *a: calls.append(1))
    with dw.Engine(module, drafter=None) as engine:
        assert engine.executor.caps.name.startswith("transformers")
        assert "native does not know model.layers.1, which has hooks" in engine.stats().executor
        engine.generate(PROMPT, dw.SamplingParams(max_new_tokens=2))
    assert calls
    with pytest.raises(dw.InvalidArgument, match='activations must be "auto"'):
        dw.Engine(module, activations="float32")


def test_hooks_parts_and_training_that_come_later(module):
    engine = dw.Engine(module, drafter=None)
    module.train()
    with pytest.raises(dw.InvalidArgument, match="evaluation mode"):
        engine.generate(PROMPT, LONG)
    module.eval()
    with torch.no_grad():
        module(torch.tensor([PROMPT]), output_hidden_states=True)  # transformers hangs its own hooks
    hook = module.lm_head.register_forward_hook(lambda *a: None)
    with pytest.raises(dw.UnsupportedModel, match="a hook on lm_head that came later"):
        engine.generate(PROMPT, LONG)
    hook.remove()
    engine.generate(PROMPT, LONG)
    dw.Engine(module, executor="native").close()
    module.lm_head = torch.nn.Linear(72, VOCAB, bias=False)
    with pytest.raises(dw.UnsupportedModel, match="another module as lm_head"):
        engine.beam_search(PROMPT, dw.BeamParams(num_beams=2))
    module.config.rms_norm_eps = 0.1
    with pytest.raises(dw.UnsupportedModel, match="epsilon"):
        engine.refresh()


def test_choices_for_a_module(module):
    for settings, words in (
        ({"executor": "torch"}, "executor must be one of"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"weights": "map"}, 'weights must be "auto" for a module'),
    ):
        with pytest.raises(dw.InvalidArgument, match=words):
            dw.Engine(module, **settings)
    with dw.Engine(module, executor="transformers", dtype="float32") as engine:
        assert engine.executor.caps.name.startswith("transformers")
    with pytest.raises(dw.InvalidArgument, match='dtype must be "auto" for a module of bfloat16'):
        dw.Engine(module.bfloat16(), executor="transformers", dtype="float32")
