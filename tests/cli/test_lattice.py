"""The drawing of beam lattices: by hand, of random searches, and from the command line."""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from typer.testing import Result

import draftwood as dw
import draftwood.cli.lattice
from draftwood.cli.lattice import draw_lattice
from draftwood.cli.wires import BEST, gutter
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor

Command = Callable[..., Result]
BASE = ("generate", "hello hello hello", "--model", "toy", "--max-new-tokens", "5")


def lattice(rows: list[tuple[int, int, float, bool]]) -> dw.Lattice:
    """From (parent, token, log-probability, ended); node 0 is the prompt."""
    parents, tokens, scores, ended = zip((-1, -1, 0.0, False), *rows, strict=True)
    zeros = np.zeros(len(parents), np.int32)
    return dw.Lattice(
        np.array(parents, np.int32),
        np.array(tokens, np.int32),
        zeros,
        zeros,
        np.array(scores, np.float32),
        np.array(ended),
    )


def text(tokens: list[int]) -> dw.Hypothesis:
    ids = np.array(tokens, np.int32)
    return dw.Hypothesis(ids, 0.0, "", "stop", None, np.zeros(len(ids), np.float32), ids)


def plain(lines: list) -> list[str]:
    return [line.plain for line in lines]


# the ─┬─ cat ─┬─ sat ── . (the best)
#      │       └─ .        (the second)
# a ──── dog ──── ran      (crowded out)
#      └─ .                (finished, not returned)
WORDS = ["the", "a", "cat", "dog", ".", "sat", "ran"]
BY_HAND = lattice(
    [
        (0, 0, -0.5, False),
        (0, 1, -1.0, False),
        (2, 3, -0.5, False),
        (1, 2, -1.0, False),
        (1, 4, -2.0, True),
        (4, 5, -0.25, False),
        (4, 4, -0.75, True),
        (3, 6, -1.0, False),
        (6, 4, -0.125, True),
    ]
)
FOUND = [text([0, 2, 5, 4]), text([0, 2, 4])]


def test_a_lattice_drawn_by_hand() -> None:
    assert plain(draw_lattice(BY_HAND, FOUND, WORDS.__getitem__)) == [
        "step  1               2              3              4",
        "• ━┯━ the✓ -0.50 ━━┯━ cat✓ -1.50 ━┯━ sat✓ -1.75 ━━━ .✓■1 -1.88",
        "   ╰─ a -1.00 ────╮╰─ .■ -2.50    ╰─ .■2 -2.25",
        "                  ╰── dog -1.50 ──── ran× -2.50",
    ]


def test_what_does_not_fit_goes_on_below() -> None:
    assert plain(draw_lattice(BY_HAND, FOUND, WORDS.__getitem__, width=44)) == [
        "step  1               2",
        "• ━┯━ the✓ -0.50 ━━┯━ cat✓ -1.50",
        "   ╰─ a -1.00 ────╮╰─ .■ -2.50",
        "                  ╰── dog -1.50 ─",
        "",
        "      3              4",
        "  ━┯━ sat✓ -1.75 ━━━ .✓■1 -1.88",
        "   ╰─ .■2 -2.25",
        "  ─── ran× -2.50",
    ]


def test_a_narrow_terminal_has_no_scores_and_short_words() -> None:
    assert plain(draw_lattice(BY_HAND, FOUND, lambda token: WORDS[token] * 4, width=24)) == [
        "step  1          2",
        "• ━┯━ the…✓ ━━┯━ cat…✓",
        "   ╰─ aaaa ──╮╰─ ....■",
        "             ╰── dog… ─",
        "",
        "    3          4",
        "━┯━ sat…✓ ━━━━ ....✓■1",
        " ╰─ ....■2",
        "─── ran…×",
    ]


def test_wide_characters_take_two_columns() -> None:
    lines = plain(draw_lattice(BY_HAND, FOUND, lambda token: "木板" * 9, width=50))
    assert lines[1].startswith("• ━┯━ 木板木板…✓ -0.50 ")
    assert max(map(cell_len, lines)) <= 50


def test_styles_tell_the_best_the_returned_and_the_rest() -> None:
    styles: dict[str, str] = {}
    for line in draw_lattice(BY_HAND, FOUND, WORDS.__getitem__):
        for span in line.spans:
            styles[line.plain[span.start : span.end].strip()] = str(span.style)
    assert styles["cat✓ -1.50"] == "bold green"
    assert styles[".■2 -2.25"] == "default"
    assert styles["dog -1.50"] == styles["ran× -2.50"] == styles[".■ -2.50"] == "dim"


OPENINGS = {  # up, down, left, right
    "─": "lr", "│": "ud", "╭": "dr", "╮": "ld", "╯": "lu", "╰": "ur", "┬": "lrd", "┴": "lru", "├": "udr", "┤": "udl",
    "┼": "udlr", "━": "lr", "┯": "lrd", "┷": "lru", "┿": "udlr", " ": "",
}  # fmt: skip


