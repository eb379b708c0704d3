"""Token ids from whatever holds integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ids_of"]


def ids_of(ids: Any, what: str) -> NDArray[np.uint32]:
    """`ids` as a contiguous uint32 array [T]; `what` names them in errors."""
    import numpy as np

    if isinstance(ids, str | bytes):
        raise InvalidArgument.of(what, "token ids", f"{type(ids).__name__}", "give the index a tokenizer for text")
    if hasattr(ids, "detach"):
        ids = ids.detach().cpu()
    try:
        array = np.asarray(ids)
    except Exception:  # of pieces of different lengths, or of what refuses to be an array
        got = type(ids).__name__
        raise InvalidArgument.of(what, "a sequence of integers", f"{got} that is no array") from None
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.uint32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgument.of(what, "a sequence of integers", f"{array.ndim} dimensions of {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 1 << 32:
        raise InvalidArgument.of(what, "ids of 0 … 2^32 − 1", low if low < 0 else high)
    return np.ascontiguousarray(array, np.uint32)
