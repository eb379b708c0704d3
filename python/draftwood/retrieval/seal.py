"""`Seal`: documents found by the n-grams of the corpus that a model generates for a query."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..errors import InvalidArgument, UnsupportedModel
from ..reads import Read, read_prompt
from ..requests import _count as count_of
from ..requests import _field as field_of
from ..requests import _flag as flag_of
from ..requests import prompts_of
from .index import FMIndex, index_of
from .results import Evidence, Passage
from .steps import Prompted, engine_of, most_beams, run_searches

if TYPE_CHECKING:
    from ..engine import Engine

__all__ = ["Seal", "SealParams"]

Ids = tuple[int, ...]
Template = str | Callable[[Any], Any]
_WORDS = re.compile(r"\w+|[^\w\s]")
_QUERY_WORDS = 3
_ASKED = "Question: {query}\nAnswer:", "Question: {query}\nThe title of a page that answers it:", None
_MARKED = " {query} || body || +", " {query} || title || +", " {query}"
"""What the paper's encoder reads: the markers were learnt, `+` asks for a text like those of the training set; n-grams
of the body are scored under the bare query."""


@dataclass(frozen=True, slots=True)
class SealParams:
    """How SEAL searches and scores; names and defaults are those of the paper's code where it has them."""

    beam: int = 15
    """Live beams; twice as many candidates of each step become keys."""
    length: int = 9
    """Most tokens of an n-gram of the body (the paper's 10 decoder positions, the start among them)."""
    title_length: int = 14
    """Most tokens of a title, its end included."""
    decode_body: bool = True
    """Look for n-grams anywhere."""
    decode_titles: bool = True
    """Look for whole titles, if the index has them."""
    partial_titles: bool = False
    """Also keep beginnings of titles."""
    add_query_to_keys: bool = True
    """Also score spans of up to three words of a query that is text."""
    rescore: bool = True
    """Ask the model again for n-grams of the body, after `score_prompt` if there is one."""
    unigram_scores: bool = True
    """Let single tokens count where no key covers a document; special tokens and ends never do."""
    add_best_unigrams_to_ngrams: bool = True
    """As many of the best single tokens as there are keys become keys."""
    use_top_k_unigrams: int = 5000
    """The model's likeliest single tokens that may count."""
    stop_at_count: int = 0
    """N-grams that occur so often or more rarely are not continued."""
    use_fm_index_frequency: bool = True
    """LM+FM score: how much likelier the query makes an n-gram than the corpus does; else the LM score."""
    score_exponent: float = 2.0
    """Alpha: exponent of the weights of keys."""
    beta: float = 0.8
    """How much of a key's weight depends on its tokens being new to the document, 0 … 1."""
    length_penalty: float = 0.0
    """Lambda: log-probabilities are multiplied by (1 − lambda)^(tokens − 1)."""
    single_key: float = 0.0
    """Part of a document's score that its best key alone gives, 0 … 1."""
    smoothing: float = 5.0
    """Occurrences added to every count."""
    max_hits: int = 1500
    """Keys that occur more often find no documents."""
    skip_frequent_keys: int | None = None
    """Keys that occur more often count nowhere."""
    allow_overlaps: bool = False
    """Let keys overlap while documents are looked for."""
    fully_score: int = 1500
    """Documents that are scored in full."""


