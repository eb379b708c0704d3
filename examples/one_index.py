"""One index, two uses: it drafts what a corpus says next, then tells where the answer stands in it.

python examples/one_index.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import draftwood as dw


def main() -> None:
    params = dw.SamplingParams(max_new_tokens=64)
    prompts = [[i, i + 1, i + 2] for i in range(1, 40)]
    with dw.testing.toy_engine(context_weight=0.3, drafter=None) as engine:
        answers = engine.generate(prompts, params)
    # A corpus of what the model has said: its documents could as well be strings, with tokenizer=engine.
    corpus = [[*prompt, *answer.token_ids] for prompt, answer in zip(prompts, answers, strict=True)]

    with tempfile.TemporaryDirectory() as folder:
        index = dw.FMIndex.build(corpus, path=Path(folder) / "answers.dwx")
        print(index)

        drafter = dw.drafters.Mix(dw.drafters.Suffix(), dw.drafters.Retrieval(index), max_nodes=16)
        with dw.testing.toy_engine(context_weight=0.3, drafter=drafter) as engine:
            output = engine.generate(prompts[7], params)
        assert output.token_ids.tolist() == answers[7].token_ids.tolist(), "the text never depends on the drafter"
        print(f"drafted: {output.stats.steps} steps for {output.stats.new_tokens} tokens")

        for span in index.attribute(output.token_ids, min_length=8, places=3):
            where = ", ".join(f"document {document} at {offset}" for document, offset in span.places)
            print(f"tokens {span.start} … {span.end} occur {span.count} times: {where}")
        following, counts = index.next_tokens(output.token_ids[:1], top=3)
        print("after its first token most often:", dict(zip(following.tolist(), counts.tolist(), strict=True)))


if __name__ == "__main__":
    main()
