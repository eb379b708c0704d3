"""Makes spm.gguf, a small SentencePiece vocabulary, and spm_goldens.json.gz, the ids that others give for its texts.

    pip install sentencepiece==0.2.3 llama-cpp-python==0.3.36 gguf==0.19.0
    python tests/data/make_spm_goldens.py

SentencePiece trains the vocabulary on tokenizer_lines.json.gz and encodes with it; llama.cpp encodes from the GGUF
file, with and without the space that it puts in front of a text.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import sentencepiece

HERE = Path(__file__).parent
LINES = HERE / "tokenizer_lines.json.gz"
MODEL = HERE / "spm.gguf"
GOLDENS = HERE / "spm_goldens.json.gz"
EVERY = 4
"""Lines of the 1,000 that are left out between two that are kept."""
ODD = [
    "",
    " ",
    "  ",
    "   a   b    c     d      e       ",
    "\n\n\ta\r\n",
    "a" * 50,
    "ababababa aaaaaaa aaaaaaaaa",
    "▁ already ▁escaped▁",
    "<s> </s> <unk> <0x41> <|end|>",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🤷🏽‍♀️ é é",
    "\x00\x01 nul",
]
SPELLED = ["a <|user|> b", "<|user|>x<|user|> y <|user|>", "<|end|>hello<|end|> you<s>there</s>"]
"""Texts with control and user-defined tokens in them."""


def texts() -> tuple[list[str], str]:
    """Some of the lines, runs and mixtures that try the order of merges; and the hash of where they come from."""
    source = gzip.decompress(LINES.read_bytes())
    parts = json.loads(source)
    rng = random.Random(0)
    runs = ["".join(rng.choice("ae st") * rng.randrange(1, 9) for _ in range(12)) for _ in range(60)]
    return parts["lines"][::EVERY] + ODD + runs, hashlib.sha256(source).hexdigest()


def train() -> sentencepiece.SentencePieceProcessor:
    """BPE with byte fallback, text taken as it is: the settings of Llama 2."""
    parts = json.loads(gzip.decompress(LINES.read_bytes()))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*parts["lines"], *parts["passages"], "a" * 40, "aa aaa aaaa " * 5, "    ab        c"]),
        model_writer=model,
        model_type="bpe",
        vocab_size=2400,
        character_coverage=0.985,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["<|user|>"],
        control_symbols=["<|end|>"],
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def write(path: Path, processor: sentencepiece.SentencePieceProcessor, *, space: bool) -> None:
    """The vocabulary as llama.cpp's converter writes it."""
    writer = gguf.GGUFWriter(path, "llama")
    ids = range(processor.vocab_size())
    kind = gguf.TokenType
    kinds = [
        kind.UNKNOWN
        if processor.is_unknown(i)
        else kind.USER_DEFINED
        if processor.id_to_piece(i) == "<|user|>"
        else kind.CONTROL
        if processor.is_control(i)
        else kind.BYTE
        if processor.is_byte(i)
        else kind.NORMAL
        for i in ids
    ]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.id_to_piece(i) for i in ids])
    writer.add_token_scores([processor.get_score(i) for i in ids])
    writer.add_token_types([int(k) for k in kinds])
    writer.add_bos_token_id(processor.bos_id())
    writer.add_eos_token_id(processor.eos_id())
    writer.add_unk_token_id(processor.unk_id())
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    if not space:
        writer.add_add_space_prefix(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def by_llama_cpp(path: Path, lines: list[str], *, special: bool) -> list[list[int]]:
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [model.tokenize(line.encode(), add_bos=True, special=special) for line in lines]


def main() -> None:
    processor = train()
    lines, source = texts()
    write(MODEL, processor, space=True)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.gguf")
        write(plain, processor, space=False)
        without_space = by_llama_cpp(plain, lines, special=False)
        spelled_without_space = by_llama_cpp(plain, SPELLED, special=True)
    goldens = {
        "made_by": f"sentencepiece {sentencepiece.__version__}, llama-cpp-python {llama_cpp.__version__}",
        "lines_sha256": source,
        "every": EVERY,
        "texts": lines[-len(ODD) - 60 :],
        "sentencepiece": [[processor.bos_id(), *processor.encode(line)] for line in lines],
        "llama_cpp": by_llama_cpp(MODEL, lines, special=False),
        "llama_cpp_without_space": without_space,
        "spelled": SPELLED,
        "llama_cpp_spelled": by_llama_cpp(MODEL, SPELLED, special=True),
        "llama_cpp_spelled_without_space": spelled_without_space,
    }
    text = json.dumps(goldens, separators=(",", ":"))
    GOLDENS.write_bytes(gzip.compress(text.encode(), mtime=0))
    for path in (MODEL, GOLDENS):
        print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
