"""Plain decoding of one text through our executor, beside `transformers.generate` and a bare loop on the same module.

One process, the arms in turn, equal tokens asserted first.
"""

from __future__ import annotations

import statistics
from time import perf_counter

import draftwood as dw

TOKENS, ROUNDS = 64, 7
PROMPT = "The harbour was quiet in the early morning, and the old fisherman"


def test_plain_decoding_against_transformers(smollm2, isa, benchmark):
    import torch
    from transformers import DynamicCache

    module, tokenizer = smollm2
    ids = tokenizer.encode(PROMPT)
    engine = dw.Engine(module, executor="transformers", drafter=None)

    def ours():
        params = dw.SamplingParams(max_new_tokens=TOKENS, ignore_eos=True)
        return engine.generate(ids, params).token_ids.tolist()

    @torch.inference_mode()
    def generate():
        inputs = torch.tensor(ids[None].astype("int64"))
        settings = {"do_sample": False, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "use_cache": True}
        output = module.generate(inputs, attention_mask=torch.ones_like(inputs), eos_token_id=None, **settings)
        return output[0, len(ids) :].tolist()

    @torch.inference_mode()
    def bare_loop():
        cache, got = DynamicCache(config=module.config), []
        token = torch.tensor(ids[None].astype("int64"))
        for _ in range(TOKENS):
            token = (
                module(token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(-1, True)
            )
            got.append(int(token))
        return got

    arms = {"draftwood": ours, "transformers.generate": generate, "bare loop": bare_loop}
    texts = {name: arm() for name, arm in arms.items()}
    assert texts["draftwood"] == texts["transformers.generate"] == texts["bare loop"]
    seconds = {name: [] for name in arms}

    def rounds():
        for _ in range(ROUNDS):
            for name, arm in arms.items():
                start = perf_counter()
                arm()
                seconds[name].append(perf_counter() - start)

    benchmark.pedantic(rounds, rounds=1)
    print(f"\n{TOKENS} tokens, f32, {torch.get_num_threads()} threads, {isa}")
    for name, times in seconds.items():
        ratio = statistics.median(t / o for t, o in zip(times, seconds["draftwood"], strict=True))
        print(f"  {name:22} {TOKENS / statistics.median(times):6.1f} tok/s   draftwood is {ratio:.3f}×")
        benchmark.extra_info[name] = ratio
    assert benchmark.extra_info["transformers.generate"] >= 1.0
    assert benchmark.extra_info["bare loop"] >= 0.95
