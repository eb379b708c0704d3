"""Searches by function: beams over any model that is a function, and several drafts from one row per step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .constraints import AllowedPrefix, BlockNgrams, InCorpus, Phrases, Trie
from .errors import InvalidArgument
from .types import BeamParams, Beams, BeamStats, PhaseTimes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .engine import Engine
    from .retrieval import FMIndex

__all__ = [
    "AllowedPrefix",
    "BlockNgrams",
    "InCorpus",
    "Phrases",
    "SuperposedParams",
    "Trie",
    "beam",
    "exact",
    "superposed",
]


@dataclass(frozen=True, slots=True)
class SuperposedParams:
    """How `superposed` decodes. The defaults are those of the paper for Llama-2-7B, three drafts and prompts of 15
    tokens; it tuned alpha and temperature per number of drafts (2: 0.62, 0.06; 4: 0.52, 0.06; 10: 0.54, 0.12)."""

    num_drafts: int = 3
    """k: texts that are written at once."""
    max_new_tokens: int = 10
    """Most tokens of a draft. Drafts share one cache of mixtures, which blurs with every token: a method for short
    completions."""
    temperature: float = 0.06
    """τ: the model's logits are divided by it before they become scores; above 0."""
    top_k: int | None = None
    """m: drafts take the likeliest tokens of a step only; None for 3 · num_drafts, as in the paper."""
    alpha: float | None = None
    """α: weight of the index, from 0 to below 1; None for 0.54 with an index and 0 without."""
    order_weights: Sequence[float] = (0.01, 0.04, 0.15, 0.18, 0.12)
    """Weights of pairs, triples … of the index' n-grams."""
    ignore_eos: bool = False
    """End tokens end nothing."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end a draft; None for the model's own."""


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
        One call of `step` per step of the search, two passes over each row, and the selection of states. There are no
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


def superposed(
    engine: Engine, prompt: Any, params: SuperposedParams | None = None, *, index: FMIndex | None = None
) -> Any:
    """Writes k different drafts of a short completion with one row per step, where a beam search takes k. Lossy: after
    the first token, drafts are what the model says to a mixture of texts, not to each of them.

    The row of a step is x = Σ_i γ_i · E[v_i], v_i the last token of draft i and γ the softmax of the drafts' scores.
    Its logits l, over their m largest T, are p(v) = exp(l_v / τ) / Σ_T exp(l_u / τ). Drafts are told apart by the
    n-grams of a corpus: with c the counts of the index behind the last n − 1 tokens of draft i, its prompt included,
    and w_n the weights of the orders, q_i(v) = Σ_n w_n · c(v) / c. A token adds s_i(v) = (1 − α) · ln p(v) +
    α · ln q_i(v) to its draft, −∞ where q_i is 0; if q_i is 0 for all of T, (1 − α) · ln p(v) − 200. The k best of all
    k · m sums go on; an end token among them finishes a draft. Without an index s is ln p, so that k = 1 is greedy.

    Shapes
        engine: native or transformers executor, decoder-only model; prompt: as in `Engine.generate`, or a list of
        prompts; index: of the engine's tokenizer, any tier.
    Returns
        `Beams`, best first: the k drafts that finished first, or were cut by max_new_tokens; a list for a list of
        prompts. `score` is the sum of s, `beam_indices` says which draft of the step before each token continued.
    Errors
        InvalidArgument (a parameter, the prompt), UnsupportedModel (an executor whose rows are tokens),
        IndexFormatError (an index of another tokenizer, a damaged block), OutOfPages. An error of one prompt ends all.
    Cost
        One forward of one row per prompt and step, whatever k; pages for one text; k · m tests of tokens per order.
    Source
        shen2024superposed, section 3. It counts n-grams in tables; here they are counted in an index, and c includes
        places where a document ends. An end counts if it is among the k best candidates, as in a beam search.
    Example
        >>> import draftwood as dw
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        ...                      num_attention_heads=2, max_position_embeddings=128, eos_token_id=None)
        >>> engine = dw.Engine(LlamaForCausalLM(config).eval())
        >>> drafts = dw.search.superposed(engine, [1, 2, 3], dw.search.SuperposedParams(max_new_tokens=4))
        >>> len({tuple(draft.token_ids) for draft in drafts}), drafts.stats.steps
        (3, 4)
    """
    from .requests import prompts_of
    from .superposed import run

    prompts, single = prompts_of(prompt)
    if params is not None and not isinstance(params, SuperposedParams):
        raise InvalidArgument.of("params", "a SuperposedParams", type(params).__name__)
    found = run(engine, prompts, SuperposedParams() if params is None else params, index)
    return found[0] if single else found


def _log_probs(values: Any, rows: int) -> NDArray[np.float32]:
    """What `step` returned as contiguous f32 on the CPU."""
    import numpy as np

    if hasattr(values, "detach"):
        values = values.detach().float().cpu()
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[0] != rows or array.dtype.kind not in "fV":
        got = f"{array.dtype} {array.shape}"
        raise InvalidArgument.of("the log-probs of step", f"floats of shape ({rows}, V)", got, "one row per token")
    # JAX and frozen arrays cannot be written to, and are not lent: they are copied.
    return np.require(array, np.float32, ["C_CONTIGUOUS", "WRITEABLE"])


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
