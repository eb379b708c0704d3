"""The user's module stays as it was, and what the executor cannot run is refused with the reason."""

import copy
import random
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaModel, T5Config, T5ForConditionalGeneration

from draftwood.errors import InternalError, InvalidArgument, UnsupportedModel
from draftwood.executors._support import FAMILIES
from draftwood.executors.hf import HfExecutor
from support.hf_plans import (
    Feed,
    Pool,
    Text,
    expected_logits,
    full_logits,
    make_plan,
    one_thread,  # noqa: F401
    random_tokens,
    random_tree,
    tiny_model,
)


def start(model, pages=64, page_size=4):
    executor = HfExecutor(model)
    executor.allocate(pages, page_size)
    return executor, Pool(pages, page_size)


def run(executor, pool, seed=0):
    rng = random.Random(seed)
    feed = Feed(Text(pool), random_tokens(rng, 9), *random_tree(rng, 5))
    return feed, torch.from_numpy(executor.forward(make_plan([feed])).logits.copy())


def contents(model):
    """Everything a module carries in Python: attributes, hooks, the config, except the tensors' values."""
    states = []
    for name, module in model.named_modules():
        state = {k: v for k, v in vars(module).items() if k not in ("_parameters", "_buffers", "_modules")}
        states.append((name, type(module), {k: repr(v) for k, v in state.items()}))
    return states, dict(vars(model.config)), vars(model.generation_config).copy()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_module_is_as_before(family, implementation):
    model = tiny_model(family)
    model.set_attn_implementation(implementation)
    before, logits = copy.deepcopy(contents(model)), full_logits(model, [1, 2, 3])
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prompt = torch.tensor([[5, 6, 7, 8]])
    text = model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0)
    executor, pool = start(model)
    run(executor, pool)
    assert contents(model) == before
    assert model.config._attn_implementation == implementation
    assert torch.equal(full_logits(model, [1, 2, 3]), logits)
    assert torch.equal(model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0), text)
    executor.close()
    assert contents(model) == before
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]) and tensor.is_inference() is False
    model(torch.tensor([[1, 2]])).logits.sum().backward()


def test_the_module_is_as_before_after_a_failure():
    model = tiny_model("llama")
    executor, pool = start(model)

    def fail(*_):
        raise RuntimeError("boom")

    hook = model.model.layers[1].mlp.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="boom"):
        run(executor, pool)
    hook.remove()
    assert model.config._attn_implementation == "sdpa"
    feed, logits = run(executor, pool)
    assert torch.allclose(logits, expected_logits(model, feed), rtol=0, atol=1e-4)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_owner_and_a_second_executor_call_during_a_step(implementation):
    model = tiny_model("llama")
    model.set_attn_implementation(implementation)
    wanted = full_logits(model, [3, 1, 4, 1, 5])
    (first, pool), (second, other) = start(model), start(model)
    inside, release, seen = threading.Event(), threading.Event(), []

    def wait(*_):
        if threading.current_thread() is thread:
            inside.set()
            release.wait(30)

    hook = model.model.layers[0].register_forward_hook(wait)
    thread = threading.Thread(target=lambda: seen.append(run(first, pool)))
    thread.start()
    assert inside.wait(30)
    assert torch.equal(full_logits(model, [3, 1, 4, 1, 5]), wanted)
    feed, logits = run(second, other, seed=1)
    release.set()
    thread.join()
    hook.remove()
    assert model.config._attn_implementation == implementation
    for one, its in [(feed, logits), *seen]:
        assert torch.allclose(its, expected_logits(model, one), rtol=0, atol=1e-4)


def test_changed_weights_and_hooks_are_seen():
    model = tiny_model("llama")
    executor, pool = start(model)
    _, before = run(executor, pool)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(-1)
    feed, logits = run(executor, pool)
    assert not torch.allclose(logits, before, atol=1e-2)
    assert torch.allclose(logits, expected_logits(model, feed), rtol=0, atol=1e-4)
    model.lm_head.register_forward_hook(lambda module, args, output: output + 1)
    assert torch.allclose(run(executor, pool)[1], logits + 1)


