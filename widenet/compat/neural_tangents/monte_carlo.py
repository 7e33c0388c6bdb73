"""Kernels as means over random finite networks."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
    and apply_fn(params, x) will do.  `kernel_fn.standard_error(x1, x2, get)` is the standard error of the mean over all
    samples (not in the peer).  `widenet.monte_carlo` has a stopping rule, for architectures of widenet.
    Raises: ValueError unless the numbers are whole and at least one.
    """
    counts = _counts(n_samples)
    one = empirical_kernel_fn(apply_fn, trace_axes, diagonal_axes, vmap_axes, implementation)

    @lru_cache
    def network(get: Get, constants: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
        """The kernel of the random network of a key, compiled."""

        def draw(x1: Any, x2: Any, key: Any, **arrays: Any) -> Any:
            init_key, masks_key = jax.random.split(key)
            _, params = init_fn(init_key, jax.tree.map(lambda x: x.shape, x1))
            return one(x1, x2, get, params, rng=masks_key, **dict(constants), **arrays)

        return batch(jax.jit(draw), batch_size, device_count, store_on_device)

    def networks(x1: Any, x2: Any, get: Get, kwargs: Mapping[str, Any]) -> Iterator[Any]:
        arrays = {name: value for name, value in kwargs.items() if _is_arrays(value)}
        draw = network(get, tuple((name, value) for name, value in kwargs.items() if name not in arrays))
        rest = key
        for _ in range(max(counts)):
            rest, now = jax.random.split(rest)
            yield draw(x1, x2, now, **arrays)

    def means(x1: Any, x2: Any, get: Get, kwargs: Any) -> Iterator[Any]:
        total = None
        for n, sample in enumerate(networks(x1, x2, _names(get), kwargs), start=1):
            total = sample if total is None else jax.tree.map(operator.add, total, sample)
            if n in counts:
                yield _renamed(jax.tree.map(lambda part, n=n: part / n, total), get)

    def kernel_fn(x1: Any, x2: Any = None, get: Get = None, **kwargs: Any) -> Any:
        made = means(x1, x2, get, kwargs)
        return next(made) if isinstance(n_samples, Integral) else made

    def standard_error(x1: Any, x2: Any = None, get: Get = None, **kwargs: Any) -> Any:
        samples = list(networks(x1, x2, _names(get), kwargs))
        if len(samples) < 2:
            raise ValueError("a standard error needs two samples or more.")
        error = jax.tree.map(lambda *s: jnp.std(jnp.stack(s), axis=0, ddof=1) / math.sqrt(len(s)), *samples)
        return _renamed(error, get)

    kernel_fn.standard_error = standard_error  # type: ignore[attr-defined]
    return kernel_fn


def _is_arrays(value: Any) -> bool:
    """Is it an array, or a tree of arrays?"""
    parts = jax.tree.leaves(value)
    return bool(parts) and all(isinstance(part, (np.ndarray, jax.Array)) for part in parts)


def _counts(n_samples: Any) -> set[int]:
    counts = [n_samples] if isinstance(n_samples, Integral) else list(n_samples)
    if not counts or not all(isinstance(n, Integral) and int(n) >= 1 for n in counts):
        raise ValueError(f"n_samples must be a whole number >= 1, or several of them; got {n_samples}.")
    return set(map(int, counts))


def _names(get: Get) -> Get:
    return get if isinstance(get, str) else tuple(get or ("nngp", "ntk"))


def _renamed(made: Any, get: Get) -> Any:
    """The namedtuple of the peer."""
    if isinstance(get, str):
        return made
    names = wanted(_names(get)) or ()
    kind = tuple_type("MonteCarloKernel", names)
    return jax.tree.map(lambda part: kind(*part), made, is_leaf=lambda part: hasattr(part, "_fields"))
