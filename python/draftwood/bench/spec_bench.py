"""Spec-Bench's questions as its authors group them, and where a text begins to loop."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument

__all__ = ["PER_TASK", "TOKENS", "Question", "loop_start", "questions"]

TOKENS, PER_TASK, _MOST_PROMPT = 128, 20, 1150
_FILE = "spec-bench/question.jsonl.gz"
_MT_BENCH = {"writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"}
_LOOP = 16


@dataclass(frozen=True, slots=True)
class Question:
    """The first turn of a question."""

    task: str
    name: str
    text: str

    def messages(self, encode: Callable[[Any], Sequence[int]]) -> list[dict[str, str]]:
        """As a chat; a text of more than 1,150 tokens loses its end, so that it fits the context of small models."""
        text = self.text
        while (count := len(encode(text))) > _MOST_PROMPT:
            text = text[: len(text) * _MOST_PROMPT // count]
        return [{"role": "user", "content": text}]


def questions(data: Path, per_task: int = PER_TASK) -> Iterator[Question]:
    """The first `per_task` of each task; MT-bench's eight categories are one task, taken in turn."""
    path = data / _FILE
    if not path.is_file():
        hint = "github.com/hemingkx/Spec-Bench, data/spec_bench/question.jsonl"
        raise InvalidArgument.of("DRAFTWOOD_DATA", f"a folder with {_FILE}", str(data), hint)
    tasks: dict[str, dict[str, list[Question]]] = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        entry = json.loads(line)
        category = entry["category"]
        task = "mt-bench" if category in _MT_BENCH else category
        name = f"{task} {entry['question_id']}"
        tasks.setdefault(task, {}).setdefault(category, []).append(Question(task, name, entry["turns"][0]))
    for categories in tasks.values():
        in_turn = [one for group in zip(*categories.values(), strict=False) for one in group]
        yield from in_turn[:per_task]


def loop_start(tokens: Sequence[int]) -> int:
    """Where a text begins to repeat itself: before the first 16 tokens that were there before; its length if nowhere.

    At least 2, so that there is something to time.
    """
    seen = set()
    for end in range(_LOOP, len(tokens) + 1):
        window = tuple(tokens[end - _LOOP : end])
        if window in seen:
            return max(end - _LOOP, 2)
        seen.add(window)
    return len(tokens)