def reached(grid: list[str], row: int) -> set[int]:
    """Rows at the right side that the line which comes in at the left side of a row leads to."""
    steps = {"u": (-1, 0, "d"), "d": (1, 0, "u"), "l": (0, -1, "r"), "r": (0, 1, "l")}
    seen, todo, ends = set(), [(row, 0)], set()
    while todo:
        y, x = todo.pop()
        if (y, x) in seen:
            continue
        seen.add((y, x))
        for side in OPENINGS[grid[y][x]]:
            dy, dx, back = steps[side]
            if x + dx == len(grid[y]):
                ends.add(y)
            elif x + dx >= 0:
                assert back in OPENINGS[grid[y + dy][x + dx]], "a line that ends nowhere"
                todo.append((y + dy, x + dx))
    return ends


def test_lines_lead_from_parents_to_their_children_alone() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        parents = np.sort(rng.choice(rng.integers(1, 33), rng.integers(1, 33)))
        edges = [(int(parent), child, int(rng.integers(3))) for child, parent in enumerate(parents)]
        rows = max(int(parents[-1]) + 1, len(parents))
        grid = ["".join(char for char, _ in line) for line in gutter(edges, rows)]
        for parent in set(parents.tolist()):
            assert reached(grid, parent) == {child for p, child, _ in edges if p == parent}


def test_the_docstring_shows_what_is_drawn() -> None:
    assert doctest.testmod(draftwood.cli.lattice).failed == 0


