"""How a byte-level vocabulary cuts text before its merges, by the name that GGUF files use (`tokenizer.ggml.pre`).

A file names the rule and nothing else, so a rule that this table lacks cannot be guessed: every guess gives ids that
the model was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["BY_NAME", "PreTokenizer"]

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One rule; the defaults are GPT-2's own."""

    pattern: str | None = None
    """Regular expression that replaces GPT-2's."""
    digits: bool = False
    """Each digit (any character of Unicode class N) stands alone, before the pattern cuts."""
    nfc: bool = False
    """Text is composed (NFC) first."""
    whole_words: bool = False
    """A piece that is itself in the vocabulary is one token, whatever the merges say."""
    add_bos: bool = False
    """What an absent `tokenizer.ggml.add_bos_token` means."""

    def normalizer(self) -> Any:
        """The `tokenizers` normalizer, None if the text is taken as it is."""
        from tokenizers import normalizers

        return normalizers.NFC() if self.nfc else None

    def pipeline(self) -> Any:
        """The `tokenizers` pre-tokenizer."""
        from tokenizers import Regex, pre_tokenizers

        steps: list[Any] = []
        if self.digits:
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        if self.pattern is not None:
            steps.append(pre_tokenizers.Split(Regex(self.pattern), behavior="isolated"))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=self.pattern is None))
        return pre_tokenizers.Sequence(steps)


_LLAMA = PreTokenizer(_LLAMA3, whole_words=True, add_bos=True)

BY_NAME = {
    "gpt-2": PreTokenizer(),
    "llama-bpe": _LLAMA,
    "llama-v3": _LLAMA,
    "llama3": _LLAMA,
    "qwen2": PreTokenizer(_QWEN2, nfc=True),
    "smollm": PreTokenizer(digits=True),
    "starcoder": PreTokenizer(digits=True),
    "tekken": PreTokenizer(_TEKKEN, whole_words=True, add_bos=True),
}
"""The rules that are known, from the models' own `tokenizer.json`."""