_RANKING = (
    "use_fm_index_frequency", "score_exponent", "beta", "length_penalty", "single_key", "smoothing", "max_hits",
    "skip_frequent_keys", "allow_overlaps", "fully_score", "use_top_k_unigrams", "add_best_unigrams_to_ngrams",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Prompt:
    """What a text begins with, ids [T], and what the model's encoder reads, if it has one."""

    ids: Any
    read: Read | None


@dataclass(slots=True)
class _Query:
    """A query on its way: its searches, then its keys, (anchored, ids) → log-probability."""

    body: _Prompt
    title: _Prompt
    score: _Prompt | None
    text: str | None
    searches: dict[str, _core.CorpusSearch]
    keys: dict[tuple[bool, Ids], float]


class Seal:
    """Search by generation: a model is asked for n-grams of a corpus, and documents are ranked by those they hold.

    The model may only say what the corpus says; the sums of its unconstrained log-probabilities, set against the counts
    of the corpus, weigh the n-grams. Models are asked by prompts: strings with `{query}` in them, or functions from the
    query to any prompt; a query of ids is its own prompt, unless functions are given. The encoder of an encoder–decoder
    reads the prompt, and its decoder says the n-grams after its start token; without prompts of yours it gets the
    paper's marked inputs. `compat=True` reproduces what the paper's code does otherwise: the last document has no
    reachable title, overlaps are partly missed while documents are looked for, `skip_frequent_keys` has no effect.

    Shapes
        engine: any; index: of the engine's tokenizer, any tier but "tiny".
        body_prompt, title_prompt: what the model is asked for n-grams and for titles. None: questions, or for an
        encoder " {query} || body || +" and " {query} || title || +".
        score_prompt: under which keys of the body and of the query are scored. None: `body_prompt`, or " {query}" for
        an encoder that was given no `body_prompt`.
    Returns
        A `Seal`, to be asked by `search`.
    Errors
        InvalidArgument (a parameter, the tier), IndexFormatError (an index of another tokenizer).
    Cost
        None until it is asked.
    Source
        bevilacqua2022; beams are matched by tests of candidates instead of masks. Its models are encoder–decoders that
        were trained for the task; what is said here of a model's end and start rules (forced tokens) does not apply.
    Example
        >>> import draftwood as dw, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> index = dw.FMIndex.build([[1, 2, 3], [4, 5, 6]], path=f"{folder.name}/a.dwx")
        >>> seal = dw.Seal(dw.testing.toy_engine(), index, dw.SealParams(use_fm_index_frequency=False))
        >>> len(seal.search([9, 8, 7], k=1))
        1
    """

    def __init__(
        self,
        engine: Engine,
        index: FMIndex,
        params: SealParams | None = None,
        *,
        body_prompt: Template | None = None,
        title_prompt: Template | None = None,
        score_prompt: Template | None = None,
        compat: bool = False,
    ) -> None:
        self.engine, self.index, self.compat = engine_of(engine), index_of(index), flag_of(compat, "compat")
        self.params = _checked(SealParams() if params is None else params)
        self._prompts = _templates(engine, body_prompt, title_prompt, score_prompt)
        if engine.tokenizer is not None:
            index.check_tokenizer(engine.tokenizer)
        if index.info()["tier"] == "tiny":
            expected, hint = "compact, standard or fast", "a tiny index cannot say where an n-gram stands"
            raise InvalidArgument.of("the tier of the index", expected, "tiny", hint)
        if self.params.beam > (most := most_beams(engine)):
            hint = "an engine with drafter=None holds more"
            raise InvalidArgument.of("beam", f"at most {most} for this engine", self.params.beam, hint)
        self._title_end = index.title_end
        table = None if engine.tokenizer is None else engine.tokenizer.token_bytes
        control = () if table is None else table.control_ids()
        self._special = sorted({*control, *engine._beams._stop_ids})  # no text: they never count as single tokens

    def search(self, query: Any, k: int = 10) -> Any:
        """The documents that the model's n-grams speak for.

        Shapes
            query: a string, ids [T], or a list of those; k: most passages.
        Returns
            A list of `Passage`, best first, ties to the lower document; a list of lists for a list of queries. A
            document in which no key occurs is never among them.
        Errors
            InvalidArgument, OutOfPages (the beams can never fit), IndexFormatError (a damaged block). An error of one
            query ends all.
        Cost
            About `length` + `title_length` forwards with 2 · `beam` rows, for all queries of a list together as far as
            rows allow, and forwards of the query's own spans; milliseconds for the ranking.
        Source
            bevilacqua2022.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([("a", "", [1, 2, 3]), ("b", "", [4, 5, 6])], path=f"{folder}/a.dwx")
            ...     params = dw.SealParams(use_fm_index_frequency=False)
            ...     found = dw.Seal(dw.testing.toy_engine(), index, params).search([9, 8, 7])
            >>> sorted(passage.id for passage in found), found[0].score >= found[1].score
            (['a', 'b'], True)
        """
        k = count_of(k, "k")
        queries, single = prompts_of(query)
        answers = [self._ranked(one, k) for one in self._asked(queries)]
        return answers[0] if single else answers

    def keys(self, query: Any) -> Any:
        """The n-grams that a search would rank by, before the best single tokens are added.

        Shapes
            query: as in `search`.
        Returns
            A list of `Evidence`, heaviest first, with `added` 0; a list of lists for a list of queries.
        Errors
            As `search`.
        Cost
            As `search` without the ranking.
        Source
            bevilacqua2022.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([[1, 2], [3]], path=f"{folder}/a.dwx")
            ...     keys = dw.Seal(dw.testing.toy_engine(), index).keys([9, 8])
            >>> sorted(key.token_ids for key in keys)
            [(1,), (1, 2), (2,), (3,)]
        """
        queries, single = prompts_of(query)
        told = []
        for one in self._asked(queries):
            keys, weights, _ = self._rank(one, 0, with_unigrams=False)
            evidence = [self._evidence(key, weight, 0.0) for key, weight in zip(keys, weights, strict=True)]
            told.append(sorted(evidence, key=lambda key: (-key.weight, key.token_ids)))
        return told[0] if single else told

    # ── asking the model ────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, queries: Sequence[Any]) -> list[_Query]:
        """Runs all searches, then scores what the searches have not: at most two rounds of forwards."""
        asked = [self._opened(query) for query in queries]
        run_searches(self.engine, [search for one in asked for search in self._searches(one)])
        scorers = [scorer for one in asked for scorer in self._collected(one)]
        run_searches(self.engine, [prompted for prompted, _, _ in scorers])
        for prompted, its, keys in scorers:
            for key, score in zip(keys, prompted.search.scores(), strict=True):
                its.keys[key] = score
        return asked

    def _opened(self, query: Any) -> _Query:
        body, title, score = self._prompts
        text = query if isinstance(query, str) else None
        # A query of ids is its own prompt under any string.
        same = score is None or (text is None and isinstance(score, str) and isinstance(body, str))
        under = None if same or score is None else self._prompt(score, query)
        return _Query(self._prompt(body, query), self._prompt(title, query), under, text, {}, {})

    def _prompt(self, template: Template, query: Any) -> _Prompt:
        if callable(template):
            prompt = template(query)
        else:
            prompt = template.replace("{query}", query) if isinstance(query, str) else query
        return _Prompt(*read_prompt(self.engine, prompt, None))

    def _searches(self, one: _Query) -> Iterator[Prompted]:
        params = self.params
        if params.decode_body:
            yield self._search(one, "body", one.body, params.length, ())
        if params.decode_titles and self._title_end:
            yield self._search(one, "title", one.title, params.title_length, self._title_end)

    def _search(self, one: _Query, kind: str, prompt: _Prompt, length: int, title_end: Sequence[int]) -> Prompted:
        length = self._room(prompt, length)
        stop_ids = self.engine._beams._stop_ids
        search = _core.CorpusSearch(
            self.index.core,
            beam=self.params.beam,
            length=length,
            anchored=kind == "title",
            title_end=title_end,
            end=min(stop_ids) if stop_ids else None,
            stop_at_count=self.params.stop_at_count,
            without_last_document=self.compat,
        )
        one.searches[kind] = search
        return Prompted(prompt.ids, search, self.params.beam, length, prompt.read)

    def _room(self, prompt: _Prompt, length: int) -> int:
        """Tokens that fit behind a prompt."""
        room = self.engine._beams._context - len(prompt.ids)
        if room < 1:
            raise InvalidArgument.of("the prompt of a query", "shorter than the model's context", len(prompt.ids))
        return min(length, room)

    def _collected(self, one: _Query) -> Iterator[tuple[Prompted, _Query, list[tuple[bool, Ids]]]]:
        """Takes the keys out of the searches; what is to be scored by itself comes out, in groups."""
        params, unscored = self.params, []
        for kind, search in one.searches.items():
            for found, log_prob, _, is_complete in search.found():
                if kind == "body" or is_complete or params.partial_titles:
                    one.keys[kind == "title", tuple(np.frombuffer(found, np.uint32).tolist())] = log_prob
        prompt = one.body if one.score is None else one.score
        if params.rescore and one.score is not None:
            unscored += [key for key in one.keys if not key[0]]
        if params.add_query_to_keys and one.text is not None:
            unscored += [key for key in self._spans(one.text) if key not in one.keys]
        unscored.sort(key=lambda key: key[1])
        width = params.beam  # as wide as the searches, which fit
        for start in range(0, len(unscored), width):
            group = unscored[start : start + width]
            longest = max(len(ids) for _, ids in group)
            room = self._room(prompt, longest)
            group = [key for key in group if len(key[1]) <= room]
            if group:
                scorer = _core.KeyScorer([ids for _, ids in group])
                yield Prompted(prompt.ids, scorer, len(group), room, prompt.read), one, group

    def _spans(self, text: str) -> list[tuple[bool, Ids]]:
        """Spans of up to three words that occur in the corpus, first letters in either case, a space before them."""
        tokenizer = self.engine.tokenizer
        if tokenizer is None or not hasattr(tokenizer, "encode_plain"):
            raise UnsupportedModel.of("query keys without a tokenizer", "SealParams(add_query_to_keys=False)")
        places = [match.span() for match in _WORDS.finditer(text)]
        spelled: dict[str, None] = {}
        for i in range(len(places)):
            for j in range(i, min(i + _QUERY_WORDS, len(places))):
                start, end = places[i][0], places[j][1]
                firsts = [place[0] - start for place in places[i : j + 1]]
                for upper in product((False, True), repeat=len(firsts)):
                    letters = list(text[start:end])
                    for at, is_upper in zip(firsts, upper, strict=True):
                        letters[at] = letters[at].upper() if is_upper else letters[at].lower()
                    spelled[" " + "".join(letters)] = None
        keys = {(False, tuple(ids.tolist())): None for ids in tokenizer.encode_plain(list(spelled)) if len(ids)}
        return [key for key in keys if self.index.count(key[1]) > 0]

    # ── ranking ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _rank(self, one: _Query, k: int, *, with_unigrams: bool = True) -> tuple[list[Any], list[float], list[Any]]:
        params = self.params
        keys = [(ids, anchored, min(score, 0.0)) for (anchored, ids), score in one.keys.items() if score > -np.inf]
        first = b""
        if params.unigram_scores and with_unigrams and "body" in one.searches:
            first = one.searches["body"].first()
        settings = {name: getattr(params, name) for name in _RANKING}
        unigrams = np.frombuffer(first, np.float32)
        added, weights, hits = _core.seal_rank(
            self.index.core, keys, unigrams, self._special, hits=k, compat=self.compat, **settings
        )
        return [*keys, *added], weights, hits

    def _ranked(self, one: _Query, k: int) -> list[Passage]:
        keys, weights, hits = self._rank(one, k)
        passages = []
        for number, score, its in hits:
            document = self.index.document(number)
            evidence = tuple(self._evidence(keys[key], weights[key], added) for key, added in its)
            passages.append(Passage(number, document.id, document.title, document.text, score, evidence))
        return passages

    def _evidence(self, key: tuple[Any, bool, float], weight: float, added: float) -> Evidence:
        ids, anchored, log_prob = key
        tokenizer = self.engine.tokenizer
        text = None if tokenizer is None else tokenizer.decode(np.array(ids, np.int32))
        return Evidence(tuple(ids), text, anchored, log_prob, weight, added)


def _templates(
    engine: Engine, body: Template | None, title: Template | None, score: Template | None
) -> tuple[Template, Template, Template | None]:
    """The prompts of a search, the model's kind of default where there is none."""
    for name, one in (("body_prompt", body), ("title_prompt", title), ("score_prompt", score)):
        if not (one is None or isinstance(one, str) or callable(one)):
            raise InvalidArgument.of(name, "a string, a function of the query, or None", type(one).__name__)
    has_encoder = getattr(engine.executor, "settings", None) is not None
    asks_body, asks_title, scores = _MARKED if has_encoder else _ASKED
    if score is None and body is None:
        score = scores
    return asks_body if body is None else body, asks_title if title is None else title, score


def _checked(params: SealParams) -> SealParams:
    """Every field, named in errors."""
    if not isinstance(params, SealParams):
        raise InvalidArgument.of("params", "a SealParams", type(params).__name__)
    for field in fields(params):
        value, kind = getattr(params, field.name), field.type
        if kind == "bool":
            flag_of(value, field.name)
        elif kind == "int":
            if count_of(value, field.name) < 1 and field.name in ("beam", "length", "title_length"):
                raise InvalidArgument.of(field.name, "at least 1", value)
        elif kind == "float":
            field_of(value, float, field.name, "a number")
        elif value is not None:
            count_of(value, field.name)
    for name in ("beta", "length_penalty", "single_key"):
        if not 0.0 <= getattr(params, name) <= 1.0:
            raise InvalidArgument.of(name, "0 … 1", getattr(params, name))
    for name in ("smoothing", "score_exponent"):
        if not 0.0 <= getattr(params, name) < np.inf:
            raise InvalidArgument.of(name, "0 or more", getattr(params, name))
    return params
