"""Recorded texts through our drafters and through the peers': tokens per step, and what the drafters themselves cost.

    python benches/retrieval/replay_drafts.py FOLDER [--recorded FILE …] [--arctic PYTHON] [--lookup PYTHON]
        [--corpus FOLDER] [--rounds 5] [--json FOLDER]

The texts are the 248 of tests/data (128 greedy continuations, and 120 of Spec-Bench's prompts with tokens renumbered)
and those of FILE, lines of JSON with `prompt` and `out` as ids (`task` names their group). Without a model: a draft is
accepted as far as the text goes on like that, then the text's next token comes as if from the model. Drafters called
`retrieval` have an index over the other half of the texts. PYTHON is that of an environment with arctic-inference, or
with transformers and torch. With --corpus, a folder of `make_corpus.py`, appends and proposals are timed at 32,768 and
2,000,000 tokens. FOLDER takes what is made on the way. Steps are the same in every run; times need a quiet machine, and
the ratios to `Suffix` are taken within rounds, because a processor may change its clock between them. A minute without
--corpus, fifteen with it.

At the end every value that is wanted stands beside the one that was found; the exit status is 1 if one is missed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import draftwood as dw
from draftwood.bench.figures import ratio_of
from draftwood.bench.rows import append_rows
from draftwood.cli.machine import describe

ROOT = Path(__file__).resolve().parents[2]
NODES, CONTEXTS = (8, 16, 32, 64), (32_768, 2_000_000)
TASKS = ("mtbench", "translation", "summarization", "qa", "math_reasoning", "rag")
RENUMBERED = 1 << 17
MATCHES = (4, 64, 2000)
# Per context: most nanoseconds per append, least ratio to arctic's.
APPEND_NS, APPEND_RATIO = {32_768: 300, 2_000_000: 800}, {32_768: 20, 2_000_000: 12}
PROPOSAL_NS, PROPOSAL_RATIO, BYTES_PER_TOKEN = 5000, 5, 140


def texts_of(recorded: Iterable[Path]) -> list[tuple[str, list[int], list[int]]]:
    """(group, prompt, output) of every text with an output."""
    texts = []
    for file in sorted((ROOT / "tests/data").glob("greedy-*.json.gz")):
        for one in json.loads(gzip.decompress(file.read_bytes()))["prompts"]:
            texts.append((one["kind"], one["prompt_ids"], one["token_ids"]))
    texts += replay_texts(ROOT / "tests/data/replay-120.u16.gz")
    for file in recorded:
        for line in gzip.decompress(file.read_bytes()).splitlines():
            one = json.loads(line)
            texts.append((one["task"], one["prompt"], one["out"]))
    return [text for text in texts if text[2]]


def replay_texts(file: Path) -> list[tuple[str, list[int], list[int]]]:
    """Texts of `make_replay.py`; their numbers are no ids and must not meet any."""
    numbers = (np.frombuffer(gzip.decompress(file.read_bytes()), "<u2").astype(np.int64)).tolist()
    texts: list[tuple[str, list[int], list[int]]] = []
    at = 0
    while at < len(numbers):
        prompt, output = numbers[at : at + 2]
        tokens = [RENUMBERED + number for number in numbers[at + 2 : at + 2 + prompt + output]]
        texts.append((TASKS[len(texts) // 20], tokens[:prompt], tokens[prompt:]))
        at += 2 + prompt + output
    return texts


def write(path: Path, texts: Iterable[tuple[str, list[int], list[int]]]) -> Path:
    """As both programs read them."""
    numbers = [n for _, prompt, output in texts for n in (len(prompt), len(output), *prompt, *output)]
    np.array(numbers, "<u4").tofile(path)
    return path


def lines(command: list[str]) -> list[list[str]]:
    """The columns that a program prints."""
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line.split("\t") for line in told.splitlines()]


def commands(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Whose → the program, which takes texts and nodes."""
    cargo = ["cargo", "build", "--release", "--quiet", "-p", "draftwood-retrieve", "--example", "replay_drafts"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    peer = str(Path(__file__).with_name("replay_peer.py"))
    found = {"ours": [str(target / "release/examples/replay_drafts")]}
    if arguments.arctic:
        found["arctic"] = [arguments.arctic, peer, "arctic"]
    if arguments.lookup:
        found["lookup"] = [arguments.lookup, peer, "lookup"]
    return found


def tokens_per_step(texts: list[Any], path: Path, programs: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A table: drafters down, nodes across; tokens of all texts over their steps."""
    groups = [group for group, _, _ in texts]
    table: dict[str, dict[int, dict[str, Any]]] = {}
    for nodes in NODES:
        for program in programs.values():
            for name, number, steps, tokens, nanoseconds in lines([*program, str(path), str(nodes)]):
                cell = table.setdefault(name, {}).setdefault(nodes, {"steps": {}, "tokens": {}, "ns": []})
                for key, value in (("steps", steps), ("tokens", tokens)):
                    group = groups[int(number)]
                    cell[key][group] = cell[key].get(group, 0) + int(value)
                cell["ns"].append(int(nanoseconds))
    print(f"{'tokens per step, and µs per step':52}" + "".join(f"{nodes:7} nodes     " for nodes in NODES))
    rows = []
    for name, cells in table.items():
        shown = ""
        for nodes, cell in cells.items():
            rate = sum(cell["tokens"].values()) / sum(cell["steps"].values())
            shown += f"{rate:8.3f} {np.median(cell['ns']) / 1e3:7.1f}  "
            each = {group: cell["tokens"][group] / cell["steps"][group] for group in cell["steps"]}
            row = {"drafter": name, "nodes": nodes, "tokens_per_step": rate, "by_group": each}
            rows.append({**row, "ns_per_step": float(np.median(cell["ns"]))})
        print(f"{name:52}{shown}", flush=True)
    return rows


def costs(corpus: Path, folder: Path, programs: dict[str, list[str]], rounds: int) -> list[dict[str, Any]]:
    """Nanoseconds per token of a long context, per append and per proposal of 32 nodes; rounds in turn."""
    tokens, rows = np.fromfile(corpus / "corpus.u16", "<u2"), []
    for context in CONTEXTS:
        if context > len(tokens):
            continue
        path = write(folder / f"long-{context}.u32", [("long", tokens[: context + 4000].tolist(), [0])])
        told: dict[str, list[list[float]]] = {}
        for _ in range(rounds):
            for whose, program in programs.items():
                if whose == "lookup" and context > 100_000:
                    continue
                for name, *values in lines([*program, str(path), "long", str(context)]):
                    told.setdefault(name, []).append([float(value) for value in values])
        bytes_per_token = told.pop("suffix bytes")[0][0]
        for name, values in told.items():
            mean, append, propose, *matching = np.median(values, axis=0).tolist()
            shown = (
                f"{mean:8.0f} ns per token in the mean, {append:7.0f} per append, {propose:7.0f} per draft (medians)"
            )
            row = {"drafter": name, "context": context, "ns_per_token_read": mean, "ns_per_append": append}
            row["ns_per_proposal"] = propose
            if matching:
                row["ns_per_proposal_at_match"] = dict(zip(MATCHES, matching, strict=True))
                shown += "; at matches of " + ", ".join(
                    f"{length}: {value:.0f}" for length, value in zip(MATCHES, matching, strict=True)
                )
            if name == "suffix":
                row["bytes_per_token"] = bytes_per_token
                shown += f"; {bytes_per_token:.0f} bytes per token"
            if " " in name:  # a peer's: how many times as long as `Suffix` in the same round
                for at, what in ((1, "append"), (2, "proposal")):
                    each = [[one[at] for one in told[arm]] for arm in (name, "suffix")]
                    ratio = ratio_of(*each)
                    shown += f", {ratio.median:5.1f}× [{ratio.low:.1f}, {ratio.high:.1f}] suffix's {what}"
                    row[f"{what}_ratio"] = [ratio.median, ratio.low, ratio.high]
            print(f"{context:9,} tokens: {name:52} {shown}", flush=True)
            rows.append(row)
    return rows


Verdict = tuple[str, str, bool]


def at_least(what: str, found: float, least: float, form: str) -> Verdict:
    return f"{what} ≥ {least:{form}}", f"{found:{form}}", found >= least


def at_most(what: str, found: float, most: float) -> Verdict:
    return f"{what} ≤ {most:,.0f}", f"{found:,.0f}", found <= most


def step_verdicts(rows: list[dict[str, Any]]) -> list[Verdict]:
    """At every number of nodes: those that know this text alone among themselves, and those that know earlier ones."""
    verdicts = []
    for nodes in NODES:
        rates = {row["drafter"]: row["tokens_per_step"] for row in rows if row.get("nodes") == nodes}
        for peer in ("arctic", "lookup"):
            for earlier in (False, True):
                of_peer = [
                    rate
                    for name, rate in rates.items()
                    if name.startswith(peer) and ("earlier requests" in name) == earlier
                ]
                for ours in ("mix outputs",) if earlier else ("suffix", "mix"):
                    if of_peer:
                        what = f"tokens per step of {ours} at {nodes} nodes, {peer}'s best"
                        verdicts.append(at_least(what, rates[ours], max(of_peer), ".3f"))
    return verdicts


def cost_verdicts(rows: list[dict[str, Any]]) -> list[Verdict]:
    verdicts = []
    for row in rows:
        name, context = row["drafter"], row.get("context")
        if name == "suffix" and context:
            at = f"at {context:,} tokens"
            verdicts.append(at_most(f"ns per append in the mean {at}", row["ns_per_token_read"], APPEND_NS[context]))
            verdicts.append(at_most(f"bytes per token {at}", row["bytes_per_token"], BYTES_PER_TOKEN))
            for length, spent in row["ns_per_proposal_at_match"].items():
                verdicts.append(at_most(f"ns per proposal {at}, match of {length:,}", spent, PROPOSAL_NS))
        elif name.startswith("arctic") and context:
            for what, least in (("append", APPEND_RATIO[context]), ("proposal", PROPOSAL_RATIO)):
                of_whom = f"{what} of {name} over suffix's at {context:,} tokens"
                verdicts.append(at_least(of_whom, row[f"{what}_ratio"][0], least, ".1f"))
    return verdicts


def judge(verdicts: list[Verdict]) -> None:
    """Prints them; leaves with a note if one is missed."""
    for wanted, found, fine in verdicts:
        print(f"{'yes' if fine else 'NO':4}{found:>10}  wanted: {wanted}")
    missed = sum(not fine for _, _, fine in verdicts)
    if missed:
        sys.exit(f"{missed} of {len(verdicts)} wanted values are missed")


def main(arguments: argparse.Namespace) -> None:
    arguments.folder.mkdir(parents=True, exist_ok=True)
    texts, programs = texts_of(arguments.recorded), commands(arguments)
    print(f"{len(texts)} texts, {sum(len(output) for _, _, output in texts):,} tokens of output", flush=True)
    rows = tokens_per_step(texts, write(arguments.folder / "texts.u32", texts), programs)
    if arguments.corpus:
        rows += costs(arguments.corpus, arguments.folder, programs, arguments.rounds)
    if arguments.json:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        common = {"schema": 1, "case": "draft replay", "time": now, "draftwood": dw.__version__}
        common |= {"machine": describe(), "texts": len(texts)}
        append_rows(arguments.json, [{**common, **row} for row in rows])
    judge(step_verdicts(rows) + cost_verdicts(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Drafters on recorded texts.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recorded", type=Path, nargs="*", default=[])
    parser.add_argument("--arctic", metavar="PYTHON")
    parser.add_argument("--lookup", metavar="PYTHON")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FOLDER")
    main(parser.parse_args())
