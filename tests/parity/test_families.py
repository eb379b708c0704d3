"""Every family of the table on the native executor, from folders and GGUF files, beside transformers in float32."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

import draftwood as dw

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from support.drafters import all_drafters  # noqa: E402 - needs torch
from support.families import LLAMA3, MODELS, VOCAB, family_model, write_gguf  # noqa: E402
from support.hf_greedy import Tally, reference  # noqa: E402
from support.hf_plans import full_logits  # noqa: E402
from support.native import native_logits  # noqa: E402

TOLERANCE = 1e-4
PROMPT = random.Random(5).choices(range(VOCAB), k=120)


@pytest.fixture(scope="module", params=MODELS)
def saved(request, tmp_path_factory):
    """A family's module and its folder, in several files where it is untied."""
    module = family_model(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    module.save_pretrained(folder, max_shard_size="100KB")
    return module, folder


def check_logits(module, engine):
    assert engine.executor.caps.name.startswith("native")
    expected = full_logits(module, PROMPT).numpy()
    whole = native_logits(engine, PROMPT, len(PROMPT))
    # Rows that are flat, or all the same, would prove nothing.
    assert np.ptp(expected, axis=1).min() > 1 and np.ptp(expected, axis=0).min() > 0.1
    assert np.abs(whole - expected).max() <= TOLERANCE
    assert np.array_equal(whole, native_logits(engine, PROMPT, 17))


def test_logits_of_a_folder_are_those_of_transformers(saved):
    module, folder = saved
    with dw.Engine.load(str(folder), executor="native", drafter=None) as engine:
        check_logits(module, engine)


def test_greedy_text_is_that_of_generate_and_drafts_change_nothing(saved):
    module, folder = saved
    prompts, params = [PROMPT, PROMPT[:50], PROMPT[7:30]], dw.SamplingParams(max_new_tokens=24)
    sampled = dw.SamplingParams(max_new_tokens=24, temperature=1.0, seed=3)
    with dw.Engine.load(str(folder), drafter=None) as plain:
        texts = [plain.generate(prompt, params).token_ids.tolist() for prompt in prompts]
        samples = [plain.generate(prompt, sampled).token_ids.tolist() for prompt in prompts]
    tally = Tally(2 * TOLERANCE)
    for prompt, ours in zip(prompts, texts, strict=True):
        ids, gaps, _ = reference(module, prompt, 24)
        tally.compare(ours, ids, gaps)
    tally.check()

    def continuation(tokens, n):
        for prompt, text in zip(prompts, texts, strict=True):
            done = len(tokens) - len(prompt)
            if done >= 0 and list(tokens) == prompt + text[:done]:
                return text[done : done + n]
        return []

    accepted = 0
    for drafter in all_drafters(VOCAB, continuation).values():
        with dw.Engine.load(str(folder), drafter=drafter) as drafted:
            outputs = drafted.generate(prompts, params)
            assert [out.token_ids.tolist() for out in outputs] == texts
            assert [out.token_ids.tolist() for out in drafted.generate(prompts, sampled)] == samples
            accepted += sum(out.stats.accepted for out in outputs)
    assert accepted > 40


@pytest.mark.parametrize("name", ["llama3", "llama-linear", "smollm3", "qwen2", "qwen3", "gpt2"])
def test_gguf_files_of_the_family(name, tmp_path):
    pytest.importorskip("gguf")
    # Files have no windows, and the layers of SmolLM3 without rope are every fourth.
    changes = {"use_sliding_window": False, "layer_types": None} if name in ("qwen2", "qwen3", "smollm3") else {}
    if name == "llama-linear":
        changes = {"hidden_act": "silu"}
    if name == "smollm3":
        changes |= {"no_rope_layers": None, "num_hidden_layers": 5}
    module = family_model(name, **changes)
    write_gguf(module, tmp_path / "model.gguf")
    with dw.Engine.load(str(tmp_path / "model.gguf"), drafter=None) as engine:
        check_logits(module, engine)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama3", {"rope_parameters": LLAMA3 | {"factor": 9.0}}),
        ("llama3", {"rope_parameters": LLAMA3 | {"low_freq_factor": 1.5}}),
        ("llama3", {"rope_parameters": LLAMA3 | {"high_freq_factor": 5.0}}),
        ("llama-linear", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
        ("llama-linear", {"hidden_act": "silu"}),
        ("smollm3", {"no_rope_layers": [1, 1, 1]}),
        ("smollm3", {"sliding_window": 20}),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 34}),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}),
        ("qwen3", {"layer_types": ["full_attention"] * 3}),
        ("gpt2", {"layer_norm_epsilon": 1e-4}),
    ],
)
def test_each_feature_shows(name, changes, tmp_path):
    """What the comparison with transformers would miss otherwise."""
    module = family_model(name)
    module.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    expected = full_logits(module, PROMPT).numpy()
    with dw.Engine.load(str(tmp_path), executor="native") as engine:
        assert np.abs(native_logits(engine, PROMPT, 120) - expected).max() > 10 * TOLERANCE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
