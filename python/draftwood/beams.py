"""One prompt's beam search: from `BeamParams` to the core's search, from its hypotheses to `Beams`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .constraints import NativeRule
from .errors import InternalError, InvalidArgument, OutOfPages, UnsupportedModel
from .processing import Processed, rules_of
from .requests import _count as count_of
from .requests import _field as field_of
from .requests import random_seed
from .scoring import LookAhead, Scored
from .types import BeamParams, Beams, BeamStats, Hypothesis, Lattice, PhaseTimes

if TYPE_CHECKING:
    from .reads import Read
    from .search import SuperposedParams

__all__ = ["PromptSearch", "SessionSearch", "end_tokens_of", "open_search", "starved"]

_WARPERS = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def end_tokens_of(params: BeamParams | SuperposedParams, own: Sequence[int]) -> list[int]:
    """The ids that end a text."""
    if params.ignore_eos:
        return []
    if params.eos_token_id is None:
        return sorted(set(own))
    ids: Any = params.eos_token_id
    many = list(ids) if isinstance(ids, Sequence) or hasattr(ids, "__len__") else [ids]
    return sorted({count_of(one, "eos_token_id") for one in many})


class PromptSearch:
    """The search of one prompt. It is fed rows of its live beams and knows no cache.

    Shapes: ids [T] int32; end_tokens and banned are ids; limit: most tokens; own_rules: those of the model; has_hidden:
    whether rows come with hidden states.
    """

    def __init__(
        self,
        ids: NDArray[np.int32],
        params: BeamParams,
        end_tokens: Sequence[int],
        banned: Sequence[int] = (),
        limit: int | None = None,
        token_bytes: _core.TokenBytes | None = None,
        own_rules: Sequence[_core.Rule] = (),
        has_hidden: bool = False,
    ) -> None:
        limit = count_of(params.max_new_tokens, "max_new_tokens") if limit is None else limit
        if params.early_stopping not in (True, False, "never"):
            raise InvalidArgument.of("early_stopping", 'True, False or "never"', repr(params.early_stopping))
        self._stop = [params.stop] if isinstance(params.stop, str) else list(params.stop)
        if not all(isinstance(one, str) for one in self._stop):
            raise InvalidArgument.of("stop", "strings", repr(self._stop))
        if self._stop and token_bytes is None:
            raise UnsupportedModel.of("a stop string without a tokenizer", "give the engine a tokenizer")
        self.backspace = _backspace(params)
        self.seed, sampling = _sampling(params)
        drawn = None
        if params.stochastic is not False:
            self.seed = _seed(params) if self.seed is None else self.seed
            drawn = str(params.stochastic), self.seed
            if params.scorer is not None or params.num_beam_groups != 1 or params.keep_candidates or self._stop:
                raise InvalidArgument.of("stochastic", "False with groups, scorer, stop or keep_candidates", "True")
        minimum = count_of(params.min_new_tokens, "min_new_tokens")
        if minimum > count_of(params.max_new_tokens, "max_new_tokens"):
            raise InvalidArgument.of("min_new_tokens", f"at most max_new_tokens = {params.max_new_tokens}", minimum)
        beams = count_of(params.num_beams, "num_beams")
        groups = count_of(params.num_beam_groups, "num_beam_groups")
        # Continuations of a beam that may be chosen, end tokens aside.
        asked = count_of(params.scorer_top_k, "scorer_top_k") or beams
        self._width = beams // max(1, groups) if params.scorer is None else asked
        rules, others = rules_of(params.processors)
        if self.backspace is not None and others:
            raise InvalidArgument.of(
                "processors with backspace_token_id", "rules of draftwood", "one written in Python"
            )
        self._scorer = None if params.scorer is None else Scored(params)
        self._ahead: LookAhead | None = None
        if self._scorer is not None and self._scorer.needs_hidden:
            _check_look_ahead(params, ids, has_hidden)
            self._ahead = LookAhead(self._scorer)
        self.width = beams * (asked + len(end_tokens)) if self._ahead else beams + (params.stochastic is not False)
        """Most texts at once; a stochastic search keeps one more, whose noise is the threshold of the weights."""
        self._keeps_lattice = bool(params.keep_lattice)
        self._core = _core.BeamSearch(
            ids,
            num_beams=beams,
            num_return=count_of(params.num_return, "num_return"),
            max_new_tokens=limit,
            min_new_tokens=min(minimum, limit),
            length_penalty=field_of(params.length_penalty, float, "length_penalty", "a number"),
            early_stopping=None if params.early_stopping == "never" else bool(params.early_stopping),
            end_tokens=end_tokens,
            banned=banned,
            sampling=sampling,
            repetition_penalty=field_of(params.repetition_penalty, float, "repetition_penalty", "a number"),
            no_repeat_ngram_size=count_of(params.no_repeat_ngram_size, "no_repeat_ngram_size"),
            rules=[*rules, *own_rules],
            num_groups=groups,
            diversity=_diversity(params) if groups > 1 else None,
            keep_candidates=bool(params.keep_candidates),
            drawn=drawn,
            stop=self._stop,
            token_bytes=token_bytes,
            backspace=self.backspace,
        )
        # A draw may fall on any token, so that rules which test tokens test them all.
        need = 2**31 if params.do_sample else beams * (1 + max(1, len(end_tokens)))
        self._processors = Processed(others, ids, end_tokens, need) if others else None
        self.refusal = _refusal(params, bool(others))
        """Why it takes one step per forward; empty if it may speculate."""

    def speculation(self, ids: NDArray[np.int32], lanes: int, sequence: int) -> _core.Speculation:
        """What moves the search on by several steps; `step` is then not for use."""
        return _core.Speculation(self._core, ids, lanes, sequence)

    @property
    def done(self) -> bool:
        """Whether the search has ended."""
        return self._core.done

    def step(self, values: Any, rows: Sequence[int], kind: str) -> list[tuple[int, int, float]]:
        """Moves the beams on; beam i reads row `rows[i]` of `values` [R, V] f32. Returns (beam, token, score) of each
        beam of the next step, best first."""
        ruled = self._ruled(values, rows, kind)
        survivors = self._core.step(*ruled) if self._scorer is None else self._scorer.step(self._core, *ruled)
        if self._processors is not None:
            self._processors.advance(survivors)
        return survivors

    @property
    def looks_ahead(self) -> bool:
        """Whether its scorer reads hidden states: `look_ahead` then takes the place of `step`."""
        return self._ahead is not None

    def look_ahead(
        self, values: Any, states: Any, rows: Sequence[int], begins: bool
    ) -> tuple[list[tuple[int, int, float]], int]:
        """Moves the beams on by what the last call has asked to forward: continuation i has row `rows[i]` of `values`
        [R, V] f32 and `states` [R, d]; if it `begins`, the only row is the prompt's. Returns (i, token, score) of the
        continuations to forward next, and how many of these rows are those of beams that go on."""
        assert self._ahead is not None
        chosen = [0]
        if not begins:
            survivors, chosen = self._ahead.choose(self._core, states, rows)
            if self._processors is not None:
                self._processors.advance(survivors)
        if self.done:
            return [], 0
        found = self._ahead.extend(self._core, *self._ruled(values, [rows[i] for i in chosen], "logits"))
        return [(chosen[beam], token, score) for beam, token, score in found], len(chosen)

    def _ruled(self, values: Any, rows: Sequence[int], kind: str) -> tuple[Any, Sequence[int], str, list[Any]]:
        """The rows after processors in Python, what kind they are then, and progress towards what must occur."""
        if self._processors is None:
            return values, rows, kind, []
        scratch = np.empty((len(rows), values.shape[1]), np.float32)
        self._core.write_rows(values, rows, kind, scratch)
        self._processors.apply(scratch)
        return scratch, range(len(rows)), "processed", self._processors.banked(scratch, self._width)

    def beams(
        self,
        stats: BeamStats,
        decode: Callable[[NDArray[np.int32]], str] | None = None,
        error: Exception | None = None,
    ) -> Beams:
        """What has been found."""
        found = []
        for tokens, score, raw, reason, stop, group, weight, step_scores, rows in self._core.hypotheses():
            ids = np.frombuffer(tokens, np.int32)
            stopped = reason == "stop" and stop is None
            text = "" if decode is None else decode(ids[:-1] if stopped else ids)
            if stop is not None:
                text = _cut(text, self._stop[stop], "" if decode is None else decode(ids[:-1]))
            found.append(
                Hypothesis(
                    token_ids=ids,
                    score=score,
                    text=text,
                    finish_reason=reason,
                    stop_reason=int(ids[-1]) if stopped else None if stop is None else self._stop[stop],
                    step_scores=np.frombuffer(step_scores, np.float32),
                    beam_indices=np.frombuffer(rows, np.int32),
                    raw_score=raw,
                    group=group,
                    log_weight=weight,
                )
            )
        kept = tuple(
            (np.frombuffer(beam, np.int32), np.frombuffer(token, np.int32), np.frombuffer(value, np.float32))
            for beam, token, value in self._core.candidates()
        )
        return Beams(tuple(found), stats, error, kept, _lattice(self._core) if self._keeps_lattice else None)


class SessionSearch:
    """A search whose beams are texts of the session: `live[i]` is the sequence of beam i."""

    def __init__(self, ids: NDArray[np.int32], search: PromptSearch, width: int, limit: int, since: PhaseTimes) -> None:
        self.ids, self.search, self.width, self.limit = ids, search, width, limit
        self.request: int | None = None
        self.live: list[int] | None = None
        """None until the prompt has been read for the first time."""
        self.error: Exception | None = None
        self.encoded: Read | None = None
        """What the model's encoder reads."""
        self.steps = self.beam_steps = self.prefill_steps = self.drafted = 0
        self.refusal: str = getattr(search, "refusal", "a search of another kind")
        self.lanes = width
        """Most texts of the session at once."""
        self.speculation: _core.Speculation | None = None
        self.looks_ahead: bool = getattr(search, "looks_ahead", False)
        """Whether it reads hidden states; its texts are then continuations that may be chosen."""
        self._begun = False
        self._since = since
        self._times = PhaseTimes()

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.error is not None or self.search.done

    def vector(self) -> NDArray[np.float32] | None:
        """What the only live text feeds instead of its last token's embedding, [d], if it does so."""
        mixed = getattr(self.search, "vector", None)
        return None if mixed is None else mixed()

    def read(self, sequence: int) -> None:
        """The prompt has been read, as this text."""
        self.live = [sequence]
        if not self.refusal:
            self.speculation = self.search.speculation(self.ids, self.lanes, sequence)

    def advance(
        self,
        logits: Any,
        rows: Sequence[tuple[int, int]],
        most: int,
        costs: _core.StepCosts | None,
        searches: int,
        states: Any = None,
    ) -> tuple[list[tuple[int, int, int, float]], list[int]]:
        """Moves the beams on: (sequence, first row) of each text that was forwarded. Returns (sequence, node, token,
        score) of the texts that go on, and texts that end though they were not forwarded."""
        assert self.live is not None
        if self.looks_ahead:
            return self._look_ahead(logits, states, [row for _, row in rows]), []
        if self.speculation is None:
            survivors = self.search.step(logits, [row for _, row in rows], "logits")
            paths = [(self.live[row], 0, token, score) for row, token, score in survivors]
            steps, closed = 1, list[int]()
        else:
            if len(rows) < self.speculation.texts:
                raise InternalError("a text of this search was not forwarded")
            steps, drafted, found, closed = self.speculation.advance(logits, rows, most, costs, searches)
            self.drafted += drafted
            paths = [(*path, 0.0) for path in found]
        self.steps += 1
        self.beam_steps += steps
        return paths, closed

    def _look_ahead(self, logits: Any, states: Any, rows: Sequence[int]) -> list[tuple[int, int, int, float]]:
        assert self.live is not None
        begins, self._begun = not self._begun, True
        survivors, kept = self.search.look_ahead(logits, states, rows, begins)
        self.prefill_steps += begins
        if not begins:
            self.steps += 1
            self.beam_steps += 1
            self.drafted += len(rows) - kept
        return [(self.live[row], 0, token, score) for row, token, score in survivors]

    def arranged(self, ids: Sequence[int]) -> None:
        """The session has made these texts of what `speculation.committed` asked for."""
        assert self.speculation is not None
        self.speculation.arranged(ids)
        self.live = self.speculation.sequences

    def ended(self, times: PhaseTimes) -> None:
        """Notes what the session has spent by now."""
        self._times = times - self._since

    def beams(self, decode: Callable[[Any], str] | None) -> Beams:
        """What has been found."""
        stats = BeamStats(
            prompt_tokens=len(self.ids),
            steps=self.steps,
            prefill_steps=self.prefill_steps,
            seed=self.search.seed,
            times=self._times,
            beam_steps=self.beam_steps,
            drafted=self.drafted,
            speculation=f"off: {self.refusal}" if self.refusal else "on",
        )
        return self.search.beams(stats, decode, self.error)


