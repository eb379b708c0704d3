"""`draftwood compare`: what it measures, what it admits, and what a program reads."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

import draftwood as dw
from draftwood.cli import measure, source
from draftwood.cli.prompts import read_kinds
from draftwood.models.toy import ToyExecutor

Command = Callable[..., Result]
BASE = ("compare", "--model", "toy", "--tokens", "48")
KINDS = [kind.name for kind in read_kinds()]


def test_the_prompts_are_small_and_of_all_kinds() -> None:
    assert KINDS == ["chat", "document", "code edit", "extraction", "story", "sampled"]
    assert len((files("draftwood.cli") / "prompts.json").read_bytes()) <= 60_000
    assert all(len(kind.prompts) == 2 for kind in read_kinds())
    assert all(kind.params.get("seed") is not None for kind in read_kinds() if kind.params.get("temperature"))


def test_json_has_both_sides_of_every_kind(command: Command) -> None:
    result = command(*BASE, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert [row["kind"] for row in told["kinds"]] == KINDS
    assert all(row["equal"] for row in told["kinds"])
    for row in told["kinds"]:
        assert set(row["seconds_per_step"]) == {"plain", "drafts"}
        assert set(row["seconds_per_step"]["drafts"]) == {"draft", "plan", "forward", "verify", "commit"}
        assert row["speed_up"] == pytest.approx(row["tokens_per_second"]["drafts"] / row["tokens_per_second"]["plain"])
    ratios = [row["speed_up"] for row in told["kinds"]]
    assert told["geometric_mean_speed_up"] == pytest.approx(math.prod(ratios) ** (1 / len(ratios)))
    policy = told["draft_policy"]
    assert policy["policy"] == "auto"
    assert 1.0 <= policy["rows_per_step"] <= 16.0
    assert policy["seconds_by_rows"]["1"] > 0.0
    for text in told["texts"]:
        assert text["plain"]["token_ids"] == text["drafts"]["token_ids"]
        assert text["plain"]["stats"]["drafted"] == 0
    assert told["machine"]["instruction_set"] == dw.runtime.backend()["cpu"]


def test_the_table_has_a_row_per_kind_and_a_tree(command: Command) -> None:
    result = command(*BASE, "--tokens", "100")
    assert result.exit_code == 0
    for kind in KINDS:
        assert f"\n {kind}" in result.stdout
    assert "✓" in result.stdout
    assert "Geometric mean over 6 kinds" in result.stdout
    assert "Draft policy auto: " in result.stdout
    assert "6 of 6 texts are the same" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr
    assert max(map(len, result.stdout.splitlines()[:20])) <= 80, "the tables fit a terminal"


def test_kinds_are_chosen_by_name_and_prompts_by_number(command: Command) -> None:
    told = json.loads(command(*BASE, "--json", "--kinds", "sampled, chat", "--prompts", "2").stdout)
    assert [text["kind"] for text in told["texts"]] == ["sampled", "sampled", "chat", "chat"]


def test_list_needs_no_model(command: Command) -> None:
    result = command("compare", "--list", "--model", "nowhere")
    assert result.exit_code == 0
    assert all(kind in result.stdout for kind in KINDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kinds", "poetry"), "--kinds must be some of chat, document"),
        (("--kinds", ","), "--kinds must be some of chat, document"),
        (("--prompts", "3"), "--prompts must be 1 … 2, got 3"),
        (("--tokens", "1"), "--tokens must be 2 or more"),
        (("--drafter", "none"), "--drafter must be auto or ngram"),
    ],
)
def test_errors_come_before_the_model_is_read(command: Command, arguments: tuple[str, ...], message: str) -> None:
    result = command(*BASE, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "reading" not in result.stderr


class _OtherLogits(ToyExecutor):
    """Adds to the logit of one id from a position on: a model that answers differently when drafts are on."""

    def __init__(self, bias: float, position: int) -> None:
        super().__init__(context_weight=10.0)
        self.bias, self.position = bias, position

    def forward(self, plan: Any, hidden: tuple[str, ...] = ()) -> Any:
        rows = super().forward(plan, hidden)
        late = plan.positions[plan.head_rows] >= self.position
        rows.logits[late, 7] += np.float32(self.bias)
        return rows


def different_pair(monkeypatch: pytest.MonkeyPatch, bias: float) -> None:
    """The drafted engine gets other logits from the 21st generated token of a chat on."""
    genuine = source.copy.copy

    def other(executor: Any) -> Any:
        twin = genuine(executor)
        twin.bias = bias
        return twin

    monkeypatch.setattr(source.copy, "copy", other)


def test_a_real_difference_is_shown_and_fails(
    command: Command, toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = len("user:\n") + len(read_kinds()[0].prompts[0].content[0]["content"])
    toy["executor"] = _OtherLogits(0.0, prompt + 19)
    different_pair(monkeypatch, 1000.0)
    result = command(*BASE, "--kinds", "chat", "--json")
    assert result.exit_code == 1
    text = json.loads(result.stdout)["texts"][0]
    assert not text["equal"]
    assert text["difference"]["position"] == 20
    assert not text["difference"]["near_tie"]
    shown = command(*BASE, "--kinds", "chat")
    assert "DIFFERS at token 20" in " ".join(shown.stdout.split())
    assert "0 of 1 texts are the same" in shown.stdout


@pytest.mark.parametrize(
    ("gap", "rounding", "greedy", "near_tie"),
    [(1e-4, 1e-4, True, True), (3e-4, 1e-4, True, False), (1e-4, 1e-4, False, False), (0.0, 0.0, True, False)],
)
def test_only_rounding_excuses_a_greedy_text(gap: float, rounding: float, greedy: bool, near_tie: bool) -> None:
    difference = measure.Difference(3, gap, rounding, greedy)
    assert difference.near_tie is near_tie
    assert str(difference) == ("near-tie at token 3" if near_tie else "DIFFERS at token 3")


def test_the_clock_leaves_out_what_is_drawn() -> None:
    engine = dw.testing.toy_engine(drafter=None)
    ids, params = engine.encode([1, 2, 3]), dw.SamplingParams(max_new_tokens=10)
    from time import sleep

    timed = measure.time_text(engine, ids, params, lambda event, speed: sleep(0.02))
    assert timed.first_seconds + timed.decode_seconds < 0.1
    assert timed.first_tokens == 1
    assert timed.decode_steps == 9
    assert timed.decode_times.forward < engine.stats().times.forward


class _PressesCtrlC(ToyExecutor):
    """Sends SIGINT in a late forward, as somebody who has seen enough."""

    def forward(self, plan: Any, hidden: tuple[str, ...] = ()) -> Any:
        self.left = getattr(self, "left", 200) - 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().forward(plan, hidden)


def test_ctrl_c_shows_what_was_finished(command: Command, toy: dict[str, Any]) -> None:
    toy["executor"] = _PressesCtrlC(context_weight=0.0)
    result = command(*BASE, "--json")
    assert result.exit_code == 130
    assert 1 <= len(json.loads(result.stdout)["texts"]) < 6
