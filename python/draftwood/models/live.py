"""Transformers modules that are in memory, for the native executor: their weights are read where torch has them."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._core import NativeModel
from ..errors import InvalidArgument, UnsupportedModel
from .config import HINT, read_spec
from .families import FAMILIES, Names
from .spec import Place, Spec, places_to_json

if TYPE_CHECKING:
    from ..executors.native import NativeExecutor
    from ..executors.options import NativeOptions

__all__ = ["LiveModel", "Watch", "open_module"]

_STOCK = ("torch.nn.modules.", "transformers.pytorch_utils", "transformers.activations")
_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A module that was checked: its tensors, held, and itself, held weakly."""

    module: weakref.ref[Any]
    spec: Spec
    places: dict[str, Place]
    tensors: dict[str, Any]
    watch: Watch
    name: str

    def lend(self, float32: bool) -> NativeModel:
        """The weights for the kernels: where they are, or, if they must become float32, in copies.

        Cost: an address per row, and the vectors; copies: one pass, 4 bytes per weight.
        """
        borrowed = not (float32 and self._is_short)
        # A detached tensor shares memory with the parameter, and its export asks for no gradients.
        tensors = {name: tensor.detach() for name, tensor in self.tensors.items()}
        return NativeModel.lend(tensors, self.spec.to_json(), places_to_json(self.places), float32, borrowed)

    @property
    def _is_short(self) -> bool:
        return any(tensor.element_size() < 4 for tensor in self.tensors.values())

    def native(self, dtype: str = "auto", options: NativeOptions | None = None) -> NativeExecutor:
        """The native executor over the module's weights."""
        from ..executors.native import NativeExecutor

        float32 = dtype == "float32"
        return NativeExecutor(self.lend(float32), self.spec, options, Lender(self, float32))


class Lender:
    """What an executor asks about the module whose weights it reads."""

    def __init__(self, live: LiveModel, float32: bool) -> None:
        self._live, self._float32 = live, float32

    @property
    def name(self) -> str:
        """The module's class."""
        return self._live.name

    def check_module(self) -> None:
        """Raises if the module is no longer what it was when its engine was made. Cost: a tenth of a millisecond."""
        module = self._live.module()
        if module is not None:
            if module.training:
                raise InvalidArgument.of("the model", "in evaluation mode", "training mode", "call model.eval()")
            self._live.watch.check_structure()

    def changed(self) -> str | None:
        """Which weight is no longer what it was, and how; None if all are. Cost: 0.1 µs per tensor."""
        return self._live.watch.changed()

    def renew(self) -> tuple[NativeModel, Lender]:
        """The weights as they are now."""
        module = self._live.module()
        if module is not None:
            live = open_module(module)
            if live.spec != self._live.spec:
                raise UnsupportedModel.of(f"a {self.name} whose configuration was changed", "make a new engine")
        else:
            live = self._live
            live.watch.forget()
        return live.lend(self._float32), Lender(live, self._float32)


class Watch:
    """Sees changes of a module's weights by torch's version counters, addresses, and which tensor has which name.

    What torch does not count it cannot see: writing through `.data` or through a NumPy view.
    """

    def __init__(self, module: Any, names: dict[str, Any]) -> None:
        parts = dict(module.named_modules())
        tensors = []
        for name, tensor in names.items():
            owner, _, key = name.rpartition(".")
            tensors.append((name, parts[owner]._parameters, key, tensor))
        self._tensors = tensors
        self._seen: list[tuple[int, int]] = []
        self.forget()
        # Not the module itself: it may go, its parts stay as their parameters do.
        self._children = [
            (f"{name}.{key}" if name else key, part._modules, key, child)
            for name, part in parts.items()
            for key, child in part._modules.items()
        ]
        self._hooks = [(name, part._forward_hooks, part._forward_pre_hooks) for name, part in parts.items()]

    def forget(self) -> None:
        """Takes the present state for the one to compare with."""
        self._seen = [(tensor._version, tensor.data_ptr()) for *_, tensor in self._tensors]

    def changed(self) -> str | None:
        """The first change, in words."""
        for (name, owner, key, tensor), (version, address) in zip(self._tensors, self._seen, strict=True):
            if owner.get(key) is not tensor:
                return f"another tensor as {name}"
            if tensor._version != version:
                return f"{name} changed in place"
            if tensor.data_ptr() != address:
                return f"{name} at another address"
        return None

    def check_structure(self) -> None:
        """Raises for parts that were exchanged and hooks that were added."""
        for name, owner, key, child in self._children:
            if owner.get(key) is not child:
                raise UnsupportedModel.of(f"another module as {name} than at first", "make a new engine")
        for name, *hooks in self._hooks:
            if any(_foreign(table) for table in hooks):
                raise UnsupportedModel.of(f"a hook on {name or 'the module'} that came later", "make a new engine")


