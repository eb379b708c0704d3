"""How decoders of encoder–decoders begin and end: their prompts, their models' own settings, their tokenizers."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw

torch = pytest.importorskip("torch")

from support.hf_tiny import tiny_model  # noqa: E402
from support.seq2seq import MEL, VOCAB, greedy, sources, tiny  # noqa: E402


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
def test_decoder_prompts(family):
    model, some = tiny(family), sources(family, 3)
    begins = [[7, 30], [1, 7, 30], [9]]
    with dw.Engine(model) as engine:
        outputs = engine.generate(some, dw.SamplingParams(max_new_tokens=12), decoder_prompt=begins)
        for source, begin, output in zip(some, begins, outputs, strict=True):
            whole = begin if begin[0] == 1 else [1, *begin]  # the start is put in front
            assert output.token_ids.tolist() == greedy(model, source, 12, decoder_input_ids=torch.tensor([whole]))[0]
            assert output.stats.prompt_tokens == len(whole)
        same = engine.generate(some[:2], dw.SamplingParams(max_new_tokens=12), decoder_prompt=np.array([7, 30]))
        assert same[0].token_ids.tolist() == outputs[0].token_ids.tolist()
        stream = engine.stream(some[0], dw.SamplingParams(max_new_tokens=12), decoder_prompt=begins[0])
        assert [int(t) for event in stream for t in event.token_ids] == outputs[0].token_ids.tolist()
        beams = engine.beam_search(some[0], dw.BeamParams(num_beams=1, max_new_tokens=12), decoder_prompt=begins[0])
        assert beams[0].token_ids.tolist() == outputs[0].token_ids.tolist()


@pytest.mark.parametrize(
    "settings",
    [
        {"forced_bos_token_id": 77},
        {"forced_eos_token_id": 12, "eos_token_id": 12},
        {"forced_bos_token_id": 77, "forced_eos_token_id": [12, 13], "eos_token_id": [12, 13]},
        {"suppress_tokens": "said"},
        {"begin_suppress_tokens": "said"},
        {"forced_bos_token_id": 77, "begin_suppress_tokens": "said"},
        {"bad_words_ids": "said"},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_settings_of_the_model(run, settings):
    family, _, some, references = run
    if family == "whisper" and "forced_bos_token_id" in settings:
        return  # its start is longer than one token in all released models; the rule is the same
    said = sorted({token for ids, _, _ in references for token in ids[:4]})
    named = {name: said if value == "said" else value for name, value in settings.items()}
    if settings.get("bad_words_ids"):
        named["bad_words_ids"] = [[token] for token in said]
    other = tiny(family, **named)
    with dw.Engine(other, draft_policy="always") as engine:
        changed = 0
        for source, (plain, _, _) in zip(some, references, strict=True):
            output = engine.generate(source, dw.SamplingParams(max_new_tokens=10)).token_ids.tolist()
            assert output == greedy(other, source, 10)[0][: len(output)]
            changed += output != plain[:10]
        assert changed == len(some)


def test_decoder_only_models_ignore_such_settings():
    model = tiny_model("llama", 64, seed=0, hidden=32, feed_forward=32, heads=2, kv_heads=1)
    with dw.Engine(model) as engine:
        before = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=9)).token_ids.tolist()
    forced = next(token for token in range(64) if token not in before)
    own = {"forced_bos_token_id": forced, "forced_eos_token_id": forced, "suppress_tokens": before}
    model.generation_config.update(**own, decoder_start_token_id=3)
    with dw.Engine(model) as engine:
        assert engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=9)).token_ids.tolist() == before
        with pytest.raises(dw.InvalidArgument, match="decoder_prompt must be None for a model without an encoder"):
            engine.generate([1, 2], decoder_prompt=[3])
        with pytest.raises(dw.InvalidArgument, match="decoder_prompt must be None"):
            engine.beam_search([1, 2], decoder_prompt=[3])
        with pytest.raises(dw.InvalidArgument, match="dict of 'input_features'"):
            engine.generate({"input_features": np.zeros((MEL, 4))})


def test_what_whisper_begins_with():
    model, some = tiny("whisper"), sources("whisper", 2)
    plain = greedy(model, some[0], 8)[0]
    config = model.generation_config
    config.no_timestamps_token_id, config.return_timestamps = 40, False
    with dw.Engine(model) as engine:
        output = engine.generate(some[0], dw.SamplingParams(max_new_tokens=8))
        assert output.stats.prompt_tokens == 2 and output.token_ids.tolist()[:7] == whisper(model, some[0])
        assert output.token_ids.tolist() != plain
    config.forced_decoder_ids = [[1, 50], [2, 51]]
    with dw.Engine(model) as engine:
        output = engine.generate(some[0], dw.SamplingParams(max_new_tokens=8))
        assert output.stats.prompt_tokens == 4 and output.token_ids.tolist()[:7] == whisper(model, some[0])
        given = engine.generate(some[0], dw.SamplingParams(max_new_tokens=8), decoder_prompt=[1, 50, 51, 40])
        assert given.token_ids.tolist() == output.token_ids.tolist()
    config.forced_decoder_ids, config.lang_to_id = [[1, None], [2, 51]], {"<|en|>": 60, "<|fr|>": 61}
    config.task_to_id = {"transcribe": 52, "translate": 53}
    with dw.Engine(model) as engine:
        with pytest.raises(dw.InvalidArgument, match=r"decoder_prompt must be start, language.*detect the language"):
            engine.generate(some[0])
        assert len(engine.generate(some[0], dw.SamplingParams(max_new_tokens=3), decoder_prompt=[1, 60]).token_ids) == 3
    config.language, config.task = "fr", None
    config.forced_decoder_ids, config.is_multilingual = None, True
    with dw.Engine(model) as engine:
        assert engine.executor.settings.start == (1, 61, 52, 40)


def whisper(model, source):
    """Whisper's own `generate`, which makes its own beginning and leaves it out: the first 7 new tokens."""
    with torch.inference_mode():
        features = torch.from_numpy(source["input_features"])[None]
        return model.generate(features, do_sample=False, max_new_tokens=12)[0][:7].tolist()


def test_text(tmp_path):
    """A tokenizer puts an end behind what the encoder reads, not behind what the decoder goes on with."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = {"</s>": 0, **{letter: i + 1 for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}}
    letters = {letter: i for letter, i in letters.items() if i < VOCAB}
    raw = Tokenizer(models.BPE(letters, [], byte_fallback=False))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>")
    model = tiny("bart", seed=4)
    with dw.Engine(model, tokenizer) as engine:
        ids = engine.encode("go home")
        assert ids[-1] == 0 and len(ids) == 8
        params = dw.SamplingParams(max_new_tokens=6)
        said = engine.generate("go home", params, decoder_prompt="we")
        we = engine.tokenizer.encode_plain(["we"])[0]
        same = engine.generate(ids, params, decoder_prompt=we)
        assert said.token_ids.tolist() == same.token_ids.tolist()
        assert said.stats.prompt_tokens == 3 and said.text == engine.tokenizer.decode(said.token_ids)
        scored = engine.score("go home", "we"), engine.score(ids, we)
        assert np.array_equal(*scored)
        found = engine.beam_search(["go", "home"], dw.BeamParams(num_beams=2, max_new_tokens=4, stop="e"))
        assert all(len(beams) for beams in found)
