"""The papers that docstrings cite, by key."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAPERS", "Paper"]


@dataclass(frozen=True, slots=True)
class Paper:
    """A publication: `id` is an arXiv id or a repository."""

    title: str
    authors: str
    year: int
    id: str


PAPERS = {
    "chen2023": Paper(
        "Accelerating Large Language Model Decoding with Speculative Sampling", "Chen et al.", 2023, "arXiv:2302.01318"
    ),
    "leviathan2023": Paper(
        "Fast Inference from Transformers via Speculative Decoding",
        "Leviathan, Kalman, Matias",
        2023,
        "arXiv:2211.17192",
    ),
    "miao2023": Paper(
        "SpecInfer: Accelerating Generative Large Language Model Serving with Tree-based Speculative Inference and "
        "Verification",
        "Miao et al.",
        2023,
        "arXiv:2305.09781",
    ),
    "saxena2023": Paper("Prompt Lookup Decoding", "Saxena", 2023, "github.com/apoorvumang/prompt-lookup-decoding"),
}
