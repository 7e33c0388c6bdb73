"""Networks in the maximal update parametrization, written so that plain gradient descent is the right optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Params = dict[str, Any]


def random_matrix(key: Any, shape: tuple[int, ...], width: int, sigma: Any) -> Array:
    """Entries of N(0, sigma^2 / width): what every weight of these networks starts as."""
    return jax.random.normal(key, shape) * (jnp.asarray(sigma) / jnp.sqrt(1.0 * width))


@dataclass(frozen=True, kw_only=True)
class LinearNet:
    """A deep linear network of any width, with or without skips.

    f(x) = v^T z_L + a c,  z_l = skip z_{l-1} + branch W_l z_{l-1},  z_0 = u x + a b                (Z1)

    u `[n, d_in]`, W_l `[n, n]`, v `[n, d_out]` start as N(0, sigma^2 / n), the biases b and c at zero; a is `bias`.
    Under plain gradient descent, one rate for all weights, this is muP, and Depth-muP if branch = 1 / sqrt(depth).
    Raises: ValueError for sizes that are no network.
    """

    d_in: int
    d_out: int
    depth: int = 0  # matrices W_l
    skip: float = 0.0
    branch: float = 1.0
    sigma_u: float = 1.0
    sigma_w: float = 1.0
    sigma_v: float = 1.0
    bias: float = 0.0  # what multiplies the biases; 0: there are none

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth is the number of matrices W_l, 0 or more; got {self.depth}.")
        _check(self.d_in, self.d_out, self.sigma_u, self.sigma_w, self.sigma_v)

    def init(self, key: Any, width: int) -> Params:
        """Random weights of a network of this width."""
        keys = jax.random.split(key, 3)
        weights = {
            "u": random_matrix(keys[0], (width, self.d_in), width, self.sigma_u),
            "v": random_matrix(keys[1], (width, self.d_out), width, self.sigma_v),
        }
        if self.depth:
            weights["w"] = random_matrix(keys[2], (self.depth, width, width), width, self.sigma_w)
        return self.with_biases(weights)

    def with_biases(self, weights: Params) -> Params:
        """These weights, and biases of zero where the network has any."""
        if not self.bias:
            return weights
        v = weights["v"]
        return {**weights, "b": jnp.zeros(len(v), v.dtype), "c": jnp.zeros(self.d_out, v.dtype)}

    def apply(self, params: Params, x: Float[Array, "m d_in"]) -> Float[Array, "m d_out"]:
        """The outputs f(x)."""
        z = x @ params["u"].T + self.bias * params.get("b", 0.0)

        def layer(z: Array, w: Array) -> tuple[Array, None]:
            return self.skip * z + self.branch * (z @ w.T), None

        if self.depth:
            z, _ = jax.lax.scan(layer, z, params["w"])
        return z @ params["v"] + self.bias * params.get("c", 0.0)


def linear_mup(d_in: int, d_out: int, *, sigma_u: float = 1.0, sigma_v: float = 1.0, bias: float = 0.0) -> LinearNet:
    """One hidden layer, f(x) = v^T u x: the network whose limit is a finite network, see `exact_limit`. (Z1)

    Source: yang2021, sec. 6.
    """
    return LinearNet(d_in=d_in, d_out=d_out, sigma_u=sigma_u, sigma_v=sigma_v, bias=bias)


def linear_resnet(
    d_in: int, d_out: int, depth: int, *, sigma_w: float = 1.0, sigma_u: float = 1.0, sigma_v: float = 1.0
) -> LinearNet:
    """Skips and branches 1 / sqrt(depth) W_l: Depth-muP, alpha = gamma = 1/2. (Z1)

    sigma_w = depth^(1/2 - alpha) makes it any other stable alpha in [1/2, 1], gamma = 1 - alpha.
    Source: yang2023, sec. 4.
    """
    if depth < 1:
        raise ValueError(f"a residual network has depth >= 1; got {depth}.")
    return LinearNet(
        d_in=d_in,
        d_out=d_out,
        depth=depth,
        skip=1.0,
        branch=depth**-0.5,
        sigma_u=sigma_u,
        sigma_w=sigma_w,
        sigma_v=sigma_v,
    )


@dataclass(frozen=True, kw_only=True)
class HiddenLayer:
    """One hidden layer and any activation.

    f(x) = n^(-1/2) v^T phi(n^(1/2) u x)                (Z1)

    u `[n, d_in]` and v `[n, d_out]` start as N(0, sigma^2 / n); plain gradient descent, one rate, is muP.
    phi: any elementwise function on jax arrays, such as `wn.relu`.
    """

    phi: Callable[[Array], Array]
    d_in: int
    d_out: int
    sigma_u: float = 1.0
    sigma_v: float = 1.0

    def __post_init__(self) -> None:
        _check(self.d_in, self.d_out, self.sigma_u, self.sigma_v)

    def init(self, key: Any, width: int) -> Params:
        """Random weights of a network of this width."""
        keys = jax.random.split(key, 2)
        return {
            "u": random_matrix(keys[0], (width, self.d_in), width, self.sigma_u),
            "v": random_matrix(keys[1], (width, self.d_out), width, self.sigma_v),
        }

    def apply(self, params: Params, x: Float[Array, "m d_in"]) -> Float[Array, "m d_out"]:
        """The outputs f(x)."""
        root = len(params["u"]) ** 0.5
        return self.phi(root * (x @ params["u"].T)) @ params["v"] / root


def _check(d_in: int, d_out: int, *sigmas: float) -> None:
    if min(d_in, d_out) < 1:
        raise ValueError(f"a network has d_in, d_out >= 1; got {d_in} and {d_out}.")
    if min(sigmas) < 0:
        raise ValueError(f"sigma_u, sigma_w and sigma_v are standard deviations, 0 or more; got {sigmas}.")
