"""What a caller asks for: how to generate, how to search, how much memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BeamParams", "CacheConfig", "SamplingParams"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to continue a prompt. Greedy by default; a seeded sample is the same with any drafter and in any batch.

    Filters apply in the order temperature, top-k, top-p, min-p, as in transformers. Sampling is Gumbel-max over the
    surviving ids with noise addressed by (seed, sample, position, vocabulary id).

    Errors
        InvalidArgument from the call that uses it, naming the field.
    """

    max_new_tokens: int = 128
    """Most tokens to generate, the end token included."""
    temperature: float = 0.0
    """0 is greedy; the logits are divided by it otherwise."""
    top_k: int = 0
    """Keep the k most probable tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of most probable tokens with this mass."""
    min_p: float = 0.0
    """Drop tokens below this share of the most probable one."""
    seed: int | None = None
    """None draws one; `Output.stats.seed` tells which."""
    n: int = 1
    """Samples of the prompt, which is processed once. Sample i is the same for any n above i; more than one need a
    temperature above 0."""
    best_of: int | None = None
    """Draw this many samples, at least n, and keep the n with the highest mean of their tokens' raw log-probabilities
    (before temperature and filters; the end token counts), best first; ties to the lower index. Samples that end with
    an error come last. None keeps all n in the order of their index."""
    stop: Sequence[str] | str = ()
    """Strings that end the text; not part of it."""
    ignore_eos: bool = False
    """Treat end tokens as ordinary ones."""
    min_new_tokens: int = 0
    """Before so many tokens, end tokens are masked and stop strings do not end."""
    logprobs: int | None = None
    """Raw log-probabilities of the chosen tokens, and of this many best ones per position."""
    processors: Sequence[Any] = ()
    """Rules of `draftwood.processors` and `draftwood.search`, objects of the `Processor` protocol, or transformers'
    logits processors, applied in this order to the logits."""
    repetition_penalty: float = 1.0
    """Logits of tokens that the text holds, prompt included, are divided by it, negative ones multiplied."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size comes twice, prompt included; 0 allows all."""
    bad_words: Sequence[Sequence[int]] = ()
    """Sequences of ids that are never completed."""
    allowed_tokens: Sequence[int] | None = None
    """Nothing but these ids, end tokens included; None allows all."""
    backspace_token_id: int | None = None
    """A token that takes the last generated one back (SequenceMatch): it is no part of the text, and forbidden while
    nothing is generated. What follows is drawn from the row that the text had before, with noise of its own, so that
    taking back costs no forward but 4 · V bytes per token kept. A text ends with "length" after 4 · `max_new_tokens`
    choices, or when it holds `max_new_tokens` tokens; a greedy one that takes back comes to where it has been and ends
    with "stop", `stop_reason` "loop". Processors written in Python are forked once more per token."""
    cache_salt: str | None = None
    """Drafts out of other requests' outputs (`drafters.Outputs`) come only from those with the same salt; None is one
    too. How fast a text comes shows what is known of it, so tenants get different ones."""


