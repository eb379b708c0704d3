"""Makes prompts.json.gz: 128 prompts of eight kinds out of public data sets (see README.md beside this file).

    python tests/data/make_prompts.py FOLDER

FOLDER holds the data sets as gzipped JSON lines or text, under the names used below. The choice is evenly spaced over
each set, so it is the same every time; kinds are dealt in turn, so any 16 neighbours hold all of them.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MOST_BYTES = 1250
"""Keeps a prompt below 400 tokens; make_greedy.py checks it."""
COUNTS = {
    "chat": 24,
    "document": 24,
    "gsm8k": 16,
    "story": 16,
    "code": 16,
    "few-shot": 16,
    "code edit": 8,
    "translation": 8,
}
EDITS = (
    "Add type hints to every argument and to the return value of this function. Answer with the code only.",
    "Rename all arguments of this function to shorter names and keep the rest as it is. Answer with the code only.",
)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(folder / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def spread(items: list[Any], count: int) -> list[Any]:
    """`count` of the items, evenly spaced."""
    return [items[i * len(items) // count] for i in range(count)]


def candidates(folder: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every prompt that could be taken, by kind."""
    questions = lines(folder, "spec-bench/question.jsonl.gz")
    conversations = [q for q in questions if q["question_id"] < 161]
    yield "chat", [chat(q["turns"][0]) for q in conversations]
    yield "translation", [chat(q["turns"][0]) for q in questions if q["category"] == "translation"]
    yield "gsm8k", [chat(problem["question"]) for problem in lines(folder, "gsm8k/test.jsonl.gz")]

    functions = lines(folder, "humaneval/HumanEval.jsonl.gz")
    yield "code", [{"text": f["prompt"]} for f in functions]
    edits = [(EDITS[i % 2], f["prompt"] + f["canonical_solution"]) for i, f in enumerate(functions)]
    yield "code edit", [chat(f"{task}\n\n```python\n{code}```") for task, code in edits]

    with gzip.open(folder / "squad/dev-v1.1.json.gz", "rt", encoding="utf-8") as file:
        paragraphs = [p for article in json.load(file)["data"] for p in article["paragraphs"]]
    asked = [(p["context"], p["qas"][0]["question"]) for p in paragraphs if p["qas"]]
    yield "document", [chat(f"{context}\n\nQuestion: {question}") for context, question in asked]
    yield "few-shot", [few_shot(p) for p in paragraphs if len(p["qas"]) >= 5]

    with gzip.open(folder / "tinyshakespeare/input.txt.gz", "rt", encoding="utf-8") as file:
        scenes = file.read().split("\n\n")
    openings = ["\n\n".join(scenes[i : i + 3]) for i in range(0, len(scenes) - 3, 3)]
    yield "story", [{"text": opening} for opening in openings if len(opening) > 200]


def few_shot(paragraph: dict[str, Any]) -> dict[str, Any]:
    """A passage, four questions with their answers, and one without."""
    asked = [f"Q: {qa['question'].strip()}\nA: {qa['answers'][0]['text']}" for qa in paragraph["qas"][:4]]
    last = f"Q: {paragraph['qas'][4]['question'].strip()}\nA:"
    return {"text": "\n".join([paragraph["context"], "", *asked, last])}


def size(prompt: dict[str, Any]) -> int:
    text = prompt.get("text") or prompt["messages"][0]["content"]
    return len(text.encode())


def main(folder: Path) -> None:
    by_kind = {}
    for kind, prompts in candidates(folder):
        fitting = [prompt for prompt in prompts if size(prompt) <= MOST_BYTES]
        by_kind[kind] = [{"kind": kind, **prompt} for prompt in spread(fitting, COUNTS[kind])]
    # Each prompt stands at its share of its kind: 16 neighbours hold two or three of every kind.
    placed = [
        ((i + 0.5) / len(prompts), kind, prompt)
        for kind, prompts in by_kind.items()
        for i, prompt in enumerate(prompts)
    ]
    prompts = [prompt for _, _, prompt in sorted(placed, key=lambda place: place[:2])]
    data = json.dumps(prompts, ensure_ascii=False, indent=0).encode()
    (HERE / "prompts.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
