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
    "bevilacqua2022": Paper(
        "Autoregressive Search Engines: Generating Substrings as Document Identifiers",
        "Bevilacqua et al.",
        2022,
        "arXiv:2204.10628",
    ),
    "chen2023": Paper(
        "Accelerating Large Language Model Decoding with Speculative Sampling", "Chen et al.", 2023, "arXiv:2302.01318"
    ),
    "cundy2023": Paper(
        "SequenceMatch: Imitation Learning for Autoregressive Sequence Modelling with Backtracking",
        "Cundy, Ermon",
        2023,
        "arXiv:2306.05426",
    ),
    "decao2021": Paper("Autoregressive Entity Retrieval", "De Cao et al.", 2021, "arXiv:2010.00904"),
    "ferragina2000": Paper(
        "Opportunistic Data Structures with Applications", "Ferragina, Manzini", 2000, "doi:10.1109/SFCS.2000.892127"
    ),
    "he2023": Paper("REST: Retrieval-Based Speculative Decoding", "He et al.", 2023, "arXiv:2311.08252"),
    "ippolito2022": Paper(
        "Preventing Verbatim Memorization in Language Models Gives a False Sense of Privacy",
        "Ippolito et al.",
        2022,
        "arXiv:2210.17546",
    ),
    "kool2019": Paper(
        "Stochastic Beams and Where to Find Them: The Gumbel-Top-k Trick for Sampling Sequences Without Replacement",
        "Kool, van Hoof, Welling",
        2019,
        "arXiv:1903.06059",
    ),
    "leviathan2023": Paper(
        "Fast Inference from Transformers via Speculative Decoding",
        "Leviathan, Kalman, Matias",
        2023,
        "arXiv:2211.17192",
    ),
    "liu2024": Paper("Adaptive Draft-Verification for LLM Inference", "Liu et al.", 2024, "arXiv:2407.12021"),
    "liu2024infinigram": Paper(
        "Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens",
        "Liu et al.",
        2024,
        "arXiv:2401.17377",
    ),
    "liu2025": Paper(
        "OLMoTrace: Tracing Language Model Outputs Back to Trillions of Training Tokens",
        "Liu et al.",
        2025,
        "arXiv:2504.07096",
    ),
    "miao2023": Paper(
        "SpecInfer: Accelerating Generative Large Language Model Serving with Tree-based Speculative Inference and "
        "Verification",
        "Miao et al.",
        2023,
        "arXiv:2305.09781",
    ),
    "oliaro2024": Paper(
        "SuffixDecoding: Extreme Speculative Decoding for Emerging AI Applications",
        "Oliaro et al.",
        2024,
        "arXiv:2411.04975",
    ),
    "post2018": Paper(
        "Fast Lexically Constrained Decoding with Dynamic Beam Allocation for Neural Machine Translation",
        "Post, Vilar",
        2018,
        "arXiv:1804.06609",
    ),
    "saxena2023": Paper("Prompt Lookup Decoding", "Saxena", 2023, "github.com/apoorvumang/prompt-lookup-decoding"),
    "shen2024superposed": Paper(
        "Superposed Decoding: Multiple Generations from a Single Autoregressive Inference Pass",
        "Shen et al.",
        2024,
        "arXiv:2405.18400",
    ),
    "stahlberg2019": Paper(
        "On NMT Search Errors and Model Errors: Cat Got Your Tongue?", "Stahlberg, Byrne", 2019, "arXiv:1908.10090"
    ),
    "vaswani2017": Paper("Attention Is All You Need", "Vaswani et al.", 2017, "arXiv:1706.03762"),
    "vijayakumar2016": Paper(
        "Diverse Beam Search: Decoding Diverse Solutions from Neural Sequence Models",
        "Vijayakumar et al.",
        2016,
        "arXiv:1610.02424",
    ),
    "yoshida2024": Paper("Making the Most of your Model", "Yoshida", 2024, "arXiv:2408.16241"),
}
