"""Help that teaches, terminals that stay sane, and an entry that costs little."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import Result

from draftwood.cli.terminal import printable
from support.terminals import in_a_terminal

Command = Callable[..., Result]


@pytest.mark.parametrize("name", ["generate", "compare", "doctor"])
def test_help_teaches_by_examples(command: Command, name: str) -> None:
    result = command(name, "--help")
    assert result.exit_code == 0
    examples = [line for line in result.stdout.splitlines() if f"draftwood {name}" in line and "Usage" not in line]
    assert 2 <= len(examples) <= (6 if name == "generate" else 4)  # which writes, and searches
    assert "--json" in result.stdout


def test_without_a_command_the_commands_are_listed(command: Command) -> None:
    shown = command()
    assert all(name in shown.stdout for name in ("generate", "compare", "doctor", "Start here"))


def test_version(command: Command) -> None:
    from draftwood import __version__

    assert command("--version").stdout == f"draftwood {__version__}\n"


def test_generated_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\x07c\n\td") == "a�[2Jb��c\n\td"


def test_the_entry_imports_neither_typer_nor_rich() -> None:
    code = "import sys, draftwood.cli; print(sorted({'typer', 'rich', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_help_imports_no_numpy() -> None:
    code = (
        "import sys, draftwood.cli.app as app; app.run(['compare', '--list']);"
        "print(sorted({'numpy', 'torch', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).endswith("[]\n")


def test_a_module_is_a_command_too() -> None:
    done = subprocess.run([sys.executable, "-m", "draftwood", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("draftwood ")


def test_a_closed_pipe_is_no_traceback() -> None:
    line = f"{sys.executable} -m draftwood compare --list | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("chat")
    assert "Traceback" not in done.stderr


def test_an_error_is_red_in_a_terminal_and_not_under_no_color() -> None:
    arguments = ("generate", "x", "--drafter", "psychic")
    assert "\x1b[31merror:" in in_a_terminal(*arguments)
    without = in_a_terminal(*arguments, NO_COLOR="1")
    assert "error: --drafter must be" in without
    assert "\x1b[3" not in without