def test_caps():
    caps = HfExecutor(tiny_model("llama")).caps
    assert (caps.vocab_size, caps.max_context, caps.slot_bytes) == (256, 512, 2 * 2 * 3 * 16 * 4)
    assert caps.trees and caps.rollback and caps.hidden_states and caps.device == "cpu"
    assert "LlamaForCausalLM" in caps.name
    assert HfExecutor(tiny_model("gpt2").half()).caps.slot_bytes == 2 * 2 * 96 * 2


@pytest.mark.parametrize(
    ("family", "setting", "value", "reason"),
    [
        ("mistral", "sliding_window", 64, "sliding window of 64"),
        ("qwen2", "layer_types", ["full_attention", "sliding_attention"], "layer types"),
        ("llama", "final_logit_softcapping", 30.0, "final_logit_softcapping"),
        ("llama", "attn_logit_softcapping", 50.0, "attn_logit_softcapping"),
        ("llama", "logits_scaling", 8.0, "logits_scaling"),
        ("llama", "is_causal", False, "is_causal"),
        ("llama", "is_encoder_decoder", True, "is_encoder_decoder"),
        ("llama", "rope_parameters", {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}, "dynamic"),
        ("llama", "rope_parameters", {"rope_type": "longrope", "rope_theta": 1e4}, "longrope"),
        ("gpt2", "add_cross_attention", True, "add_cross_attention"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", "scale_attn_weights", False, "scale_attn_weights"),
    ],
)
def test_settings_that_are_not_built(family, setting, value, reason):
    model = tiny_model(family)
    setattr(model.config, setting, value)
    with pytest.raises(UnsupportedModel, match=reason):
        HfExecutor(model)


def test_a_window_that_never_closes_is_no_window():
    model = tiny_model("mistral", sliding_window=512)
    executor, pool = start(model)
    feed, logits = run(executor, pool)
    assert torch.allclose(logits, expected_logits(model, feed), rtol=0, atol=1e-4)


def test_other_families_are_named():
    small = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    gemma = AutoModelForCausalLM.from_config(
        Gemma2Config(**small, num_attention_heads=2, num_key_value_heads=1, head_dim=8)
    )
    gemma.config.final_logit_softcapping = gemma.config.attn_logit_softcapping = None
    with pytest.raises(UnsupportedModel, match=f"gemma2.*{', '.join(FAMILIES)}"):
        HfExecutor(gemma)
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    with pytest.raises(UnsupportedModel, match="is_encoder_decoder"):
        HfExecutor(t5)


def test_no_head_no_module_no_device():
    llama = tiny_model("llama")
    with pytest.raises(UnsupportedModel, match="language head"):
        HfExecutor(LlamaModel(llama.config))
    with pytest.raises(InvalidArgument, match="PreTrainedModel, got Linear"):
        HfExecutor(torch.nn.Linear(2, 2))
    llama.model.layers[1].to("meta")
    with pytest.raises(UnsupportedModel, match="cpu, meta"):
        HfExecutor(llama)
    with pytest.raises(UnsupportedModel, match="float64"):
        HfExecutor(tiny_model("gpt2").double())


def test_arguments_and_layers_that_attention_does_not_know():
    model = tiny_model("llama")
    executor, pool = start(model)
    forward = model.model.layers[1].self_attn.forward
    model.model.layers[1].self_attn.forward = lambda *args, **kwargs: forward(*args, softcap=3.0, **kwargs)
    with pytest.raises(UnsupportedModel, match="softcap"):
        run(executor, pool)
    model.model.layers[1].self_attn.forward = lambda hidden_states, **kwargs: (hidden_states, None)
    with pytest.raises(UnsupportedModel, match="1 of 2 layers"):
        run(executor, pool)
    assert model.config._attn_implementation == "sdpa"


def test_wrong_use():
    model = tiny_model("llama")
    executor, pool = start(model)
    with pytest.raises(InvalidArgument, match="hidden must be"):
        executor.forward(make_plan([Feed(Text(pool), [1])]), hidden=("layer 3",))
    model.train()
    with pytest.raises(InvalidArgument, match="evaluation mode"):
        run(executor, pool)
    model.eval()
    executor.close()
    with pytest.raises(InternalError, match="allocate"):
        run(executor, pool)
    executor.allocate(64, 4)
    run(executor, pool)
