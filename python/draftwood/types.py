"""The plain data that crosses the public API, and the protocols that users implement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload, runtime_checkable

from .errors import DraftwoodError, InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .step import StepPlan

__all__ = [
    "BeamParams",
    "BeamStats",
    "Beams",
    "CacheConfig",
    "DraftStats",
    "EngineStats",
    "Executor",
    "ExecutorCaps",
    "Hypothesis",
    "Lattice",
    "Logprobs",
    "Output",
    "PhaseTimes",
    "SamplingParams",
    "Stats",
    "StreamEvent",
    "Tree",
    "View",
]


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
    perhaps `accepts(ids) → bool`: only accepted hypotheses are returned (yoshida2024; `draftwood.scoring` has two).
    With `needs_hidden = True` it is called as `log_prob(ids, hidden=states)`, states [n, d] float32: what the head of
    the engine's model reads after each text. A step then forwards all n ≤ num_beams · (scorer_top_k + end tokens)
    continuations instead of num_beams rows; not with `stop` or phrases, nor in `dw.search.beam`."""
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
class Hypothesis:
    """One text that a search has found.

    Shapes: token_ids [T] int32, the generated tokens, the end token included; step_scores [T] f32, the log-probability
    of each after processors; beam_indices [T] int32, the beam of the step that each token was chosen for.
    """

    token_ids: NDArray[np.int32]
    score: float
    """Sum of step_scores / T ** length_penalty; in groups less their penalties."""
    text: str
    """Without the end token; empty without a tokenizer."""
    finish_reason: str
    """stop, length, or constraint: nothing could be finished, this is the best prefix."""
    stop_reason: int | str | None
    """The end token or the stop string."""
    step_scores: NDArray[np.float32]
    beam_indices: NDArray[np.int32]
    raw_score: float = 0.0
    """Sum of step_scores / T ** length_penalty, always."""
    group: int = 0
    """Which group of beams found it."""
    log_weight: float | None = None
    """Log of the importance weight of a draw without replacement."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """All texts that were beams of a search, as a tree: node 0 is the prompt, every other node adds a token to its
    parent. A node that did not end and has no children was crowded out by better ones in the next step, or was alive
    when the search stopped.

    Shapes: all [N], parents before children. parents int32, −1 for node 0; tokens int32, −1 for node 0; beam_indices
    int32, the beam of the step that the token was chosen for; groups int32; step_scores f32, the token's
    log-probability after processors; ended bool.
    """

    parents: NDArray[np.int32]
    tokens: NDArray[np.int32]
    beam_indices: NDArray[np.int32]
    groups: NDArray[np.int32]
    step_scores: NDArray[np.float32]
    ended: NDArray[np.bool_]
    """Finished texts, those too that did not stay among the best."""

    def __len__(self) -> int:
        return len(self.parents)


@dataclass(frozen=True, slots=True)
class BeamStats:
    """What one search has cost."""

    prompt_tokens: int
    steps: int
    """Forwards that moved the beams on; with speculation one may take several steps of the search."""
    prefill_steps: int
    """Forwards that did not move the beams: they read a part of the prompt, or all of it if a scorer reads hidden
    states."""
    seed: int | None
    """Of the noise, with `do_sample`."""
    times: PhaseTimes
    beam_steps: int
    """Steps of the search; `beam_steps - steps` forwards were saved by speculation."""
    drafted: int = 0
    """Rows that were forwarded beyond those of live beams."""
    speculation: str = "off: a function of the caller's"
    """Whether drafts of what the beams may become were verified with them ("on"), or why not."""


@dataclass(frozen=True, slots=True)
class Beams(Sequence["Hypothesis"]):
    """The hypotheses of one prompt, best first."""

    hypotheses: tuple[Hypothesis, ...]
    stats: BeamStats
    error: Exception | None = None
    """What ended the search early, in a list of prompts; the hypotheses are those found until then."""
    candidates: tuple[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]], ...] = ()
    """With `keep_candidates`, per step: the beam, the token and the score of its best candidates."""
    lattice: Lattice | None = None
    """With `keep_lattice`, the tree of all texts that were beams."""

    @overload
    def __getitem__(self, index: int) -> Hypothesis: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hypothesis]: ...
    def __getitem__(self, index: int | slice) -> Hypothesis | Sequence[Hypothesis]:
        return self.hypotheses[index]

    def __len__(self) -> int:
        return len(self.hypotheses)


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


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Raw log-probabilities (before temperature and filters) of T generated tokens.

    Shapes: chosen [T] f32; top_ids [T, k] int32, best first; top [T, k] f32.
    """

    chosen: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    top: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Seconds spent per phase of the steps that a text took part in; a batch shares each step."""

    draft: float = 0.0
    plan: float = 0.0
    forward: float = 0.0
    verify: float = 0.0
    commit: float = 0.0

    @property
    def total(self) -> float:
        """All phases together."""
        return self.draft + self.plan + self.forward + self.verify + self.commit

    def __sub__(self, other: PhaseTimes) -> PhaseTimes:
        return PhaseTimes(
            self.draft - other.draft,
            self.plan - other.plan,
            self.forward - other.forward,
            self.verify - other.verify,
            self.commit - other.commit,
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """What one text has cost."""

    prompt_tokens: int
    new_tokens: int
    steps: int
    """Forwards that gave at least one token."""
    prefill_steps: int
    """Forwards that only cached a part of the prompt."""
    drafted: int
    """Drafted nodes that were forwarded."""
    accepted: int
    """Drafted nodes that became text."""
    seed: int
    times: PhaseTimes = field(default_factory=PhaseTimes)
    processed_rows: int = 0
    """Rows that processors in Python have seen; each costs calls between the languages."""

    @property
    def tokens_per_step(self) -> float:
        """New tokens per forward, the token that each forward gives by itself included."""
        return self.new_tokens / self.steps if self.steps else 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """One generated text.

    Shapes: token_ids [T] int32, every generated token, the end token included.
    """

    text: str
    token_ids: NDArray[np.int32]
    finish_reason: str
    """stop, length, cancelled, constraint or error."""
    stop_reason: int | str | None
    """The end token or the stop string that ended the text, or "loop" for a greedy text that took a token back."""
    logprobs: Logprobs | None
    stats: Stats
    error: Exception | None = None
    """What ended the text, when finish_reason is "error"."""
    sample: int = 0
    """Which sample of the prompt this is: with its seed, the name of its noise."""
    samples: tuple[Output, ...] = ()
    """With n > 1 all n, in the order that `SamplingParams.best_of` tells; the output itself is the first one that no
    error ended."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """News of a stream: `text` is the new piece, cut at UTF-8 borders; a sample's last event has a finish_reason."""

    text: str
    token_ids: NDArray[np.int32]
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    sample: int = 0
    """Which sample of the prompt the news are of."""
    retracted: int = 0
    """Tokens of earlier events that are taken back, before `token_ids` are added: with `backspace_token_id`."""
    retracted_text: int = 0
    """Characters at the end of the text so far that go with them, before `text` is added."""


