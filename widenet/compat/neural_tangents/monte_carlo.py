"""Kernels as means over random finite networks."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from widenet.compat.neural_tangents.batching import batch
from widenet.compat.neural_tangents.empirical import ApplyFn, Axes, NtkImplementation, empirical_kernel_fn
from widenet.compat.neural_tangents.kernel import Get, tuple_type, wanted


def monte_carlo_kernel_fn(
    init_fn: Callable[..., Any],
    apply_fn: ApplyFn,
    key: Any,
    n_samples: int | Iterable[int],
    batch_size: int = 0,
    device_count: int = -1,
    store_on_device: bool = True,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: Any = None,
    implementation: NtkImplementation | int = NtkImplementation.JACOBIAN_CONTRACTION,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
) -> Callable[..., Any]:
    """The mean of the kernels of `n_samples` random networks: `kernel_fn(x1, x2=None, get=None, **kwargs)`.

    n_samples: a whole number, or several, for a generator of the means over the first so many.  Any init_fn(key, shape)
    and apply_fn(params, x) will do.  `kernel_fn.standard_error(x1, x2, get)`, for a single number, is the standard error
    of the mean (not in the peer).  `widenet.monte_carlo` has a stopping rule, for architectures of widenet.
    Raises: ValueError unless the numbers are whole and at least one.
    """
    counts = _counts(n_samples)
    one = empirical_kernel_fn(apply_fn, trace_axes, diagonal_axes, vmap_axes, implementation)

    def draw(x1: Any, x2: Any, key: Any, get: Get, **kwargs: Any) -> Any:
        init_key, masks_key = jax.random.split(key)
        _, params = init_fn(init_key, jax.tree.map(lambda x: x.shape, x1))
        return one(x1, x2, get, params, rng=masks_key, **kwargs)

    def networks(x1: Any, x2: Any, get: Get, kwargs: Any) -> Iterator[Any]:
        jitted = jax.jit(lambda a, b, k: draw(a, b, k, get, **kwargs))
        in_batches = batch(jitted, batch_size, device_count, store_on_device)
        rest = key
        for _ in range(max(counts)):
            rest, now = jax.random.split(rest)
            yield in_batches(x1, x2, now)

    def means(x1: Any, x2: Any, get: Get, kwargs: Any) -> Iterator[Any]:
        total = None
        for n, sample in enumerate(networks(x1, x2, _names(get), kwargs), start=1):
            total = sample if total is None else jax.tree.map(operator.add, total, sample)
            if n in counts:
                yield _renamed(jax.tree.map(lambda part, n=n: part / n, total), get)

    def kernel_fn(x1: Any, x2: Any = None, get: Get = None, **kwargs: Any) -> Any:
        made = means(x1, x2, get, kwargs)
        return next(made) if isinstance(n_samples, int) else made

    def standard_error(x1: Any, x2: Any = None, get: Get = None, **kwargs: Any) -> Any:
        samples = list(networks(x1, x2, _names(get), kwargs))
        if len(samples) < 2:
            raise ValueError("a standard error needs two samples or more.")
        error = jax.tree.map(lambda *s: jnp.std(jnp.stack(s), axis=0, ddof=1) / math.sqrt(len(s)), *samples)
        return _renamed(error, get)

    kernel_fn.standard_error = standard_error  # type: ignore[attr-defined]
    return kernel_fn


def _counts(n_samples: int | Iterable[int]) -> set[int]:
    counts = {n_samples} if isinstance(n_samples, int) else set(n_samples)
    if not counts or not all(isinstance(n, int) and n >= 1 for n in counts):
        raise ValueError(f"n_samples must be a whole number >= 1, or several of them; got {n_samples}.")
    return counts


def _names(get: Get) -> Get:
    return get if get is not None else ("nngp", "ntk")


def _renamed(made: Any, get: Get) -> Any:
    """The namedtuple of the peer."""
    if isinstance(get, str):
        return made
    names = wanted(_names(get)) or ()
    kind = tuple_type("MonteCarloKernel", names)
    return jax.tree.map(lambda part: kind(*part), made, is_leaf=lambda part: hasattr(part, "_fields"))
