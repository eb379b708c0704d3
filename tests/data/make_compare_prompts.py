"""Makes python/draftwood/cli/prompts.json, the texts of `draftwood compare`: `python make_compare_prompts.py DATA`.

DATA holds spec-bench/question.jsonl.gz, squad/dev-v1.1.json.gz, humaneval/HumanEval.jsonl.gz and
tinyshakespeare/input.txt.gz as published (sources and licences: NOTICE). Items were picked by hand for their length,
before any of them had been timed.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "python" / "draftwood" / "cli" / "prompts.json"
MOST_BYTES = 60_000

CHAT, STORIES, SAMPLED = (143, 149), (87, 88), (86, 100)
PASSAGES = (("Oxygen", 3, 1), ("Apollo_program", 0, 2))
FUNCTIONS = (("HumanEval/9", "result", "maxima"), ("HumanEval/20", "distance", "gap"))
SCENES = ((0, 6, 12), (10, 16, 20))


def main(data: Path) -> None:
    """Writes the file and says how large it is."""
    questions = {item["question_id"]: item for item in json_lines(data / "spec-bench" / "question.jsonl.gz")}

    def mt_bench(ids: tuple[int, ...]) -> list[dict[str, Any]]:
        return [chat(f"MT-bench {i}", questions[i]["turns"][0]) for i in ids]

    kinds = [
        kind("chat", "a question that needs an explanation", mt_bench(CHAT)),
        kind("document", "a question about a passage that the prompt holds", document_questions(data)),
        kind("code edit", "a function to be given back with a renamed variable", code_edits(data)),
        kind("extraction", "few-shot: speeches of a play as JSON lines", extractions(data)),
        kind("story", "free writing, greedy", mt_bench(STORIES)),
        kind(
            "sampled",
            "free writing at temperature 1: little repeats, so drafts of seen text can hardly help",
            mt_bench(SAMPLED),
            {"temperature": 1.0, "seed": 7},
        ),
    ]
    text = json.dumps({"made_by": "tests/data/make_compare_prompts.py", "kinds": kinds}, indent=1, ensure_ascii=False)
    if len(text.encode()) > MOST_BYTES:
        raise SystemExit(f"{TARGET.name} must be at most {MOST_BYTES} bytes, got {len(text.encode())}")
    TARGET.write_text(text + "\n", encoding="utf-8")
    print(f"{TARGET}: {len(text.encode())} bytes")


def kind(name: str, about: str, prompts: list[dict[str, Any]], params: dict[str, Any] | None = None) -> dict[str, Any]:
    """One row of the table."""
    return {"kind": name, "about": about, "params": params or {}, "prompts": prompts}


def chat(source: str, content: str) -> dict[str, Any]:
    """A prompt that goes through the chat template."""
    return {"source": source, "messages": [{"role": "user", "content": content}]}


def document_questions(data: Path) -> list[dict[str, Any]]:
    """A passage of SQuAD and one of its questions."""
    with gzip.open(data / "squad" / "dev-v1.1.json.gz") as file:
        articles = {article["title"]: article["paragraphs"] for article in json.load(file)["data"]}
    prompts = []
    for title, paragraph, question in PASSAGES:
        passage = articles[title][paragraph]
        asked = passage["qas"][question]["question"]
        content = f"{passage['context']}\n\nAnswer from the passage above and quote the sentences you used. {asked}"
        prompts.append(chat(f"SQuAD {title}/{paragraph}", content))
    return prompts


def code_edits(data: Path) -> list[dict[str, Any]]:
    """A solution of HumanEval without its docstring, and a variable to rename."""
    functions = {item["task_id"]: item for item in json_lines(data / "humaneval" / "HumanEval.jsonl.gz")}
    prompts = []
    for task, old, new in FUNCTIONS:
        item = functions[task]
        head = item["prompt"][item["prompt"].index("def ") :].split('"""')[0].rstrip()
        code = f"{head}\n{item['canonical_solution'].rstrip()}"
        content = f"Rename the variable `{old}` to `{new}` and give back the whole function.\n\n```python\n{code}\n```"
        prompts.append(chat(task, content))
    return prompts


def extractions(data: Path) -> list[dict[str, Any]]:
    """Two scenes with their speeches as JSON, and a third one to be done."""
    with gzip.open(data / "tinyshakespeare" / "input.txt.gz", "rt", encoding="utf-8") as file:
        speeches = [speech.split(":\n", 1) for speech in file.read().split("\n\n")[:40]]
    prompts = []
    for start, middle, end in SCENES:
        parts = []
        for first, last in ((start, (start + middle) // 2), ((start + middle) // 2, middle), (middle, end)):
            scene = speeches[first:last]
            told = "\n".join(f"{who}: {' '.join(what.split())}" for who, what in scene)
            lines = "\n".join(json.dumps({"speaker": who, "words": " ".join(what.split())}) for who, what in scene)
            parts.append(f"Play:\n{told}\nJSON lines:\n{lines}")
        open_end = parts[-1].rindex("JSON lines:\n") + len("JSON lines:\n")
        text = "\n\n".join([*parts[:-1], parts[-1][:open_end]])
        prompts.append({"source": f"Tiny Shakespeare, speeches {start}–{end}", "text": text, "stop": ["\n\n"]})
    return prompts


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a compressed file, one a line."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