def open_search(
    ids: NDArray[np.int32],
    params: BeamParams,
    *,
    end_tokens: Sequence[int],
    vocab: int,
    max_context: int,
    token_bytes: _core.TokenBytes | None,
    since: PhaseTimes,
    read: Read | None = None,
) -> SessionSearch:
    """The search that a caller asks for; ids that the tokenizer does not have are never chosen."""
    if params.bos_token_id is not None:
        raise InvalidArgument.of("bos_token_id", "None: an engine has a prompt", params.bos_token_id)
    limit = min(count_of(params.max_new_tokens, "max_new_tokens"), max(1, max_context - len(ids)))
    ends = end_tokens_of(params, end_tokens)
    if ends and ends[-1] >= vocab:
        raise InvalidArgument.of("eos_token_id", f"below the vocabulary size {vocab}", ends[-1])
    if params.backspace_token_id is not None and count_of(params.backspace_token_id, "backspace_token_id") >= vocab:
        raise InvalidArgument.of("backspace_token_id", f"below the vocabulary size {vocab}", params.backspace_token_id)
    banned = [] if token_bytes is None else [*token_bytes.holes(), *range(len(token_bytes), vocab)]
    own = [] if read is None else read.rules(len(ids), limit)
    search = PromptSearch(ids, params, ends, banned, limit, token_bytes, own, has_hidden=True)
    found = SessionSearch(ids, search, search.width, limit, since)
    found.encoded = read
    return found