@dataclass(frozen=True, slots=True)
class DraftStats:
    """What drafters proposed, what the policy chose, and what rows cost: why there are drafts, or none."""

    policy: str
    """auto, always, or none: an engine without a drafter."""
    steps: int
    """Steps that gave tokens."""
    drafted_steps: int
    """Those that forwarded drafts."""
    texts: int
    """Texts of all those steps together: the rows of plain decoding."""
    proposed: int
    """Nodes that drafters proposed."""
    drafted: int
    """Nodes that were forwarded."""
    accepted: int
    """Nodes that became text."""
    seconds_by_rows: Mapping[int, float]
    """Time of a step of n rows, for the sizes that were seen; what drafts must pay for."""

    @property
    def rows_per_step(self) -> float:
        """Rows per text and step, the one that plain decoding has included."""
        return 1.0 + self.drafted / self.texts if self.texts else 0.0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Sizes of an engine at this moment. An idle engine has pages_free = pages_total."""

    running: int
    waiting: int
    pages_total: int
    pages_free: int
    rows_copied_on_write: int
    """Cache rows copied because a text appended to a page that others share."""
    rows_forked: int
    """Cache rows copied to pages of new forks."""
    rows_compacted: int
    """Accepted rows moved from their place in a tree to their position."""
    steps: int
    times: PhaseTimes
    executor: str
    """Which executor runs, and why."""
    drafts: DraftStats


@dataclass(frozen=True, slots=True)
class View:
    """What a drafter sees of one text.

    Shapes: token_ids [T] int32, prompt and output, read-only; the last one is node 0 of the tree to propose.
    """

    token_ids: NDArray[np.int32]
    budget: int
    """Most nodes of the tree, node 0 included."""
    max_depth: int
    """Most levels below node 0 that can be accepted; deeper nodes are dropped."""
    sequence: int
    """Stays the same from step to step."""
    hidden: Any = None
    """For drafters with `needs_hidden`: hidden states [t, d], the input of the head, of the rows that chose the last t
    tokens; None before the first ones."""
    source_ids: NDArray[np.int32] | None = None
    """[S] int32, read-only: what an encoder has read; None without one, and for sound."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A draft: tokens[0] is the view's last token, parents[0] is −1, parents[i] < i, siblings are distinct.

    `prob` holds the drafter's probability of each node given its parent, if it knows one.
    """

    tokens: Sequence[int] | NDArray[Any]
    parents: Sequence[int] | NDArray[Any]
    prob: Sequence[float] | NDArray[Any] | None = None


@runtime_checkable
class Drafter(Protocol):
    """The short form of a drafter: one text at a time. A wrong proposal costs time, never correctness."""

    def propose(self, view: View) -> Tree | None:
        """A tree of continuations, or None for no draft."""


@dataclass(frozen=True, slots=True)
class ExecutorCaps:
    """What an executor can do."""

    vocab_size: int
    max_context: int
    slot_bytes: int
    """Cache bytes of one token over all layers."""
    trees: bool = True
    rollback: bool = True
    hidden_states: bool = False
    embeddings: bool = False
    """Whether rows may be vectors instead of tokens: `plan.embedded`, and `embed(token_ids) → [n, d]`."""
    selectors: tuple[str, ...] = ("full",)
    """What it can say of a row: its logits ("full"), or only which is the largest ("argmax")."""
    device: str = "cpu"
    name: str = "executor"
    """The implementation and why it was chosen; shown by `backend()` and in the stats."""


class Executor(Protocol):
    """Who runs the forward pass. Knows rows and slots, not texts."""

    @property
    def caps(self) -> ExecutorCaps:
        """What it can do."""

    def allocate(self, pages: int, page_size: int) -> None:
        """Makes the cache: `pages` pages of `page_size` slots."""

    def forward(self, plan: StepPlan, hidden: tuple[str, ...] = ()) -> Rows:
        """Computes the rows of a plan and stores their keys and values in `plan.slots`."""

    def apply(self, moves: NDArray[np.int32]) -> None:
        """Copies cache rows: moves [2, M] are source and destination slots; all sources are read first."""


class Rows(Protocol):
    """What a forward returns."""

    @property
    def logits(self) -> Any:
        """[R', V] f32 CPU tensor (DLPack), one row per plan.head_rows entry, unchanged until the step is verified."""


def error_of_output(output: Output) -> Exception | None:
    """The exception of a text that ended with an error, carrying the output as `.output`."""
    if isinstance(output.error, DraftwoodError):
        output.error.output = output
    return output.error
