"""Makes replay.u16 and replay-120.u16.gz from recorded greedy texts: python make_replay.py spec-bench-smollm2.jsonl.gz

What SmolLM2-135M-Instruct said (float32, greedy, 128 tokens at most) to 20 prompts of each of Spec-Bench's six task
groups, in the order of the groups; in replay.u16 to the first five of each. Per text: number of prompt tokens, number
of output tokens, the tokens, all 16 bits, little-endian. Tokens are renumbered by first occurrence, since drafts only
ask which of them are equal: in each text of replay.u16, and in all texts of replay-120.u16.gz together, so that texts
may draft for each other.
"""

import gzip
import json
import struct
import sys
from pathlib import Path

HERE, PER_TASK = Path(__file__).parent, 5

with gzip.open(sys.argv[1], "rt") as lines:
    records = [json.loads(line) for line in lines]
few: list[int] = []
everything: list[int] = []
of_all: dict[int, int] = {}
for task in dict.fromkeys(record["task"] for record in records):
    for i, record in enumerate(record for record in records if record["task"] == task):
        lengths, known = [len(record["prompt"]), len(record["out"])], {}
        tokens = record["prompt"] + record["out"]
        everything += lengths + [of_all.setdefault(token, len(of_all)) for token in tokens]
        if i < PER_TASK:
            few += lengths + [known.setdefault(token, len(known)) for token in tokens]
HERE.joinpath("replay.u16").write_bytes(struct.pack(f"<{len(few)}H", *few))
HERE.joinpath("replay-120.u16.gz").write_bytes(
    gzip.compress(struct.pack(f"<{len(everything)}H", *everything), 9, mtime=0)
)