def test_the_best_line_is_heavy() -> None:
    drawn = gutter([(0, 0, BEST), (0, 1, 0), (1, 2, 1)], 3)
    assert ["".join(char for char, _ in line) for line in drawn] == ["━━┯━", "─╮╰─", " ╰──"]


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_random_searches_fit_the_terminal(width: int) -> None:
    """Every node is drawn once, and the best text can be read along the top."""
    rng = np.random.default_rng(width)
    executor = ToyExecutor(vocab_size=48, context_weight=0.8)
    with dw.Engine(Parts(executor, "toy", (3,)), drafter=None) as engine:
        for _ in range(25):
            groups = int(rng.choice([1, 1, 2, 4]))
            params = dw.BeamParams(
                num_beams=groups * int(rng.integers(1, 1 + 16 // groups)),
                num_beam_groups=groups,
                num_return=groups,
                max_new_tokens=int(rng.integers(1, 12)),
                eos_token_id=rng.integers(0, 48, 5).tolist(),
                keep_lattice=True,
            )
            beams = engine.beam_search([1, 2, 3], params)
            assert beams.lattice is not None
            letters = [chr(0x410 + token) for token in range(48)]
            lines = plain(draw_lattice(beams.lattice, beams, letters.__getitem__, width))
            assert max(map(cell_len, lines)) <= width
            assert sum(line.count(letter) for line in lines for letter in letters) == len(beams.lattice) - 1
            best = [letters[token] for hypothesis in beams for token in hypothesis.token_ids.tolist()]
            assert re.findall("(.)✓", "".join(lines)) == best


def test_stderr_has_the_lattice_and_stdout_the_text(command: Command) -> None:
    shown = command(*BASE, "--beams", "3", "--show")
    alone = command(*BASE, "--beams", "3")
    assert shown.exit_code == 0
    assert shown.stdout == alone.stdout
    assert len(shown.stdout.splitlines()) == 1
    for mark in ("step  1", "✓■1", "━", "○ unfinished at the end", "■1 score"):
        assert mark in shown.stderr
    assert "step" not in alone.stderr
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "\r" not in shown.stdout + shown.stderr


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_json_has_all_texts_and_the_lattice(command: Command) -> None:
    told = document(command(*BASE, "--beams", "4", "--return", "3", "--show", "--json", "--length-penalty", "0"))
    assert set(told) == {"model", "executor", "drafter", "hypotheses", "stats", "seconds", "lattice"}
    scores = [one["score"] for one in told["hypotheses"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    for one in told["hypotheses"]:
        assert one["score"] == pytest.approx(sum(one["step_scores"]), abs=1e-5)
    tree = told["lattice"]
    assert tree["parents"][0] == -1
    assert all(0 <= parent < i for i, parent in enumerate(tree["parents"]) if i)
    assert document(command(*BASE, "--beams", "4", "--json"))["lattice"] is None
    shown = command(*BASE, "--beams", "4", "--return", "3", "--length-penalty", "0")
    assert shown.stdout.splitlines() == [one["text"] for one in told["hypotheses"]]
    assert "2: score" in shown.stderr


def test_groups_and_draws(command: Command) -> None:
    grouped = command(*BASE, "--beams", "6", "--beam-groups", "3", "--diversity-penalty", "9", "--show")
    assert len(set(grouped.stdout.splitlines())) == 3
    assert all(f"group {g}" in grouped.stderr for g in range(3))
    drawn = document(command(*BASE, "--beams", "4", "--stochastic", "sequences", "--seed", "1", "--json"))
    assert len({tuple(one["token_ids"]) for one in drawn["hypotheses"]}) == 4
    assert drawn["stats"]["seed"] == 1
    assert all(one["log_weight"] is not None for one in drawn["hypotheses"])
    shown = command(*BASE, "--beams", "4", "--stochastic", "first-token", "--seed", "1", "--show")
    assert len({line[0] for line in shown.stdout.splitlines()}) >= 3
    assert "log weight" in shown.stderr
    warm = document(command(*BASE, "--beams", "4", "--temperature", "2", "--top-k", "9", "--seed", "3", "--json"))
    assert warm["stats"]["seed"] == 3


def test_stats_tell_what_speculation_saved(command: Command) -> None:
    shown = command(*BASE, "--beams", "2", "--stats")
    assert "5 steps of the search in" in shown.stderr
    assert "speculation on" in shown.stderr


def test_log_probabilities_of_every_text(command: Command) -> None:
    search = (*BASE, "--beams", "4", "--return", "3")
    told = document(command(*search, "--logprobs", "2", "--json"))
    plain = document(command(*search, "--json"))
    assert [one["token_ids"] for one in told["hypotheses"]] == [one["token_ids"] for one in plain["hypotheses"]]
    others = 0
    for one in told["hypotheses"]:
        law = one["logprobs"]
        assert law["chosen"] == pytest.approx(one["step_scores"], abs=1e-5)
        assert [len(ids) for ids in law["top_ids"]] == [2] * len(one["token_ids"])
        for token, chosen, ids, values in zip(one["token_ids"], law["chosen"], law["top_ids"], law["top"], strict=True):
            assert values == sorted(values, reverse=True) and chosen <= values[0]
            assert token not in ids or values[ids.index(token)] == chosen
            others += ids[0] != token
    assert others, "a search takes what is not the best token"
    assert "logprobs" not in plain["hypotheses"][0]
    shown = command(*search, "--logprobs", "2", "--show")
    assert shown.stderr.count("log-probability") == 3 and "step  1" in shown.stderr
    assert shown.stdout == command(*search).stdout


def test_every_text_is_cited(command: Command, tmp_path: Path) -> None:
    search = (*BASE, "--beams", "4", "--return", "3")
    texts = [one["token_ids"] for one in document(command(*search, "--json"))["hypotheses"]]
    index = str(tmp_path / "a.dwx")
    dw.FMIndex.build([("a.txt", "First", texts[0][:4]), ("b.txt", "", texts[1])], path=index)
    cited = (*search, "--cite", index, "--cite-min", "3")
    told = document(command(*cited, "--json", "--logprobs", "0"))
    for one, ids in zip(told["hypotheses"], texts, strict=True):
        assert one["token_ids"] == ids and len(one["logprobs"]["chosen"]) == len(ids)
        spans = dw.FMIndex.open(index).attribute(np.array(ids, np.int32), 3)
        assert [(c["start"], c["end"]) for c in one["citations"]] == [(span.start, span.end) for span in spans]
        assert all(c["text"] in one["text"] for c in one["citations"])
    whole = told["hypotheses"][1]["citations"]
    assert [(c["start"], c["end"], c["places"][0]["id"]) for c in whole] == [(0, len(texts[1]), "b.txt")]
    shown = command(*cited)
    assert shown.stdout == command(*search).stdout
    assert shown.stderr.count("% of the text is in the sources") + shown.stderr.count("no part of the text") == 3
    assert "b.txt at 0" in shown.stderr and "\x1b" not in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--beams", "0"), "num_beams must be 1"),
        (("--return", "2"), "--return must be used with --beams, got 2"),
        (("--beam-groups", "2"), "--beam-groups must be used with --beams, got 2"),
        (("--beams", "3", "--beam-groups", "2"), "num_beam_groups must"),
        (("--beams", "2", "--logprobs", "257"), "--logprobs must be 0 … 256, the vocabulary size, got 257"),
        (("--beams", "2", "--logprobs", "-1"), "--logprobs must be 0 … 256, the vocabulary size, got -1"),
        (("--beams", "2", "--cite", "x.dwx"), "the index file must be readable"),
        (("--beams", "2", "--stochastic", "wild"), "--stochastic must be one of sequences, first-token, got 'wild'"),
        (("--beams", "2", "--top-k", "3"), "--top-k, --top-p and --min-p must be used with --temperature"),
    ],
)
def test_errors_name_the_option(command: Command, arguments: tuple[str, ...], message: str) -> None:
    result = command(*BASE, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_help_tells_how_to_read_it(command: Command) -> None:
    text = command("generate", "--help").stdout
    assert "How to read the lattice" in text
    assert "--beams 4 --show" in text
