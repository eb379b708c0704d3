"""How Draftwood's attention gets into a transformers module, and out again.

A layer asks its config which attention to use. The executor lends the config for the length of one forward pass, so
that between steps the module is exactly as its owner left it.
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig
from transformers.masking_utils import AttentionMaskInterface

__all__ = ["LentConfig"]

_LOCK = Lock()
# id(config) → the owner's implementation and how many forward passes run; no entry outside of them.
_LENT: dict[int, list[Any]] = {}


class LentConfig:
    """Context of a forward pass: inside it the layers of `config` that get a `dw_plan` attend through it.

    Engines that share a module in several threads count themselves in and out. A call by somebody else meanwhile has
    no `dw_plan` and goes to the implementation that the owner had chosen, mask included.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        self._config = config

    def __enter__(self) -> None:
        config = self._config
        with _LOCK:
            entry = _LENT.get(id(config))
            if entry is None:
                owner = config._attn_implementation
                _LENT[id(config)] = [owner, 1]
                config._attn_implementation_internal = _registered(owner or "eager")
            else:
                entry[1] += 1

    def __exit__(self, *_: object) -> None:
        config = self._config
        with _LOCK:
            entry = _LENT[id(config)]
            entry[1] -= 1
            if entry[1] == 0:
                config._attn_implementation_internal = entry[0]
                del _LENT[id(config)]


def _registered(owner: str) -> str:
    """The name of our attention over a module whose owner had chosen `owner`, registered on first use."""
    name = f"draftwood_{owner}"
    if name in AttentionInterface._global_mapping:
        return name

    def attention(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        dw_plan: Any = None,
        **rest: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if dw_plan is None:
            function = AttentionInterface._global_mapping.get(owner) or _eager_of(module)
            return function(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest)
        return dw_plan.attend(module, query, key, scaling, rest), None

    masks = AttentionMaskInterface._global_mapping
    if owner in masks:
        AttentionMaskInterface.register(name, masks[owner])
    AttentionInterface.register(name, attention)
    return name


def _eager_of(module: torch.nn.Module) -> Any:
    """The eager attention of a module's family, which transformers keeps beside the class, not in its table."""
    for family in type(module).__mro__:
        function = getattr(sys.modules[family.__module__], "eager_attention_forward", None)
        if function is not None:
            return function
    raise LookupError(f"no eager_attention_forward beside {type(module).__qualname__}")
