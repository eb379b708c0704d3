"""The drawing of draft trees, on trees drawn by hand."""

from __future__ import annotations

from draftwood.cli.draw import accepted_path, draw_tree, visible

# the ─┬─ cat ─┬─ sat ─ on ─ a
#      │       └─ is
#      └─ dog ─ ran
LABELS = ["the", "cat", "dog", "sat", "is", "ran", "on", "a"]
PARENTS = [-1, 0, 0, 1, 1, 2, 3, 6]
TOKENS = [5, 10, 11, 12, 13, 14, 15, 16]


def plain(lines: list) -> list[str]:
    return [line.plain for line in lines]


def test_a_branch_begins_a_line_and_a_chain_stays_on_it() -> None:
    assert plain(draw_tree(LABELS, PARENTS, {1, 3, 6})) == [
        "the",
        "├─ cat✓",
        "│  ├─ sat✓ on✓ a",
        "│  └─ is",
        "└─ dog ran",
    ]


def test_accepted_nodes_are_styled_and_rejected_ones_dim() -> None:
    styles = {}
    for line in draw_tree(LABELS, PARENTS, {1}):
        for span in line.spans:
            styles[line.plain[span.start : span.end]] = str(span.style)
    assert styles["cat✓"] == "bold green"
    assert styles["dog"] == "dim"
    assert styles["the"] == "bold"


def test_a_chain_that_is_too_long_goes_on_in_the_next_line() -> None:
    lines = plain(draw_tree(["root", *["token"] * 5], [-1, 0, 1, 2, 3, 4], {1, 2}, width=20))
    assert lines == ["root token✓ token✓", "   token token token"]


def test_a_wrapped_branch_keeps_the_line_of_its_parent() -> None:
    #  r ─┬─ aaaa ─ bbbb ─ cccc
    #     └─ z
    assert plain(draw_tree(["r", "aaaa", "z", "bbbb", "cccc"], [-1, 0, 0, 1, 3], set(), width=14)) == [
        "r",
        "├─ aaaa bbbb",
        "│     cccc",
        "└─ z",
    ]


def test_a_root_alone() -> None:
    assert plain(draw_tree(["x"], [-1], set())) == ["x"]


def test_the_path_ends_where_the_model_chose_another_token() -> None:
    assert accepted_path(TOKENS, PARENTS, [10, 12, 99]) == [1, 3]
    assert accepted_path(TOKENS, PARENTS, [99]) == []
    assert accepted_path(TOKENS, PARENTS, [10, 12, 15, 16, 7]) == [1, 3, 6, 7]
    assert accepted_path(TOKENS, PARENTS, [10, 14]) == [1], "14 follows 11 in the tree, not 10"


def test_tokens_are_readable_and_harmless() -> None:
    assert visible(b" cat") == "·cat"
    assert visible("\n\n") == "⏎⏎"
    assert visible("  ") == "··"
    assert visible("") == "∅"
    assert visible(b"\xe2\x82") == "�"
    assert "\x1b" not in visible("\x1b[31mred")
    assert visible("a b ") == "a b·"
