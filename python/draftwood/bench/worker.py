"""An arm's process: reads work from a pipe, does it, and writes answer and seconds back.

It is started as a file, in any Python environment from 3.11 on, and needs nothing but the standard library and what its
adapter imports. Both sides speak length-prefixed JSON: four bytes, little-endian, then UTF-8.

An adapter is a file with a class `Arm`:

    Arm(settings)              reads the weights; `settings` is a dict with at least "threads"
    about() -> dict            "versions", "dtype", and what else a row of results should say
    run(work) -> dict          "tokens": the answer; "seconds": what the case counts; "counted": how many tokens came in
                               them (1 if it is absent); "steps", if it knows: forwards of the model in them;
                               "marks", if it knows: [tokens so far, seconds of them], step by step
    judge(work) -> dict        as `run`, untimed, with log-probabilities: "chosen" of every token, and "top", the best
                               eight [id, log-probability] at the last one; of `rows`, the first "tokens" ones
    close()                    if it has one: frees what it holds

`work` holds "kind" and "prompt" (token ids). Kinds: `decode` ("tokens": how many to generate greedily, end tokens
ignored unless "ends" is set; counts from the first token to the last), `prefill` (counts from the call to the first
token) and `rows` (the last "rows" tokens of the prompt in one step, what is before being cached; "tokens" are the best
ones after each; counts the median of "repeats" steps). Two kinds are the worker's own: `start` starts the arm once
more in a new process and counts from there to the first token; `load` makes it once more in this one and counts that.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from time import perf_counter
from typing import IO, Any

Frame = dict[str, Any]

_MOST_BYTES = 1 << 28
_PR_SET_PDEATHSIG = 1


def write_frame(stream: IO[bytes], frame: Frame) -> None:
    """Sends one message."""
    body = json.dumps(frame, allow_nan=False).encode()
    stream.write(len(body).to_bytes(4, "little") + body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Frame | None:
    """The next message; None when the other side has gone.

    Raises ValueError for bytes that are no message.
    """
    head = stream.read(4)
    if len(head) < 4:
        return None
    length = int.from_bytes(head, "little")
    if length > _MOST_BYTES:
        raise ValueError(f"a message must be at most {_MOST_BYTES} bytes, got {length}")
    body = stream.read(length)
    frame = json.loads(body) if len(body) == length else None
    if frame is not None and not isinstance(frame, dict):
        raise ValueError(f"a message must be an object, got {type(frame).__name__}")
    return frame


def command(python: str, adapter: str) -> list[str]:
    """How a worker is started. `-P`: the folder of this file is no place to import from."""
    return [python, "-P", os.fspath(Path(__file__).resolve()), adapter]


def main(adapter: str) -> None:
    """Serves until the pipe ends."""
    _die_with_parent()
    # Libraries print; what they print must not land among the messages.
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    arm: Any = None
    settings: Frame = {}
    while (frame := read_frame(inbox)) is not None:
        try:
            if frame["do"] == "open":
                settings = frame["settings"]
                arm = _load(adapter)(settings)
                reply = {"about": arm.about() if frame.get("about", True) else {}}
            elif frame["do"] == "run" and frame["work"]["kind"] == "start":
                reply = _start_again(adapter, settings, frame["work"])
            elif frame["do"] == "run" and frame["work"]["kind"] == "load":
                reply = _load_again(type(arm), settings, frame["work"])
            else:
                reply = getattr(arm, frame["do"])(frame["work"])
        except ModuleNotFoundError as error:
            reply = {"error": str(error), "missing": error.name}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        write_frame(outbox, reply)


def _load(adapter: str) -> Any:
    spec = importlib.util.spec_from_file_location("adapter", adapter)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["adapter"] = module
    spec.loader.exec_module(module)
    return module.Arm


def _start_again(adapter: str, settings: Frame, work: Frame) -> Frame:
    """Everything that a user waits for: the interpreter, the imports, the weights, the prompt, one token.

    It counts 0.03 s of this file's own imports too, the same for every arm.
    """
    first = {**work, "kind": "decode", "tokens": 1}
    begin = perf_counter()
    child = subprocess.Popen(command(sys.executable, adapter), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    with child:
        try:
            for frame in ({"do": "open", "settings": settings, "about": False}, {"do": "run", "work": first}):
                write_frame(child.stdin, frame)
                reply = read_frame(child.stdout)
                if reply is None:
                    raise RuntimeError("the process that was started again ended without an answer")
                if "error" in reply:
                    return reply
            seconds = perf_counter() - begin
        finally:
            child.kill()
    assert reply is not None
    return {"tokens": reply["tokens"], "seconds": seconds}


def _load_again(kind: Any, settings: Frame, work: Frame) -> Frame:
    begin = perf_counter()
    arm = kind(settings)
    seconds = perf_counter() - begin
    reply = arm.run({**work, "kind": "decode", "tokens": 1})
    if hasattr(arm, "close"):
        arm.close()
    return {"tokens": reply["tokens"], "seconds": seconds}


def _die_with_parent() -> None:
    """A stopped worker would outlive a parent that was killed; Linux can end it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