def test_sixteen_bit_weights_keep_their_bits(name, dtype, tmp_path):
    family_model(name).to(getattr(torch, dtype)).save_pretrained(tmp_path)
    module = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for kept in ("auto", "float32"):
        with dw.Engine.load(str(tmp_path), executor="native", dtype=kept, drafter=None) as engine:
            stored = {"bfloat16": "BF16", "float16": "F16"}[dtype] if kept == "auto" else "F32"
            assert f"({stored}," in engine.executor.caps.name
            check_logits(module, engine)


def test_a_gpt2_with_100_000_tokens(tmp_path):
    """As mGPT has them."""
    module = family_model("gpt2", vocab_size=100_000)
    module.save_pretrained(tmp_path)
    ids = [99_999, 5, 70_000, 31_337]
    with dw.Engine.load(str(tmp_path), executor="native") as engine:
        assert np.abs(native_logits(engine, ids, 4) - full_logits(module, ids).numpy()).max() <= TOLERANCE


def test_a_table_of_positions_ends(tmp_path):
    family_model("gpt2", n_positions=64).save_pretrained(tmp_path)
    with dw.Engine.load(str(tmp_path), executor="native") as engine:
        assert len(engine.generate(PROMPT[:60], dw.SamplingParams(max_new_tokens=99)).token_ids) == 4
        with pytest.raises(dw.InvalidArgument, match="64"):
            engine.generate(PROMPT[:65])
        with pytest.raises(dw.InvalidArgument, match="position"):
            native_logits(engine, PROMPT[:65], 65)
    with pytest.raises(dw.InvalidArgument, match="max_context must be 2 … 64"):
        dw.Engine.load(str(tmp_path), executor="native", max_context=65)


