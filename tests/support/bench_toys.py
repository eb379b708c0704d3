"""Arms of a bench over the toy model, made to go wrong on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from draftwood.bench import cases
from draftwood.bench.arm import ArmSpec
from draftwood.bench.gate import Gate
from draftwood.bench.rounds import CaseResult, Plan, run_case

ROW = {
    "schema", "time", "commit", "draftwood", "case", "about", "model", "works", "units", "threads", "isa", "machine",
    "gate", "rounds", "discarded", "refused", "bandwidth", "multiply_adds_per_second", "weights", "groups",
    "arm", "ours", "reference", "status", "reason", "settings", "told", "answers_equal", "differences", "seconds",
    "spread", "units_per_second", "ratio", "floor", "by_work",
}  # fmt: skip
"""The fields of a row."""

# A toy arm that notes at every run its name and the states of all workers; `mood` goes wrong from run `when` on.
ADAPTER = """
import os, signal, sys, time
from pathlib import Path
import draftwood as dw

class Arm:
    def __init__(self, settings):
        self.name, self.mood, self.when = settings["name"], settings["mood"], settings["when"]
        self.folder, self.runs = Path(settings["folder"]), 0
        (self.folder / f"{self.name}.pid").write_text(str(os.getpid()))
        if self.mood == "unloadable":
            raise RuntimeError("the weights are damaged")
        if self.mood == "not installed":
            import no_such_peer
        self.engine = dw.testing.toy_engine(drafter=None, context_weight=0.0)

    def about(self):
        print("libraries print to stdout")
        os.write(1, b"and so does C")
        return {"versions": {"toy": "1"}}

    def run(self, work):
        self.runs += 1
        with (self.folder / "log").open("a") as log:
            log.write(f"{self.name} {self.states()}\\n")
        params = dw.SamplingParams(max_new_tokens=work["tokens"])
        tokens = self.engine.generate(work["prompt"], params).token_ids.tolist()
        if self.runs >= self.when:
            self.misbehave(tokens)
        seconds = float("nan") if self.mood == "nan" else self.runs * 0.001
        return {"tokens": tokens, "seconds": seconds, "counted": len(tokens) - 1}

    def misbehave(self, tokens):
        if self.mood == "wrong":
            tokens[3] += 1
        if self.mood == "exit":
            print("out of memory, says the library", file=sys.stderr)
            os._exit(3)
        if self.mood == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mood == "hangs":
            time.sleep(600)
        if self.mood == "raises":
            raise ValueError("no such token")

    def states(self):
        states = []
        for path in sorted(self.folder.glob("*.pid")):
            stat = Path(f"/proc/{path.read_text()}/stat")
            state = stat.read_text().rpartition(")")[2].split()[0] if stat.exists() else "gone"
            states.append(f"{path.stem}={state}")
        return ",".join(states)

    def judge(self, work):
        output = self.engine.generate(work["prompt"], dw.SamplingParams(max_new_tokens=work["tokens"], logprobs=2))
        top = [[int(i), float(p)] for i, p in zip(output.logprobs.top_ids[-1], output.logprobs.top[-1])]
        if self.mood == "wrong" and self.when == 0:
            return {"tokens": output.token_ids.tolist()}
        return {"tokens": output.token_ids.tolist(), "chosen": output.logprobs.chosen.tolist(), "top": top}
"""


class Still:
    """A probe that takes no time: memory is as fast as the list says, then as its last entry."""

    process_id, isa = None, "avx2"

    def __init__(self, *bandwidths: float) -> None:
        self._values = list(bandwidths or (20e9,))

    def bandwidth(self, bytes: int | None = None) -> float:
        return self._values.pop(0) if len(self._values) > 1 else self._values[0]

    def arithmetic(self, kind: str) -> float:
        return {"F32": 50e9, "Q8_0": 25e9}[kind]


class Toys:
    """Makes arms and cases over the adapter above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "adapter.py").write_text(ADAPTER)

    def arm(self, name: str, mood: str = "", when: int = 1, **spec: Any) -> ArmSpec:
        settings = {"name": name, "mood": mood, "when": when, "folder": str(self.folder)}
        return ArmSpec(name, self.folder / "adapter.py", settings, **spec)

    def run(self, *arms: ArmSpec, rounds: int = 2, probe: Any = None, timeout: float = 60.0, **plan: Any) -> CaseResult:
        works = (cases.Work("numbers", "decode", (1, 2, 3), 8, bytes=1e6, multiply_adds={"F32": 1e6}),)
        case = cases.Case("toys", "a test", "toy", works, arms, 1)
        plan.setdefault("gate", Gate(others=1e9))
        return run_case(case, Plan(rounds, timeout=timeout, **plan), probe or Still())

    def log(self) -> list[tuple[str, dict[str, str]]]:
        lines = (self.folder / "log").read_text().splitlines()
        pairs = [line.split(" ") for line in lines]
        return [(name, dict(state.split("=") for state in states.split(","))) for name, states in pairs]


def gone(process: int) -> bool:
    """Ended; an orphan that nobody collects stays in the table as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
