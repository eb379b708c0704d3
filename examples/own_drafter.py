"""A drafter of your own: it repeats what followed the last token earlier. Wrong drafts cost time, never correctness.

python examples/own_drafter.py
"""

from __future__ import annotations

import draftwood as dw


class LastSeen:
    """Proposes the four tokens that followed the latest earlier occurrence of the last token."""

    max_nodes = 8

    def propose(self, view: dw.View) -> dw.Tree | None:
        tokens = view.token_ids
        earlier = (tokens[:-1] == tokens[-1]).nonzero()[0]
        if len(earlier) == 0:
            return None
        start = earlier[-1] + 1
        chain = [tokens[-1], *tokens[start : start + 4]]
        return dw.Tree(chain, range(-1, len(chain) - 1))


def main() -> None:
    prompt = [5, 9, 2, 7, 5, 9, 2, 7, 5]
    params = dw.SamplingParams(max_new_tokens=100)
    with dw.testing.toy_engine(context_weight=0.1, drafter=None) as engine:
        plain = engine.generate(prompt, params)
    with dw.testing.toy_engine(context_weight=0.1, drafter=LastSeen()) as engine:
        drafted = engine.generate(prompt, params)
    assert drafted.token_ids.tolist() == plain.token_ids.tolist(), "the text never depends on the drafter"
    print(f"plain:   {plain.stats.steps} steps for {plain.stats.new_tokens} tokens")
    print(f"drafted: {drafted.stats.steps} steps, {drafted.stats.tokens_per_step:.2f} tokens per step")


if __name__ == "__main__":
    main()
