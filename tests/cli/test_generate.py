"""`draftwood generate`: text on stdout, everything else on stderr, errors that can be acted on."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

import draftwood as dw
from draftwood.models.toy import ToyExecutor

Command = Callable[..., Result]
BASE = ("generate", "hello hello hello", "--model", "toy", "--max-new-tokens", "12")


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_stdout_holds_the_text_and_nothing_else(command: Command) -> None:
    shown, told = command(*BASE), document(command(*BASE, "--json"))
    assert shown.exit_code == 0
    assert shown.stdout == told["text"] + "\n"
    assert len(told["token_ids"]) == 12


def test_json_tells_the_whole_output(command: Command) -> None:
    told = document(command(*BASE, "--json", "--logprobs", "3", "--show-trees", "--seed", "5", "--temperature", "1"))
    assert set(told) == {
        "model", "executor", "drafter", "text", "token_ids", "finish_reason", "stop_reason", "logprobs", "stats",
        "seconds", "tokens_per_second", "trees",
    }  # fmt: skip
    assert told["finish_reason"] == "length"
    assert np.shape(told["logprobs"]["top"]) == (12, 3)
    assert told["stats"]["seed"] == 5
    assert set(told["stats"]["times"]) == {"draft", "plan", "forward", "verify", "commit"}
    assert sum(len(tree["emitted"]) for tree in told["trees"]) == 12
    assert [token for tree in told["trees"] for token in tree["emitted"]] == told["token_ids"]


def test_trees_of_the_document_are_consistent(command: Command) -> None:
    told = document(command("generate", "abc" * 30, "--model", "toy", "--max-new-tokens", "60", "--json", "--show"))
    assert sum(len(tree["accepted"]) for tree in told["trees"]) == told["stats"]["accepted"] > 0
    assert sum(len(tree["tokens"]) - 1 for tree in told["trees"]) == told["stats"]["drafted"]
    for tree in told["trees"]:
        assert tree["parents"][0] == -1
        assert all(0 <= parent < i for i, parent in enumerate(tree["parents"]) if i)
        assert [tree["tokens"][node] for node in tree["accepted"]] == tree["emitted"][: len(tree["accepted"])]


def test_the_drafter_changes_the_steps_and_not_the_text(command: Command) -> None:
    long = (*BASE[:-1], "80", "--json")
    plain, drafted = document(command(*long, "--drafter", "none")), document(command(*long))
    assert plain["token_ids"] == drafted["token_ids"]
    assert plain["stats"]["drafted"] == 0
    assert drafted["stats"]["steps"] < plain["stats"]["steps"] == 80


def test_a_prompt_from_stdin(command: Command) -> None:
    piped = command("generate", "--model", "toy", "--max-new-tokens", "12", input="hello hello hello\n")
    assert piped.stdout == command(*BASE).stdout


def test_chat_is_the_default_of_a_model_with_a_template(command: Command, toy: dict[str, Any]) -> None:
    chat, raw = document(command(*BASE, "--json")), document(command(*BASE, "--json", "--raw"))
    assert chat["stats"]["prompt_tokens"] == raw["stats"]["prompt_tokens"] + len("user:\n")
    toy["chat"] = None
    assert document(command(*BASE, "--json"))["token_ids"] == raw["token_ids"]


def test_a_system_message_goes_before_the_question(command: Command) -> None:
    told = document(command(*BASE, "--json", "--system", "be brief"))
    assert told["stats"]["prompt_tokens"] == len("system:be brief\nuser:hello hello hello\n")


def test_show_trees_draws_to_stderr_and_leaves_the_text_alone(command: Command) -> None:
    shown = command("generate", "abc" * 30, "--model", "toy", "--max-new-tokens", "60", "--show")
    assert "accepted" in shown.stderr
    assert "✓" in shown.stderr
    assert "✓" not in shown.stdout


def test_stats_and_logprobs_go_to_stderr(command: Command) -> None:
    shown = command(*BASE, "--stats", "--logprobs", "2")
    assert "tokens per step" in shown.stderr
    assert "log-probability" in shown.stderr
    assert shown.stdout == command(*BASE).stdout


def test_a_pipe_gets_no_control_codes(command: Command) -> None:
    shown = command(*BASE, "--stats", "--show", "--logprobs", "2")
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "\r" not in shown.stdout + shown.stderr


@pytest.fixture
def sources(command: Command, tmp_path: Path) -> str:
    """An index of documents that hold parts of what `BASE` says."""
    ids = document(command(*BASE, "--json"))["token_ids"]
    documents = [("a.txt", "First", [1, *ids[2:7]]), ("b.txt", "", ids[5:10]), ("", "", ids[2:6]), ("", "", [250])]
    dw.FMIndex.build(documents, path=tmp_path / "a.dwx")
    return str(tmp_path / "a.dwx")


def test_cited_parts_are_listed_and_the_text_is_the_same(command: Command, sources: str) -> None:
    plain = document(command(*BASE, "--json"))
    told = document(command(*BASE, "--json", "--cite", sources, "--cite-min", "3"))
    assert told["text"] == plain["text"]
    cited = told["citations"]
    spans = [(one["start"], one["end"]) for one in cited]
    assert {(2, 7), (5, 10)} <= set(spans)
    for one in cited:
        ids, start, end = told["token_ids"], one["start"], one["end"]
        assert one["count"] == dw.FMIndex.open(sources).count(ids[start:end])
        assert one["text"] == _letters(ids[start:end]).strip()
        assert told["text"][len(_letters(ids[:start])) :].startswith(_letters(ids[start:end]))
    first = cited[spans.index((2, 7))]["places"][0]
    assert first == {"document": 0, "offset": 1, "id": "a.txt", "title": "First"}
    shown = command(*BASE, "--cite", sources, "--cite-min", "3")
    assert shown.stdout == plain["text"] + "\n"
    assert "% of the text is in the sources" in shown.stderr
    assert "First (a.txt) at 1" in shown.stderr
    assert "b.txt at 0" in shown.stderr
    assert "\x1b" not in shown.stdout + shown.stderr


def test_cited_parts_are_underlined_where_somebody_looks(
    command: Command, sources: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cited = document(command(*BASE, "--json", "--cite", sources, "--cite-min", "3"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = command(*BASE, "--cite", sources, "--cite-min", "3").stdout
    pieces = re.split(r"\x1b\[([0-9;]*)m", shown)
    styled = list(zip(["0", *pieces[1::2]], pieces[::2], strict=True))
    plain = re.sub(r"\[\d+\]", "", "".join(text for _, text in styled))
    assert plain.rstrip("\n") == cited["text"]
    underlined = "".join(text for style, text in styled if style.split(";")[0] == "4")
    inside = {at for one in cited["citations"] for at in _found(cited["text"], one["text"])}
    assert 0 < len(underlined) <= len(inside) + len(cited["citations"]) < len(cited["text"]) + 9


def _letters(ids: list[int]) -> str:
    """As the tokenizer of these tests spells them."""
    return "".join(" " * (i % 5 == 0) + chr(ord("a") + i % 26) for i in ids)


def _found(text: str, part: str) -> set[int]:
    starts = [at for at in range(len(text)) if text.startswith(part, at)]
    return {at + i for at in starts for i in range(len(part))}


def test_sources_that_hold_nothing_say_so(command: Command, sources: str) -> None:
    shown = command(*BASE, "--cite", sources, "--cite-min", "11")
    assert "no part of the text is in the sources" in shown.stderr
    wrong = command(*BASE, "--cite", sources, "--cite-min", "0")
    assert (wrong.exit_code, "--cite-min must be at least 1" in wrong.stderr) == (2, True)
    assert "the index file must be readable" in command(*BASE, "--cite", "none.dwx").stderr


def test_a_stop_string_ends_the_text(command: Command) -> None:
    whole = document(command(*BASE, "--json"))["text"]
    cut = document(command(*BASE, "--json", "--stop", whole[4:6]))
    assert (cut["finish_reason"], cut["stop_reason"]) == ("stop", whole[4:6])
    assert cut["text"] == whole[: whole.index(whole[4:6])]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--model", "nowhere"), "source must be toy, got 'nowhere'", "ask for the toy"),
        (("--temperature", "-1"), "temperature must be", "0 takes the most likely token"),
        (("--drafter", "psychic"), "--drafter must be one of auto, ngram, none, got 'psychic'", None),
        (("--max-nodes", "9", "--drafter", "none"), "--max-nodes must be left out", "plain decoding has no trees"),
        (("--raw", "--system", "x"), "--system must be used with a chat", "leave out --raw"),
    ],
)
def test_an_error_is_a_line_and_a_hint(
    command: Command, arguments: tuple[str, ...], message: str, hint: str | None
) -> None:
    result = command(*BASE, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith(("error:", "hint:"))]
    assert message in lines[0]
    assert "Traceback" not in result.stderr
    assert len(lines) == (1 if hint is None else 2)
    if hint is not None:
        assert hint in lines[1]
        assert hint not in lines[0]


def test_an_error_in_json_is_a_document_too(command: Command) -> None:
    result = command(*BASE, "--model", "nowhere", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error == {
        "class": "InvalidArgument",
        "message": "source must be toy, got 'nowhere'",
        "hint": "ask for the toy",
    }


def test_debug_shows_where_it_came_from(command: Command) -> None:
    with pytest.raises(dw.InvalidArgument):
        command(*BASE, "--model", "nowhere", "--debug")


def test_an_empty_prompt_is_refused_before_the_model_is_read(command: Command) -> None:
    result = command("generate", "--model", "toy", input="")
    assert result.exit_code == 2
    assert "the prompt must be some text" in result.stderr
    assert "reading" not in result.stderr


class _PressesCtrlC(ToyExecutor):
    """Sends SIGINT to this process during the given forward."""

    def __init__(self, at: int) -> None:
        super().__init__(context_weight=10.0)
        self._left = at

    def forward(self, plan: Any, hidden: tuple[str, ...] = ()) -> Any:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().forward(plan, hidden)


def test_ctrl_c_keeps_what_there_is(command: Command, toy: dict[str, Any]) -> None:
    toy["executor"] = ToyExecutor(context_weight=10.0)
    whole = document(command(*BASE, "--json"))
    toy["executor"] = _PressesCtrlC(at=5)
    result = command(*BASE, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 130
    assert told["finish_reason"] == "cancelled"
    assert told["token_ids"] == whole["token_ids"][:5]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_the_prompt_is_read(command: Command, toy: dict[str, Any]) -> None:
    toy["executor"] = _PressesCtrlC(at=1)
    result = command("generate", "a" * 1500, "--model", "toy")
    assert result.exit_code == 130
    assert result.stdout == "\n"
    assert "stopped after 0 tokens" in result.stderr
