"""How aligned updates are with what layers are given, as exponents of the fan-in. (V6)"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.finite.empirical import precision_of
from widenet.initializers.fans import fans
from widenet.parametrizations.trees import mapped, parameters
from widenet.transfer.model import layerwise
from widenet.transfer.probes import probe, rms

DRAWS = 4  # random matrices in the place of each weight


class Alignment(NamedTuple):
    """Exponents `[layers]`, 1/2 without alignment and 1 for full alignment; NaN where nothing changed.

    alpha: of dW with x0.  omega: of W0 with dx.  u: of dW with dx.
    """

    layers: tuple[str, ...]
    fan_in: tuple[int, ...]
    alpha: np.ndarray
    omega: np.ndarray
    u: np.ndarray

    def __str__(self) -> str:
        """A table."""
        width = max(map(len, ("layer", *self.layers)))
        lines = [f"{'layer':<{width}}  fan-in  alpha  omega  u"]
        for name, n, *exponents in zip(*self, strict=True):
            lines.append(f"{name:<{width}}  {n:<6}  " + "  ".join(f"{value:<5.2f}" for value in exponents))
        return "\n".join(line.rstrip() for line in lines)


def alignment(apply: Any, params0: Any, params1: Any, x: Any) -> Alignment:
    """The alignment exponents of every layer between two times of training. (V6)

    alpha = 1/2 + log_n |dW x0| / |R x0|,    omega = 1/2 + log_n |W0 dx| / |R' dx|,    u = 1/2 + log_n |dW dx| / |R dx|

    n is the fan-in; R and R' are random matrices with entries as large as those of dW and W0.
    apply: an architecture with `params` of `init`, or a function apply(params, x).  params0, params1: before and after.
    Raises: ValueError if no weight is seen to meet data, or for parameters of two models.
    Source: everett2024, sec. 3.
    """
    same_shapes(params0, params1)
    with precision_of(x):
        apply, unroll = layerwise(apply, x)
        start, end = unroll(params0), unroll(params1)
        seen = probe(apply, start, x)
        sizes = jax.jit(_sizes, static_argnums=0)(seen, start, end, x)
    shapes = [parameters(start)[path].shape for path in seen.paths]
    fan_in = tuple(_fan_in(shape, *each) for shape, each in zip(shapes, _counts(seen, start, x), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [0.5 + np.log(a / b) / np.log(fan_in) for a, b in sizes]
    return Alignment(seen.layers, fan_in, *(np.where(np.isfinite(part), part, np.nan) for part in found))


def _sizes(seen: Any, start: Any, end: Any, x: Any) -> list[tuple[Array, Array]]:
    """Of dW x0, W0 dx and dW dx, each beside that of random matrices."""
    found = seen.changes(start, end, x)
    d_w_x0 = [a - b for a, b in zip(found.dw_x, found.dw_dx, strict=True)]
    keys = jax.random.split(jax.random.key(0), DRAWS)
    of_moves = jax.vmap(lambda key: _random(seen, start, end, x, key, moved=True))(keys)
    of_start = jax.vmap(lambda key: _random(seen, start, end, x, key, moved=False))(keys)
    x0, dx = jnp.sqrt(jnp.mean(of_moves**2, 0))
    _, from_start = jnp.sqrt(jnp.mean(of_start**2, 0))
    measured = [jnp.stack([rms(a) for a in arrays]) for arrays in (d_w_x0, found.w0_dx, found.dw_dx)]
    return list(zip(measured, (x0, from_start, dx), strict=True))


def _random(seen: Any, start: Any, end: Any, x: Any, key: Any, *, moved: bool) -> Array:
    """RMS of R x0 and of R dx `[2, layers]`, with R as large as dW, or as W0."""
    then = parameters(start)
    numbers = {path: i for i, path in enumerate(then)}

    def draw(path: str, leaf: Any) -> Any:
        like = leaf - then[path] if moved else then[path]
        normal = jax.random.normal(jax.random.fold_in(key, numbers[path]), leaf.shape, leaf.dtype)
        return rms(like) * normal

    noise = mapped(draw, end)
    at_start, at_end = seen.products(start, noise, x), seen.products(end, noise, x)
    changes = [b - a for a, b in zip(at_start, at_end, strict=True)]
    return jnp.stack([jnp.stack([rms(a) for a in arrays]) for arrays in (at_start, changes)])


def same_shapes(params0: Any, params1: Any) -> None:
    """Raise a ValueError unless parameters are of one model."""
    shapes = [{path: leaf.shape for path, leaf in parameters(each).items()} for each in (params0, params1)]
    if shapes[0] != shapes[1]:
        wrong = sorted(path for path in shapes[0] | shapes[1] if shapes[0].get(path) != shapes[1].get(path))
        raise ValueError(f"the two parameters are of different models: {wrong[0]!r} differs.  Give two times of one.")


def _counts(seen: Any, start: Any, x: Any) -> list[tuple[int, int]]:
    shapes = jax.eval_shape(seen.changes, start, start, x)
    return [(a.size, b.size) for a, b in zip(shapes.x0, shapes.w0_x0, strict=True)]


def _fan_in(shape: tuple[int, ...], given: int, made: int) -> int:
    """Terms in the sum of one output: of a matrix, from numbers of values; else by the last two axes."""
    if len(shape) == 2:
        return max(2, round((given * shape[0] * shape[1] / made) ** 0.5))
    return fans(shape).fan_in