def starved(counts: dict[str, Any]) -> OutOfPages:
    """The error of a search that waited too long for pages that others hold."""
    return OutOfPages(
        "cache pages must become free for this search, got none for a minute; read or close the streams that hold them",
        needed=None,
        free=counts["pages_free"],
        total=counts["pages_total"],
        hint="read or close the streams that hold them",
    )


def _cut(text: str, stop: str, before: str) -> str:
    """The text in front of the stop string that its last token completes; `before` lacks that token."""
    at = text.find(stop, max(0, len(before) - len(stop) + 1))
    return text[:at] if at >= 0 else text.partition(stop)[0]


def _lattice(core: _core.BeamSearch) -> Lattice:
    """The tree of texts; the core's prompt is its own parent and has a token of no meaning."""
    *integers, step_scores, ended = core.lattice()
    parents, tokens, beams, groups = (np.frombuffer(one, np.int32).copy() for one in integers)
    parents[0] = tokens[0] = -1
    return Lattice(
        parents, tokens, beams, groups, np.frombuffer(step_scores, np.float32), np.frombuffer(ended, np.bool_)
    )


def _diversity(params: BeamParams) -> tuple[str, float, NDArray[np.float32] | None]:
    table = params.diversity_embedding
    if table is not None:
        table = np.ascontiguousarray(table, np.float32)
        if table.ndim != 2:
            raise InvalidArgument.of("diversity_embedding", "an array [V, d]", f"{table.ndim} dimensions")
    return str(params.diversity), field_of(params.diversity_penalty, float, "diversity_penalty", "a number"), table


