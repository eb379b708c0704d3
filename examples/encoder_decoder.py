"""An encoder–decoder: the encoder runs once per prompt, greedy text and all beams attend to the same keys.

The model is small and random, so that this runs without weights: put `MarianMTModel.from_pretrained(...)` in its place.
"""

from __future__ import annotations

import torch
from transformers import BartConfig, BartForConditionalGeneration

import draftwood as dw


def random_model() -> BartForConditionalGeneration:
    torch.manual_seed(5)
    layers = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 2), ("ffn_dim", 64))}
    config = BartConfig(vocab_size=96, d_model=32, encoder_attention_heads=2, decoder_attention_heads=2, **layers)
    model = BartForConditionalGeneration(config).eval()
    model.generation_config.forced_bos_token_id = 0  # as real ones say; the engine reads it
    return model


def main() -> None:
    model = random_model()
    source = [0, 17, 4, 9, 30, 61, 2]
    with dw.Engine(model) as engine:
        print(engine)
        output = engine.generate(source, dw.SamplingParams(max_new_tokens=8))
        print("greedy", output.token_ids.tolist(), output.finish_reason)
        begun = engine.generate(source, dw.SamplingParams(max_new_tokens=8), decoder_prompt=[2, 40, 41])
        print("after 40 41", begun.token_ids.tolist())
        for hypothesis in engine.beam_search(source, dw.BeamParams(num_beams=4, num_return=2, max_new_tokens=8)):
            print(f"beam {hypothesis.token_ids.tolist()}, score {hypothesis.score:.3f}")
        assert engine.executor.encoder_runs == 3


if __name__ == "__main__":
    main()
