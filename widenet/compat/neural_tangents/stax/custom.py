"""The decorators of the peer for layers of one's own.

There a layer maps kernels to kernels; here it continues a network.  So these decorators accept layers that are put
together from others, and refuse, with the remedy, a `kernel_fn` of one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from widenet.compat.neural_tangents.stax.triple import layer_of


def layer(layer_fn: Callable[..., Any]) -> Callable[..., Any]:
    """A layer made of other layers, by a function that returns a triple.

    Raises: NotImplementedError, when it is called, for a triple that is not made of layers from here.
    """

    @wraps(layer_fn)
    def made(*args: Any, **options: Any) -> Any:
        functions = layer_fn(*args, **options)
        layer_of(functions)
        return functions

    return made


def requires(**_: Any) -> Callable[[Any], Any]:
    """Accepted and not needed: the kernel reading finds out by itself what it needs of a kernel."""
    return lambda kernel_fn: kernel_fn


def supports_masking(remask_kernel: bool) -> Callable[[Any], Any]:
    """Accepted and not needed: layers from here know about masks."""
    return lambda layer_fn: layer_fn