@dataclass(frozen=True, slots=True)
class BeamParams:
    """How to search for the best continuations of a prompt; names and meanings are transformers' where it has them.

    Scores are sums of log-probabilities after processors; nothing is renormalised. A hypothesis is ranked by its sum
    over its length (end token included) to the power of `length_penalty`.

    Errors
        InvalidArgument from the call that uses it, naming the field.
    """

    num_beams: int = 4
    """B: texts that live side by side."""
    num_return: int = 1
    """Hypotheses returned, at most; a constraint may leave fewer."""
    max_new_tokens: int = 128
    """Most tokens of a hypothesis, the end token included."""
    min_new_tokens: int = 0
    """Before so many tokens, end tokens are masked."""
    length_penalty: float = 1.0
    """Above 0 favours long hypotheses, below 0 short ones; 0 ranks by the plain sum."""
    early_stopping: bool | Literal["never"] = False
    """With B hypotheses: False stops when the best live beam would not be one of them if it ended now, "never" when it
    could not become one at any length, True at once."""
    stop: Sequence[str] | str = ()
    """Strings that end a text; not part of `text`. The token that completes one is a token of the hypothesis."""
    ignore_eos: bool = False
    """Treat end tokens as ordinary ones."""
    do_sample: bool = False
    """Draw candidates without replacement instead of taking the best."""
    temperature: float = 1.0
    """With `do_sample`: log-probabilities are divided by it."""
    top_k: int = 0
    """With `do_sample`: keep the k most probable tokens; 0 keeps all. Filters leave one token more than there are end
    tokens."""
    top_p: float = 1.0
    """With `do_sample`: keep the smallest set of most probable tokens with this mass."""
    min_p: float = 0.0
    """With `do_sample`: drop tokens below this share of the most probable one."""
    seed: int | None = None
    """Names the noise of `do_sample`; None draws one, `Beams.stats.seed` tells which."""
    repetition_penalty: float = 1.0
    """Log-probabilities of tokens that the text holds, prompt included, are multiplied by it."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size comes twice, prompt included; 0 allows all."""
    processors: Sequence[Any] = ()
    """Objects of the `draftwood.processors.Processor` protocol, or transformers' logits processors, in this order."""
    num_beam_groups: int = 1
    """G: groups of B / G beams, each with a pool of its own, that avoid what the groups before them chose
    (vijayakumar2016)."""
    diversity_penalty: float = 0.5
    """With groups: how much resembling earlier groups costs; 0 makes all groups equal."""
    diversity: Literal["hamming", "cumulative", "ngram", "embedding"] = "hamming"
    """With groups, what is compared: this step's tokens, whole texts, pairs of tokens, or embeddings of tokens."""
    diversity_embedding: NDArray[np.float32] | None = None
    """[V, d] for diversity="embedding"."""
    stochastic: Literal[False, "sequences", "first_token"] = False
    """Draws `num_beams` texts without replacement, in drawing order: whole sequences, each with its importance weight,
    or first tokens, each continued greedily or, with `do_sample`, by draws. The law is the model's after processors
    (kool2019)."""
    keep_candidates: bool = False
    """Records the best max(2, 1 + number of end ids) · B candidates of each step in `Beams.candidates`."""
    keep_lattice: bool = False
    """Hands out the tree of all texts that were beams, `Beams.lattice`: `draftwood generate --beams 4 --show` draws it.
    The search keeps it anyway; copying it out takes 21 bytes per node, at most 2 · B nodes per step."""
    scorer: Any = None
    """Something with `log_prob(ids) → [n]`, log c(A | text) of n texts (generated ids), called once per step, and
    perhaps `accepts(ids) → bool`: only accepted hypotheses are returned (yoshida2024; `draftwood.scoring` has two)."""
    scorer_weight: float = 1.0
    """Texts are kept by log p + weight · log c, and ranked by log p at the end."""
    scorer_top_k: int = 0
    """Continuations scored per beam, end tokens aside; 0 takes num_beams."""
    backspace_token_id: int | None = None
    """A token that takes the last generated one back, forbidden while nothing is generated (SequenceMatch). Scores are
    sums over all choices, those that take back included (`raw_score` too); of two ways to one text the better stays;
    lengths and `step_scores` are those of the tokens that stay. A search takes at most 4 · `max_new_tokens` steps; what
    is then unfinished ends with "length". Not with draws, groups, scorers, phrases, kept candidates or processors in
    Python, nor in `dw.search.beam`. The last token of a text that was cut is processed again in the next step."""
    bos_token_id: int | None = None
    """First token of `dw.search.beam`; an engine has a prompt instead."""
    eos_token_id: int | Sequence[int] | None = None
    """Ends a text; None takes the model's own end tokens."""


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Memory of the key-value cache.

    `bytes=None` takes what eight full contexts need, at most a quarter of the machine's memory; pages are touched
    only when used. `page_size` is the number of tokens per page (1 … 64). `dtype="float16"` (native executor) rounds
    keys and values: half the bytes, so long contexts take half the time of attention; texts then differ from those of a
    float32 cache, but not between runs. A value beyond the range of float16 ends its text with an error.
    """

    bytes: int | None = None
    page_size: int = 16
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not 1 <= self.page_size <= 64:
            raise InvalidArgument.of("CacheConfig.page_size", "1 … 64", self.page_size)
        if self.bytes is not None and self.bytes <= 0:
            raise InvalidArgument.of("CacheConfig.bytes", "positive", self.bytes)
        if self.dtype not in ("float32", "float16"):
            raise InvalidArgument.of("CacheConfig.dtype", "one of float32, float16", repr(self.dtype))