def test_a_decoder_without_prefix_and_masks_of_old_checkpoints(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    module = family_model("gpt2")
    module.save_pretrained(tmp_path)
    bare = {name: tensor.contiguous() for name, tensor in module.transformer.state_dict().items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 8, 8)
    safetensors.save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    with dw.Engine.load(str(tmp_path), executor="native") as engine:
        check_logits(module, engine)
    bare["h.0.attn.gate.weight"] = torch.ones(3)
    safetensors.save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(dw.UnsupportedModel, match=r"tensor h\.0\.attn\.gate\.weight"):
        dw.Engine.load(str(tmp_path), executor="native")
    del bare["h.0.attn.gate.weight"], bare["h.1.ln_1.bias"]
    safetensors.save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(dw.errors.ModelFormatError, match=r"tensor h\.1\.ln_1\.bias must be of shape \[72\]"):
        dw.Engine.load(str(tmp_path), executor="native")


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder per family whose config.json tests may change, and what it says."""
    made = {}
    for name in ("llama2", "qwen2", "smollm3", "gpt2"):
        folder = tmp_path_factory.mktemp(name)
        family_model(name).save_pretrained(folder)
        made[name] = folder, json.loads((folder / "config.json").read_text())
    return made


def load_changed(folders, name, changes, executor="native"):
    folder, config = folders[name]
    changed = {key: value for key, value in (config | changes).items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(changed))
    return dw.Engine.load(str(folder), executor=executor)


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


REFUSED = [
    ("llama2", {"model_type": "mixtral"}, "model_type = 'mixtral'"),
    ("llama2", rope("dynamic", factor=2.0), "rope_parameters.rope_type = 'dynamic'"),
    ("llama2", rope("yarn", factor=2.0), "rope_parameters.rope_type = 'yarn'"),
    ("llama2", rope("longrope", factor=2.0), "rope_parameters.rope_type = 'longrope'"),
    ("llama2", rope("default", partial_rotary_factor=0.5), "rope_parameters.partial_rotary_factor = 0.5"),
    ("llama2", rope("default", mscale=0.7), "rope_parameters.mscale = 0.7"),
    ("llama2", {"rope_parameters": ..., "rope_scaling": {"type": "dynamic"}}, "rope_scaling.rope_type = 'dynamic'"),
    ("llama2", {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
    ("llama2", {"logit_scale": 0.0625}, "logit_scale = 0.0625"),
    ("llama2", {"logits_scaling": 8.0}, "logits_scaling = 8.0"),
    ("llama2", {"residual_multiplier": 0.22}, "residual_multiplier = 0.22"),
    ("llama2", {"embedding_multiplier": 12.0}, "embedding_multiplier = 12.0"),
    ("llama2", {"attention_multiplier": 0.015}, "attention_multiplier = 0.015"),
    ("llama2", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0"),
    ("llama2", {"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
    ("llama2", {"num_local_experts": 8}, "num_local_experts = 8"),
    ("llama2", {"num_experts": 64}, "num_experts = 64"),
    ("llama2", {"sliding_window": 16}, "sliding_window = 16"),
    ("llama2", {"hidden_act": "relu"}, "hidden_act = 'relu'"),
    ("llama2", {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    ("llama2", {"quantization_config": {"bits": 4}}, "quantization_config = {'bits': 4}"),
    ("llama2", {"rope_interleaved": True}, "rope_interleaved = True"),
    ("llama2", {"something_new": 3}, "something_new = 3"),
    ("qwen2", {"layer_types": ["full_attention", "chunked_attention", "full_attention"]}, "'chunked_attention'"),
    ("qwen2", {"use_sliding_window": False}, "layer_types = 'sliding_attention'"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
    ("gpt2", {"activation_function": "relu"}, "activation_function = 'relu'"),
]


@pytest.mark.parametrize(("name", "changes", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_changes_the_mathematics_is_refused_by_name(folders, name, changes, words):
    with pytest.raises(dw.UnsupportedModel) as e:
        load_changed(folders, name, changes)
    assert words in str(e.value)
    assert 'executor="transformers"' in e.value.hint


NEUTRAL = [
    ("llama2", {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": None}),
    ("llama2", rope("default", partial_rotary_factor=1.0)),
    ("llama2", {"partial_rotary_factor": 1.0, "logit_scale": 1.0, "residual_multiplier": 1, "num_experts": 0}),
    ("llama2", {"attn_logit_softcapping": None, "sliding_window": None, "rope_interleaved": False, "pruned_heads": {}}),
    ("gpt2", {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "n_ctx": 512}),
]


@pytest.mark.parametrize(("name", "changes"), NEUTRAL, ids=[", ".join(changes) for _, changes in NEUTRAL])
def test_neutral_values_change_nothing(folders, name, changes):
    with load_changed(folders, name, {}) as engine:
        expected = native_logits(engine, PROMPT[:20], 20)
    with load_changed(folders, name, changes) as engine:
        assert np.array_equal(native_logits(engine, PROMPT[:20], 20), expected)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (LLAMA3, {key: value for key, value in LLAMA3.items() if key != "rope_theta"}),
        ({"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}, {"type": "linear", "factor": 4.0}),
    ],
    ids=["llama3", "linear"],
)
def test_old_and_new_spellings_of_ropes_are_the_same(folders, new, old):
    changes = {"rope_parameters": ..., "rope_theta": 1000.0, "rope_scaling": old}
    with load_changed(folders, "llama2", {"rope_parameters": new}) as engine:
        expected = native_logits(engine, PROMPT, 64)
    with load_changed(folders, "llama2", changes) as engine:
        assert np.array_equal(native_logits(engine, PROMPT, 64), expected)
    with load_changed(folders, "llama2", {}) as engine:
        assert not np.array_equal(native_logits(engine, PROMPT, 64), expected)


def test_auto_takes_transformers_with_the_reason(folders, caplog):
    caplog.set_level("INFO", "draftwood")
    with load_changed(folders, "llama2", rope("yarn", factor=2.0), executor="auto") as engine:
        assert engine.executor.caps.name.startswith("transformers")
        assert "rope_parameters.rope_type = 'yarn'" in engine.executor.caps.name
        assert "'yarn'" in caplog.text
        assert len(engine.generate(PROMPT[:9], dw.SamplingParams(max_new_tokens=3)).token_ids) == 3


def test_end_tokens_of_a_folder(folders):
    folder, _ = folders["llama2"]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9, VOCAB]}))
    from draftwood.models.folder import open_folder

    load_changed(folders, "llama2", {"eos_token_id": 3}).close()
    assert open_folder(folder).stop_ids == (7, 9)
    (folder / "generation_config.json").unlink()
    assert open_folder(folder).stop_ids == (3,)


def test_settings_that_an_executor_cannot_take():
    for settings in ({"executor": "native"}, {"dtype": "float32"}):
        (name,) = settings
        with dw.testing.toy_engine() as toy, pytest.raises(dw.InvalidArgument, match=f'{name} must be "auto"'):
            dw.Engine(toy.executor, **settings)