def _backspace(params: BeamParams) -> int | None:
    if params.backspace_token_id is None:
        return None
    if params.stochastic is not False or params.scorer is not None:
        other = "scorer" if params.scorer is not None else "stochastic"
        raise InvalidArgument.of(f"backspace_token_id with {other}", "None", params.backspace_token_id)
    return count_of(params.backspace_token_id, "backspace_token_id")


def _check_look_ahead(params: BeamParams, ids: NDArray[np.int32], has_hidden: bool) -> None:
    """What a scorer that reads hidden states cannot do."""
    if not has_hidden:
        raise InvalidArgument.of(
            "scorer.needs_hidden",
            "False: a step function has no hidden states",
            True,
            "use an engine, or a scorer that reads tokens",
        )
    # Both add continuations to the best `scorer_top_k`, so that nobody knows how many texts to make room for.
    if params.stop:
        raise InvalidArgument.of(
            "stop with a scorer that needs hidden states", "empty", repr(params.stop), "use eos_token_id"
        )
    for rule in params.processors:
        if hasattr(rule, "progress") and (
            not isinstance(rule, NativeRule) or rule.progress(rule.init(ids)) is not None
        ):
            what = "processors with a scorer that needs hidden states"
            raise InvalidArgument.of(what, "rules without progress", type(rule).__name__, "accepts(ids) may demand it")


def _refusal(params: BeamParams, has_python: bool) -> str:
    if params.stochastic is not False:
        return "stochastic beams"
    if params.scorer is not None:
        return "a scorer"
    if params.backspace_token_id is not None:
        return "backspace"
    return "a processor in Python" if has_python else ""


def _seed(params: BeamParams) -> int:
    return random_seed() if params.seed is None else count_of(params.seed, "seed", 2**64 - 1)


def _sampling(params: BeamParams) -> tuple[int | None, tuple[float, int, float, float, int] | None]:
    if not params.do_sample:
        for name, default in _WARPERS.items():
            if getattr(params, name) != default:
                raise InvalidArgument.of(
                    name,
                    f"{default} without do_sample",
                    getattr(params, name),
                    "or set do_sample=True",
                )
        return None, None
    seed = _seed(params)
    return seed, (
        field_of(params.temperature, float, "temperature", "a number"),
        count_of(params.top_k, "top_k"),
        field_of(params.top_p, float, "top_p", "a number"),
        field_of(params.min_p, float, "min_p", "a number"),
        seed,
    )
