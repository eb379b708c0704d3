"""SentencePiece BPE vocabularies (Llama 2, Mistral, TinyLlama, Gemma) as `tokenizers` pipelines.

A vocabulary scores its pieces. Text, a space written as U+2581, begins as characters; of all neighbours that together
are a piece those of the highest score are joined first, the leftmost of equals; a character that is no piece becomes
its UTF-8 bytes. `tokenizers` ranks pairs instead of pieces, so every way to cut a piece in two is a merge, ranked by
the piece's score.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["SPACE", "Kind", "byte_of", "checked_scores", "decoder_strips", "merges", "piece_bytes", "pipeline"]

SPACE = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Kind:
    """Values of `tokenizer.ggml.token_type`, SentencePiece's types of pieces."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def merges(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """All pairs of pieces that are a piece, the pieces of higher scores first.

    Two ways to cut one piece have an order here that SentencePiece does not know (it takes the leftmost place): the
    shorter left half comes first. This can only matter where both overlap, as in runs of one character.
    """
    ranked = [
        (-score, piece, cut)
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    ranked.sort()
    return [(piece[:cut], piece[cut:]) for _, piece, cut in ranked]


def pipeline(
    pieces: Sequence[str | None], kinds: Sequence[int], scores: Sequence[float], unknown: int | None, *, space: bool
) -> Any:
    """The `tokenizers` pipeline, without what it puts around a text.

    `space`: one is put in front of a text and of what follows a control or user-defined piece, as in llama.cpp and in
    the tokenizer.json of Llama 2. Only normal pieces are joined, so no text becomes a control piece.
    """
    from tokenizers import Tokenizer, decoders, normalizers
    from tokenizers.models import BPE

    normal = {
        piece: score
        for piece, kind, score in zip(pieces, kinds, scores, strict=True)
        if piece is not None and kind == Kind.NORMAL
    }
    vocabulary = {piece: i for i, piece in enumerate(pieces) if piece is not None}
    unk = None if unknown is None else pieces[unknown]
    backend = Tokenizer(BPE(vocabulary, merges(normal), unk_token=unk, fuse_unk=True, byte_fallback=True))
    escape = normalizers.Replace(" ", SPACE)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), escape]) if space else escape
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if space:
        steps.append(decoders.Strip(" ", left=1))
    backend.decoder = decoders.Sequence(steps)
    return backend


def byte_of(piece: str) -> bytes | None:
    """The byte that a byte piece, "<0x0A>", stands for; None if it is spelled otherwise."""
    match = _BYTE.fullmatch(piece)
    return bytes.fromhex(match[1]) if match else None


def piece_bytes(piece: str, kind: int) -> bytes:
    """What a piece adds to the text: a user-defined one is taken as it is spelled, as in llama.cpp."""
    if kind == Kind.BYTE:
        return byte_of(piece) or b""
    return (piece.replace(SPACE, " ") if kind == Kind.NORMAL else piece).encode("utf-8")


def decoder_strips(decoder: Any) -> bool | None:
    """Whether a decoder of SentencePiece BPE, as `pipeline` makes it, leaves out a space at the start; None if it is
    another kind of decoder.
    """
    from tokenizers import decoders

    if not isinstance(decoder, decoders.Sequence):
        return None
    steps = json.loads(decoder.__getstate__())["decoders"]
    expected = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    return len(steps) == 4 if steps in (expected, expected[:3]) else None


def checked_scores(values: Any, count: int) -> list[float] | None:
    """Scores of `count` pieces, None if the values are none."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    if not all(isinstance(value, float | int) and math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values]
