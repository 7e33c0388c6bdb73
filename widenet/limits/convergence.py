"""How fast finite networks come close to their limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from widenet.progress import progress


class Random(Protocol):
    """What has random parameters at every width."""

    def init(self, key: Any, width: int) -> Any:
        """Random parameters of a network of this width."""


class Slope(NamedTuple):
    """A fitted power, and the half-width of its interval of 95 % confidence."""

    value: float
    half_width: float


def width_errors(
    net: Random, train: Callable[[Any], Any], limit: Any, *, key: Any, widths: Sequence[int], draws: int = 16
) -> Float[np.ndarray, "widths draws"]:
    """Root mean square distances of random networks from the limit, what `error_slope` takes. (Z7)

    train(params): outputs of the network trained from `params`, of the shape of `limit`.  Compiled once a width.
    """
    keys = jax.random.split(jax.random.key(key) if isinstance(key, int) else key, draws)

    @partial(jax.jit, static_argnames="width")
    def distances(width: int) -> Any:
        return jax.lax.map(lambda k: jnp.sqrt(jnp.mean((train(net.init(k, width)) - limit) ** 2)), keys)

    return np.stack([np.asarray(distances(width)) for width in progress(widths, "finite networks, widths")])


def error_slope(sizes: Any, errors: Float[Any, "sizes draws"]) -> Slope:
    """The power p of a fit  sqrt(E error^2) = c size^p,  such as -1/2 in width.

    log (mean_i e_i^2)^(1/2) is fitted by a line in log size, weights 1/s^2, s^2 = var(e^2) / (4 m mean(e^2)^2)    (Z7)

    errors: of m independent networks of each size; of one each, they are exact and weigh the same, and the interval
    comes from the scatter about the line.
    Raises: ValueError for fewer than two sizes, three where there is one draw each, and for an error of zero.
    """
    errors = np.asarray(errors, float).reshape(len(sizes), -1)
    draws = errors.shape[1]
    if len(set(sizes)) < 2 + (draws == 1):
        raise ValueError(f"a slope needs two sizes, three where each has one draw; got {len(set(sizes))}.")
    squares = errors**2
    mean = squares.mean(1)
    if not np.all(mean > 0) or not np.all(np.isfinite(mean)):
        raise ValueError("errors must be finite and not all zero at any size: a logarithm is taken.")
    design = np.stack([np.ones(len(sizes)), np.log(np.asarray(sizes, float))], axis=1)
    target = np.log(mean) / 2
    sems = np.ones(len(sizes)) if draws == 1 else squares.std(1, ddof=1) / (2 * mean * np.sqrt(draws))
    normal = np.linalg.inv(design.T @ (design / sems[:, None] ** 2))
    fit = normal @ design.T @ (target / sems**2)
    variance = normal[1, 1]
    if draws == 1:
        variance *= np.sum((target - design @ fit) ** 2) / (len(sizes) - 2)
    return Slope(float(fit[1]), float(1.96 * np.sqrt(variance)))
