"""Makes tokenizer_lines.json.gz: 1,000 real lines with code, numbers and many scripts, and 24 whole passages.

    apt-get download iso-codes            # Debian 12: 4.15.0-1
    dpkg-deb -x iso-codes_*.deb iso-codes
    python tests/data/make_tokenizer_lines.py iso-codes DATA

DATA holds humaneval/HumanEval.jsonl.gz, gsm8k/test.jsonl.gz and tinyshakespeare/input.txt.gz. The sources and their
licences are in NOTICE.
"""

from __future__ import annotations

import gettext
import gzip
import json
import random
import sys
from pathlib import Path

OUT = Path(__file__).with_name("tokenizer_lines.json.gz")


def catalogue_lines(root: Path, count: int, rng: random.Random) -> list[str]:
    """Names of countries, languages, scripts and currencies: neighbours of one catalogue, one line of each language
    per round."""
    rounds = []
    for folder in sorted((root / "usr/share/locale").iterdir()):
        names: list[str] = []
        for path in sorted((folder / "LC_MESSAGES").glob("iso_*-*.mo")) + sorted(
            folder.glob("LC_MESSAGES/iso_4217.mo")
        ):
            with path.open("rb") as file:
                names += [text for key, text in sorted(gettext.GNUTranslations(file)._catalog.items()) if key and text]
        lines = []
        for _ in range(6 if names else 0):
            start, length = rng.randrange(len(names)), rng.randint(1, 6)
            lines.append(", ".join(names[start : start + length]))
        rounds.append(lines)
    picked = [lines[i] for i in range(6) for lines in rounds if lines]
    return list(dict.fromkeys(picked))[:count]


def main(catalogues: Path, data: Path) -> None:
    rng = random.Random(4)

    def read(name: str) -> str:
        return gzip.decompress((data / name).read_bytes()).decode("utf-8")

    problems = [json.loads(line) for line in read("humaneval/HumanEval.jsonl.gz").splitlines()]
    programs = [p["prompt"] + p["canonical_solution"] for p in problems]
    code = list(dict.fromkeys(line for program in programs for line in program.splitlines() if line.strip()))
    sums = [json.loads(line) for line in read("gsm8k/test.jsonl.gz").splitlines()]
    numbers = list(dict.fromkeys(line for s in sums for line in s["answer"].splitlines()))
    plays = read("tinyshakespeare/input.txt.gz")
    prose = list(dict.fromkeys(line for line in plays.splitlines() if len(line) > 30))

    lines = catalogue_lines(catalogues, 550, rng)
    lines += rng.sample(code, 230) + rng.sample(numbers, 120) + rng.sample(prose, 100)
    scenes = plays.split("\n\n")
    passages = rng.sample(programs, 12)
    passages += ["\n\n".join(scenes[i : i + 3]) + "\n" for i in rng.sample(range(len(scenes) - 3), 12)]
    assert len(lines) == 1000 and len(passages) == 24
    text = json.dumps({"lines": lines, "passages": passages}, ensure_ascii=False, indent=0)
    OUT.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    print(OUT.name, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
