"""Makes replay.u16 from recorded greedy texts: python make_replay.py spec-bench-smollm2.jsonl.gz

The first five prompts of each of Spec-Bench's six task groups and what SmolLM2-135M-Instruct said (float32, greedy,
128 tokens at most). Per text: number of prompt tokens, number of output tokens, the tokens, all 16 bits, little-endian.
Tokens are renumbered by first occurrence, since drafts only ask which of them are equal.
"""

import gzip
import json
import struct
import sys
from pathlib import Path

PER_TASK = 5

with gzip.open(sys.argv[1], "rt") as lines:
    records = [json.loads(line) for line in lines]
numbers: list[int] = []
for task in dict.fromkeys(record["task"] for record in records):
    for record in [record for record in records if record["task"] == task][:PER_TASK]:
        known: dict[int, int] = {}
        tokens = [known.setdefault(token, len(known)) for token in record["prompt"] + record["out"]]
        numbers += [len(record["prompt"]), len(record["out"]), *tokens]
Path(__file__).with_name("replay.u16").write_bytes(struct.pack(f"<{len(numbers)}H", *numbers))
