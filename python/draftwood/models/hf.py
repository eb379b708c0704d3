"""Hugging Face folders, and modules that are in memory already."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, UnsupportedModel
from . import LoadedModel, format_error, import_transformers

__all__ = ["context_of", "from_module", "load", "read_json", "weight_files"]

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_DTYPES = ("float32", "bfloat16", "float16")


def load(folder: str | os.PathLike[str], dtype: str = "float32") -> LoadedModel:
    """Reads config.json and safetensors, sharded or not, into a transformers module of `dtype`. Nothing is downloaded,
    no code of the folder is run.

    Errors
        InvalidArgument (no such folder, not a model folder; says what was looked for), ModelFormatError (damaged,
        missing or extra tensors), UnsupportedModel (sound, but transformers or this library has no such model).
    Cost
        One pass over the weights.
    """
    if dtype not in _DTYPES:
        raise InvalidArgument.of("dtype", f"one of {', '.join(_DTYPES)}", repr(dtype))
    path = Path(folder)
    files = weight_files(path)
    torch, transformers = import_transformers()
    _check_safetensors(files)
    module = _read(torch, transformers, path, dtype)
    tokenizer = path / "tokenizer.json"
    return _loaded(module, tokenizer if tokenizer.is_file() else None, _folder_template(path), path.resolve().name)


def from_module(module: Any, tokenizer: Any = None) -> LoadedModel:
    """A live transformers module as it is: nothing is copied, moved or switched to evaluation mode.

    Errors
        UnsupportedModel for a module spread over devices, or without a language head or a context limit.
    """
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    name = getattr(module.config, "name_or_path", "") or type(module).__name__
    return _loaded(module, tokenizer, template, name)


def _loaded(module: Any, tokenizer: Any, template: str | None, name: str) -> LoadedModel:
    _check_devices(module)
    head = module.get_output_embeddings()
    if head is None:
        raise UnsupportedModel.of(f"{type(module).__name__}, a module without a language head,", "load a causal model")
    context = context_of(module)
    return LoadedModel(module, tokenizer, _stop_ids(module), template, head.weight.shape[0], context, name)


_UNBOUNDED = 4096


def context_of(module: Any) -> int:
    """Most tokens of a text that is generated, prompt included; for encoder–decoders what the decoder may hold."""
    config = module.config
    if config.model_type == "t5":
        return _UNBOUNDED  # its bias by distance knows any length; something must end
    name = "max_target_positions" if config.model_type == "whisper" else "max_position_embeddings"
    both = getattr(config, "is_encoder_decoder", False)
    context = getattr(config if both else config.get_text_config(), name, None)
    if not isinstance(context, int):
        raise UnsupportedModel.of(f"{type(module).__name__} without {name}", "its context must end")
    return context


def _check_devices(module: Any) -> None:
    mapped = {str(device) for device in (getattr(module, "hf_device_map", None) or {}).values()}
    devices = mapped | {str(tensor.device) for tensor in module.parameters()}
    if len(devices) > 1:
        spread = f"{type(module).__name__} spread over {', '.join(sorted(devices))}"
        raise UnsupportedModel.of(spread, "load it on one device, without device_map")


def _stop_ids(module: Any) -> tuple[int, ...]:
    settings = getattr(module, "generation_config", None)
    ids = getattr(settings, "eos_token_id", None)
    if ids is None:
        ids = getattr(module.config.get_text_config(), "eos_token_id", None)
    if ids is None:
        return ()
    return tuple(sorted({int(i) for i in (ids if isinstance(ids, list | tuple) else [ids])}))


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, all of them there."""
    hint = f"looked for config.json and {_WEIGHTS} or {_INDEX}"
    if not folder.is_dir():
        got = f"{folder} ({'a file' if folder.exists() else 'nothing there'})"
        raise InvalidArgument.of("source", "a Hugging Face folder", got, hint)
    if not (folder / "config.json").is_file():
        raise InvalidArgument.of("source", "a Hugging Face folder", f"{folder} (no config.json)", hint)
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).is_file():
        pickled = any(folder.glob("pytorch_model*.bin"))
        got = f"{folder} ({'pickled weights only' if pickled else 'no weights'})"
        more = "; pickles can run code and are not read, save them with save_pretrained" if pickled else ""
        raise InvalidArgument.of("source", "a Hugging Face folder", got, hint + more)
    names = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise format_error(folder / _INDEX, "weight_map", "a table of tensors and files", type(names).__name__)
    files = [folder / name for name in sorted(set(names.values()))]
    for file in files:
        if file.parent != folder or not file.is_file():
            raise format_error(
                folder / _INDEX, "weight_map", "files of this folder", f"no file {file}", "fetch it again"
            )
    return files


def read_json(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise format_error(file, "the file", "JSON", f"an error ({error})") from error
    if not isinstance(content, dict):
        raise format_error(file, "the file", "a JSON object", type(content).__name__)
    return content


def _check_safetensors(files: list[Path]) -> None:
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise format_error(
                file, "the file", "sound safetensors", f"an error ({error})", "fetch it again"
            ) from error


def _read(torch: Any, transformers: Any, folder: Path, dtype: str) -> Any:
    read_json(folder / "config.json")
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        kind = transformers.AutoModelForCausalLM
        if config.is_encoder_decoder:
            sound = config.model_type == "whisper"
            kind = transformers.AutoModelForSpeechSeq2Seq if sound else transformers.AutoModelForSeq2SeqLM
        module, report = kind.from_pretrained(
            folder, config=config, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True, **local
        )
    except (ImportError, KeyError, TypeError, ValueError) as error:
        # transformers' own words say which model type or setting it has no class or package for.
        raise UnsupportedModel.of(
            f"{folder}: {type(error).__name__}: {error}", "transformers cannot load it"
        ) from error
    except (OSError, RuntimeError) as error:
        raise format_error(folder, "the folder", "a sound model", f"an error ({error})") from error
    # transformers only warns, and leaves random numbers where a tensor was missing.
    for what in ("missing_keys", "mismatched_keys", "error_msgs"):
        if found := report.get(what):
            raise format_error(folder, "the weights", "those of config.json", f"{what}: {sorted(map(str, found))[0]}")
    return module.requires_grad_(False).eval()


def _folder_template(folder: Path) -> str | None:
    """The chat template: a file of its own in newer folders, an entry of tokenizer_config.json in older ones."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    file = folder / "tokenizer_config.json"
    template = read_json(file).get("chat_template") if file.is_file() else None
    if isinstance(template, list):
        named = [one for one in template if isinstance(one, dict) and one.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is not None and not isinstance(template, str):
        raise format_error(file, "chat_template", "a string", type(template).__name__)
    return template
