"""How the native executor computes, where there is a choice. No other executor has these choices, and says so."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import InvalidArgument

__all__ = ["NativeOptions"]

_VALUES = {
    "numerics": ("exact", "fast"),
    "activations": ("auto", "float32"),
    "cache_dtype": ("float32", "float16"),
    "weights": ("auto", "repack", "map"),
}
_NAMES = {"cache_dtype": "CacheConfig.dtype"}


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """Keywords of `Engine.load` for the native executor; each first value is what every executor does.

    Errors
        InvalidArgument for an unknown value.
    """

    numerics: str = "exact"
    activations: str = "auto"
    cache_dtype: str = "float32"
    weights: str = "auto"

    def __post_init__(self) -> None:
        for name, values in _VALUES.items():
            value = getattr(self, name)
            if value not in values:
                raise InvalidArgument.of(_NAMES.get(name, name), "one of " + ", ".join(values), repr(value))

    def check_unused(self, executor: str, hint: str) -> None:
        """Refuses anything but the defaults, for an executor without these choices; `hint` says who has them."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                raise InvalidArgument.of(
                    _NAMES.get(field.name, field.name),
                    f'"{field.default}" with {executor}',
                    repr(value),
                    hint,
                )
