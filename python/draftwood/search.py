"""Beam search over any model: a function from tokens to log-probabilities is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .constraints import AllowedPrefix, BlockNgrams, Phrases, Trie
from .errors import InvalidArgument
from .types import BeamParams, Beams, BeamStats, PhaseTimes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AllowedPrefix", "BlockNgrams", "Phrases", "Trie", "beam", "exact"]


def beam(step: Callable[[NDArray[np.int64], Any], Any], state: Any = None, params: BeamParams | None = None) -> Beams:
    """Searches for the best texts of a model that is given as a step function.

    The first call has one row, the token `params.bos_token_id`; later ones have a row per live beam. Before each later
    call the state follows the beams: `state.select(rows)`, or indexing if it is an array or a nested tuple, list or
    dict of arrays, rows on axis 0. It is the search of `Engine.beam_search`, so the same rows give the same texts.

    Shapes
        step: called as step(tokens, state), tokens [R] int64, 1 ≤ R ≤ num_beams; returns log-probabilities [R, V], used
            as given (−inf forbids), having updated `state` in place, or the pair (log-probabilities, new state).
        state: anything with `select(rows)` (rows [R] int64: indices into the rows of the last call), arrays, or None.
        params: with bos_token_id, and eos_token_id unless all texts run to max_new_tokens.
    Returns
        `Beams`, best first; texts are empty, there is no tokenizer.
    Errors
        InvalidArgument (parameter, shape, a V that changes, NaN or +inf). What `step` raises comes out unchanged.
    Cost
        One call of `step` per step of the search, three passes over each row, and the selection of states. There are no
        drafts: `stats.steps` and `stats.beam_steps` are equal, `stats.speculation` says "off".
    Source
        Lowerre, "The HARPY speech recognition system", 1976; groups: vijayakumar2016; draws: kool2019; scorers:
        yoshida2024.
    Example
        >>> import numpy as np, draftwood as dw
        >>> table = np.log([[0.1, 0.6, 0.3], [0.2, 0.1, 0.7], [1.0, 1e-9, 1e-9]])
        >>> best = dw.search.beam(lambda tokens, state: table[tokens], None,
        ...                       dw.BeamParams(num_beams=2, max_new_tokens=3, bos_token_id=0, eos_token_id=2))
        >>> best[0].token_ids.tolist()
        [1, 2]
    """
    import numpy as np

    from .beams import PromptSearch, end_tokens_of
    from .requests import _count as count_of

    params = BeamParams() if params is None else params
    if params.bos_token_id is None:
        raise InvalidArgument.of("bos_token_id", "the id of the first token", None, "BeamParams(bos_token_id=…)")
    if params.backspace_token_id is not None:
        raise InvalidArgument.of(
            "backspace_token_id", "None: a state knows no way back", params.backspace_token_id, "use an engine"
        )
    start = count_of(params.bos_token_id, "bos_token_id")
    search = PromptSearch(np.array([start], np.int32), params, end_tokens_of(params, ()))
    tokens, steps = np.array([start], np.int64), 0
    while True:
        result = step(tokens, state)
        if isinstance(result, tuple):
            if len(result) != 2:
                raise InvalidArgument.of(
                    "what step returns", "log-probs or a pair with the state", f"{len(result)} values"
                )
            result, state = result
        survivors = search.step(_log_probs(result, len(tokens)), range(len(tokens)), "log_probs")
        steps += 1
        if search.done:
            return search.beams(BeamStats(1, steps, 0, search.seed, PhaseTimes(), steps))
        state = _select(state, np.array([row for row, _, _ in survivors], np.int64))
        tokens = np.array([token for _, token, _ in survivors], np.int64)


def exact(
    step: Callable[[NDArray[np.int64], Any], Any],
    state: Any = None,
    params: BeamParams | None = None,
    max_steps: int | None = None,
) -> Beams:
    """Finds the best texts of a small model with certainty: a judge for searches that do not.

    Shapes
        step, state: as in `beam`; every call has one row, and `state` is selected before each, so that it is copied.
        params: max_new_tokens, min_new_tokens, length_penalty, num_return, processors, bos_token_id, eos_token_id.
        max_steps: most calls of `step`; None has no limit.
    Returns
        `Beams`, best first; `stats.steps` counts the calls.
    Errors
        InvalidArgument (parameter, rows as in `beam`, values above 0, more than `max_steps`).
    Cost
        Exponential in the worst case: depth first, children in falling probability, cut off where the sum so far cannot
        exceed the worst of the `num_return` best texts.
    Source
        Stahlberg and Byrne, stahlberg2019.
    Example
        >>> import numpy as np, draftwood as dw
        >>> table = np.log([[0.1, 0.6, 0.3], [0.2, 0.1, 0.7], [1.0, 1e-9, 1e-9]])
        >>> params = dw.BeamParams(max_new_tokens=3, length_penalty=0, bos_token_id=0, eos_token_id=2)
        >>> dw.search.exact(lambda tokens, state: table[tokens], None, params)[0].token_ids.tolist()
        [1, 2]
    """
    from .exact import ExactSearch

    return ExactSearch(step, BeamParams() if params is None else params, max_steps).run(state)


def _log_probs(values: Any, rows: int) -> NDArray[np.float32]:
    """What `step` returned as contiguous f32 on the CPU."""
    import numpy as np

    if hasattr(values, "detach"):
        values = values.detach().float().cpu()
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[0] != rows or array.dtype.kind not in "fV":
        got = f"{array.dtype} {array.shape}"
        raise InvalidArgument.of("the log-probs of step", f"floats of shape ({rows}, V)", got, "one row per token")
    return np.ascontiguousarray(array, np.float32)


def _select(state: Any, rows: NDArray[np.int64]) -> Any:
    """The state of the beams that go on."""
    if state is None:
        return None
    if hasattr(state, "shape") and hasattr(state, "__getitem__"):  # before select: tensors have one of another kind
        if len(state.shape) == 0:
            raise InvalidArgument.of("an array of the state", "indexed by rows on axis 0", "one without axes")
        return state[rows]
    if hasattr(state, "select"):
        return state.select(rows)
    if isinstance(state, Mapping):
        return {key: _select(value, rows) for key, value in state.items()}
    if isinstance(state, tuple):
        parts = [_select(value, rows) for value in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    if isinstance(state, list):
        return [_select(value, rows) for value in state]
    raise InvalidArgument.of(
        "the state", "arrays, or an object with select(rows)", type(state).__name__, "give its class a method select"
    )
