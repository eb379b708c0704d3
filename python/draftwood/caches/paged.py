"""Key and value rows of the torch executors, addressed by the slots that the store hands out."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["PagedCache"]


class PagedCache:
    """Keys and values of all layers in one tensor, so that moving a row is one index operation.

    A slot holds one row of every layer. Which sequence owns which slot is the store's business; here slots are
    addresses. The memory starts as zeros that the system maps on first touch: an unused pool costs no RAM.

    Shapes: `storage` [L, 2, slots, Hk, E], 0 = keys, 1 = values; slots = pages · page_size.
    Cost: L · 2 · Hk · E · itemsize bytes per slot.
    """

    def __init__(
        self, *, layers: int, heads: int, head_dim: int, pages: int, page_size: int, dtype: torch.dtype
    ) -> None:
        self.page_size = page_size
        self.dtype = dtype
        shape = (layers, 2, pages * page_size, heads, head_dim)
        # Not torch.zeros: that writes every byte, NumPy's zeros are pages that the system has not mapped yet.
        zeros = np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)
        self.storage = torch.from_numpy(zeros).view(dtype).view(shape)
        # The same memory as opaque rows [L · 2, slots]: NumPy copies them whole, three times as fast as torch's
        # index operations on the few rows that a commit moves.
        self._opaque = zeros.view(f"V{heads * head_dim * dtype.itemsize}").reshape(2 * layers, -1)
        # The order of attention: [L · 2, 1, Hk, slots, E], a view.
        self._planes = self.storage.flatten(0, 1).transpose(1, 2).unsqueeze(1)
        self._rows = self.storage.flatten(0, 1).unbind(0)

    def views(self, start: int, length: int) -> tuple[torch.Tensor, ...]:
        """Windows on slots `start .. start + length`: 2 L views [1, Hk, length, E], keys of layer l at 2 l.

        One call for all layers, because a view per layer and tensor costs more than a small layer's attention.
        """
        return self._planes.narrow(3, start, length).unbind(0)

    def rows(self, plane: int) -> torch.Tensor:
        """Keys (plane 2 l) or values (2 l + 1) of layer l: [slots, Hk, E], a view."""
        return self._rows[plane]

    def move(self, source: NDArray[np.int32], target: NDArray[np.int32]) -> None:
        """Copies rows `source` [M] to rows `target` [M] in all layers: all are read before the first is written."""
        self._opaque[:, target] = self._opaque[:, source]
