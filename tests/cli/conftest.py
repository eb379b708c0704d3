"""The command line over the toy model, whose 256 ids are given letters as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from draftwood import _core, loading
from draftwood.cli import app
from draftwood.errors import InvalidArgument
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.bench_toys import Toys, gone


class LetterTokenizer:
    """One id per byte of the prompt; as text, ids are the letters a to z, some with a space before."""

    def __init__(self, chat_template: str | None) -> None:
        letters = [b"%s%c" % (b" " if i % 5 == 0 else b"", ord("a") + i % 26) for i in range(256)]
        self.token_bytes = _core.TokenBytes.from_bytes(letters, [])
        self._letters = letters
        self.chat_template = chat_template
        self.stop_ids = ()

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, ids: np.ndarray) -> str:
        return b"".join(self._letters[i] for i in ids).decode()

    def encode_chat(self, messages: list[dict[str, str]]) -> np.ndarray:
        return self.encode("".join(f"{one['role']}:{one['content']}\n" for one in messages))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`--model toy` is the toy model; set `["weight"]` to 0 for texts that drafts follow, `["chat"]` for a template."""
    settings: dict[str, Any] = {"weight": 0.0, "chat": "{{ messages }}", "executor": None}

    def load(model: Any, tokenizer: Any, *, max_context: int | None) -> Parts:
        if model != "toy":
            raise InvalidArgument.of("source", "toy", repr(model), "ask for the toy")
        executor = settings["executor"] or ToyExecutor(context_weight=settings["weight"])
        return Parts(executor, "toy", tokenizer=LetterTokenizer(settings["chat"]))

    monkeypatch.setattr(loading, "load_parts", load)
    return settings


@pytest.fixture
def command(toy: dict[str, Any]) -> Callable[..., Result]:
    """Runs a command line in this process."""

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app.app, list(arguments), input=input, catch_exceptions=False)

    return run


@pytest.fixture
def toys(tmp_path: Path) -> Iterator[Toys]:
    made = Toys(tmp_path)
    yield made
    # Whatever happened to an arm, its process is gone.
    assert all(gone(int(path.read_text())) for path in tmp_path.glob("*.pid"))