def open_module(module: Any) -> LiveModel:
    """Checks that a module computes what its configuration says, and that its weights may be read in place.

    Errors
        UnsupportedModel, naming the part, the tensor or the key: a class that is not transformers' own, hooks,
        adapters, parametrisations, settings that are not built, tensors that are meta, sparse, strided, quantised,
        not on the CPU, of another type, or tied otherwise than the configuration says.
    Cost
        A few milliseconds; no weight is read.
    """
    from transformers import PreTrainedModel

    label = type(module).__name__
    if not isinstance(module, PreTrainedModel):
        raise UnsupportedModel.of(f"{label}, which is no transformers model,", HINT)
    kind = str(module.config.model_type)
    if kind in FAMILIES:  # others are refused with their key by read_spec
        _check_parts(module, kind)
    spec, family = read_spec(label, json.loads(module.config.to_json_string(use_diff=True)))
    places = family.names.places(spec)
    tensors = _tensors(module, Names.stored_shapes(spec, places))
    _check_numbers(module, spec)
    if spec.tied:
        embedding, head = places["token_embd.weight"].tensor, f"{family.names.whole['output']}.weight"
        lm_head = module.get_parameter(head)
        if lm_head.data_ptr() != tensors[embedding].data_ptr() or lm_head.shape != tensors[embedding].shape:
            raise UnsupportedModel.of(f"{head}, which is not {embedding} although the configuration ties them,", HINT)
    return LiveModel(weakref.ref(module), spec, places, tensors, Watch(module, _named(module)), label)


def _named(module: Any) -> dict[str, Any]:
    return dict(module.named_parameters(remove_duplicate=False))


def _foreign(hooks: Any) -> bool:
    """Whether there are hooks other than those with which transformers collects hidden states."""
    return any(not getattr(hook, "__module__", "").startswith("transformers.utils.output") for hook in hooks.values())


def _check_parts(module: Any, kind: str) -> None:
    from torch.nn.modules import module as torch_module

    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise UnsupportedModel.of("a module under torch's global hooks", HINT)
    stock = (*_STOCK, f"transformers.models.{kind}.modeling_{kind}")
    for name, part in module.named_modules():
        where, cls = name or "the module", type(part)
        if not cls.__module__.startswith(stock):
            raise UnsupportedModel.of(f"{where}, a {cls.__module__}.{cls.__qualname__},", HINT)
        of_class = getattr(cls.forward, "__module__", "") or ""
        if "forward" in part.__dict__ or not of_class.startswith(("torch.nn.", "transformers.")):
            raise UnsupportedModel.of(f"{where}, whose forward was exchanged,", HINT)
        if _foreign(part._forward_hooks) or _foreign(part._forward_pre_hooks):
            raise UnsupportedModel.of(f"{where}, which has hooks,", HINT)


def _attentions(module: Any) -> Iterator[tuple[str, Any]]:
    return ((name, part) for name, part in module.named_modules() if type(part).__name__.endswith("Attention"))


def _check_numbers(module: Any, spec: Spec) -> None:
    """Numbers that parts keep apart from the configuration, which could have been changed since."""
    import torch

    for name, part in module.named_modules():
        epsilon = getattr(part, "variance_epsilon", None) or getattr(part, "eps", None)
        if "Norm" in type(part).__name__ and epsilon != spec.norm_epsilon:
            raise UnsupportedModel.of(f"{name} with epsilon {epsilon}", HINT)
        frequencies = getattr(part, "inv_freq", None)
        if frequencies is not None:
            stock = type(part)(config=module.config)
            same = torch.equal(stock.inv_freq.to(frequencies.dtype), frequencies.cpu())
            if not same or stock.attention_scaling != part.attention_scaling:
                raise UnsupportedModel.of(f"{name}, whose frequencies are not those of the configuration,", HINT)
    for (name, part), layer in zip(_attentions(module), spec.layers, strict=False):
        scaling = getattr(part, "scaling", spec.head_dim**-0.5)
        if abs(scaling - spec.head_dim**-0.5) > 1e-12:
            raise UnsupportedModel.of(f"{name} with a scaling of {scaling}", HINT)
        window = getattr(part, "sliding_window", layer.window)
        if window is not None and window >= spec.context:
            window = None
        if window != layer.window:
            raise UnsupportedModel.of(f"{name} with a window of {window}", HINT)


def _tensors(module: Any, expected: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The tensors of the program, each fit to be read where it is."""
    named = _named(module)
    tied = {id(named[name]) for name in expected if name in named}
    for name, tensor in named.items():
        if name not in expected and id(tensor) not in tied and name != "lm_head.weight":
            raise UnsupportedModel.of(f"tensor {name}", HINT)
    for name, shape in expected.items():
        if name not in named:
            raise UnsupportedModel.of(f"a module without tensor {name}", HINT)
        _check_tensor(name, named[name], shape)
    return {name: named[name] for name in expected}


def _check_tensor(name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    import torch

    def refuse(what: str) -> UnsupportedModel:
        return UnsupportedModel.of(f"tensor {name}, {what},", HINT)

    if type(tensor) not in (torch.nn.Parameter, torch.Tensor):
        raise refuse(f"a {type(tensor).__name__}")
    if tensor.is_meta:
        raise refuse("which is meta: it has no values")
    if tensor.layout != torch.strided:
        raise refuse(f"which is sparse ({tensor.layout})")
    if tensor.is_quantized:
        raise refuse(f"which is quantised ({tensor.dtype})")
    if tensor.device.type != "cpu":
        raise refuse(f"on {tensor.device}")
    if tensor.dtype not in tuple(getattr(torch, one) for one in _DTYPES):
        raise refuse(f"of {tensor.dtype}")
    if tuple(tensor.shape) != shape:
        raise refuse(f"of shape {list(tensor.shape)} instead of {list(shape)}")
    if not tensor.is_contiguous():
        raise refuse(f"strided {tuple(tensor.stride())}")
    if tensor.is_inference():
        raise refuse("made under inference_mode, whose changes torch does not count")
