"""The reading of one batch: infinite width with batch normalization, which couples the samples."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from widenet.batch_norm.rate import batch_norm_rate
from widenet.batch_norm.reading import BatchKernel, batch_kernel
from widenet.layers import normalization

__all__ = ["BatchKernel", "batch_kernel", "batch_norm_rate"]


class _RoomOfALayer(ModuleType):
    """Importing this room puts it in the place of the layer `widenet.batch_norm`; so it is callable like the layer."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return normalization.batch_norm(*args, **options)


sys.modules[__name__].__class__ = _RoomOfALayer
