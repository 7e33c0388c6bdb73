"""Weight and bias initializers together: critical points, sparse activations, residual branches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from scipy.special import ndtr, ndtri

from widenet.activations import Activation, crelu, cst
from widenet.initializers.gains import Point, critical_point, edge_of_chaos
from widenet.initializers.initializer import Bias, Constant, Initializer, bias, constant, normal


class Layer(NamedTuple):
    """What the weight and the bias of a layer are drawn from."""

    kernel: Initializer
    bias: Bias
    point: Point


def critical(
    phi: Any,
    kernel: Initializer = normal(),  # noqa: B008 (immutable)
    *,
    q: float | None = None,
    sigma_b: float | None = None,
) -> Layer:
    """Initializers for layers after the activation `phi`: its critical point, or one of its edge of chaos. (I10)

    `kernel` is the ensemble, whose gain is replaced: `critical(gelu, orthogonal())`.  `q` or `sigma_b` choose the point
    of the edge of chaos that keeps this variance, or has these biases.
    Raises: ValueError for an activation without such a point, or for both q and sigma_b.
    """
    if q is not None and sigma_b is not None:
        raise ValueError("critical: q and sigma_b each fix the point of the edge of chaos; give one of them.")
    point = critical_point(phi, sigma_b=sigma_b) if q is None else edge_of_chaos(phi, q)
    return Layer(replace(kernel, gain=point.sigma_w), bias(point.sigma_b), point)


class Sparse(NamedTuple):
    """An activation that is zero for a share of its inputs, and the layers that it keeps alive."""

    activation: Activation
    layer: Layer
    slope: float  # V'(q), below 1 where the variance is stable
    curvature: float  # V''(q)


def sparse_crelu(sparsity: float, m: float = 1.0, *, q: float = 1.0, kernel: Initializer = normal()) -> Sparse:  # noqa: B008
    """clip(u - tau, 0, m) with P(u < tau) = sparsity at variance q, on the edge of chaos. (I11)

    m = inf is the shifted relu, whose slope is 1: its variance is not stable, so deep networks fail.
    Raises: ValueError unless 0 < sparsity < 1 and m > 0.
    Source: price2024.
    """
    _inside("sparse_crelu", sparsity, m)
    return _sparse(crelu, ndtri(sparsity), m, q, kernel)


def sparse_cst(sparsity: float, m: float = 1.0, *, q: float = 1.0, kernel: Initializer = normal()) -> Sparse:  # noqa: B008
    """sign(u) clip(|u| - tau, 0, m) with P(|u| < tau) = sparsity at variance q, on the edge of chaos. (I11)

    Raises: ValueError unless 0 < sparsity < 1 and m > 0.
    Source: price2024.
    """
    _inside("sparse_cst", sparsity, m)
    return _sparse(cst, ndtri((1 + sparsity) / 2), m, q, kernel)


def _sparse(family: Callable[..., Activation], a: float, m: float, q: float, kernel: Initializer) -> Sparse:
    s = math.sqrt(q)
    phi = family(float(a * s), m)
    b = a + m / s
    at_a, at_b = _density(a), _density(b)
    passed = ndtr(b) - ndtr(a)
    clipped = m * at_b / s if at_b else 0.0  # m = inf: nothing is
    edge = b * at_b + clipped * (b**2 - 1) if at_b else 0.0
    curvature = (a * at_a - edge) / (2 * q * passed)
    return Sparse(phi, critical(phi, kernel, q=q), float(1 - clipped / passed), float(curvature))


def _density(x: float) -> float:
    return math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _inside(name: str, sparsity: float, m: float) -> None:
    if not 0 < sparsity < 1:
        raise ValueError(f"{name}: the sparsity is {sparsity}, but must be in (0, 1).")
    if not m > 0:
        raise ValueError(f"{name}: m is {m}, but must be positive: nothing gets through otherwise.")


class Branches(NamedTuple):
    """Initializers of the parts of a residual network x + multiplier * branch(x)."""

    inner: Initializer  # weights of a branch before its last layer
    last: Initializer | Constant  # the last weight of a branch
    head: Initializer | Constant  # the readout
    bias: Constant
    multiplier: Constant  # a scalar for each branch


def fixup(depth: int, layers: int = 2, *, kernel: Initializer | None = None) -> Branches:
    """Residual networks without normalization: `depth` branches of `layers` weights each. (I12)

    inner weights times depth^(-1 / (2 layers - 2)), last weights and readout zero; Fixup also puts a scalar bias of 0
    before every weight and activation.  `kernel` is the law before scaling, He's if None.
    Raises: ValueError for depth < 1 or layers < 2.
    Source: zhang2019fixup.
    """
    if depth < 1 or layers < 2:
        raise ValueError(
            f"fixup: depth = {depth} and layers = {layers}, but it needs at least 1 branch of at least 2 weights; "
            "for branches of one weight use rezero()."
        )
    kernel = normal(math.sqrt(2)) if kernel is None else kernel
    inner = replace(kernel, gain=kernel.gain * depth ** (-1 / (2 * layers - 2)))
    return Branches(inner, constant(0.0), constant(0.0), constant(0.0), constant(1.0))


def skip_init(multiplier: float = 0.0, *, kernel: Initializer | None = None) -> Branches:
    """He's law with a trained scalar, 0 at first, at the end of every branch, instead of batch norm. (I12)

    `multiplier` up to 1/sqrt(depth) trains as well.
    Source: de2020.
    """
    kernel = normal(math.sqrt(2)) if kernel is None else kernel
    return Branches(kernel, kernel, normal(), constant(0.0), constant(multiplier))


def rezero(*, kernel: Initializer | None = None) -> Branches:
    """Any law, Glorot's if None, with one trained scalar for each branch that is 0 at first. (I12)

    Source: bachlechner2021.
    """
    kernel = normal(mode="fan_avg") if kernel is None else kernel
    return Branches(kernel, kernel, kernel, constant(0.0), constant(0.0))
