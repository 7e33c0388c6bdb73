"""Deep networks with batch normalization: the batch and the gradients, layer by layer. (S5)"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations import identity
from widenet.activations.activation import Activation
from widenet.batches.rate import batch_norm_rate
from widenet.diagnostics.statistics import isometry_gap
from widenet.diagnostics.verdict import TOO_MUCH, Finding

COLLAPSE = math.log(TOO_MUCH)  # of the gap: the mean eigenvalue over the geometric one grew by TOO_MUCH
GAP_CONSTANT = 0.015  # C of the bound, which theory leaves open; the value that the authors draw


def depth_gain(layer: Any, exponent: float = 0.4) -> Any:
    """alpha_l = l^-exponent, the gain in phi(alpha_l z) of layer l = 1, 2, ...: deep layers are nearly linear. (S6)

    With batch normalization before phi, the squared gradient grows by 1 + O(alpha_l^4) per layer if phi is smooth and
    odd, so that its growth over all layers is finite for an exponent above 1/4.
    Shapes: layer, and the gain, of any shape.
    Raises: ValueError for a layer below 1.
    Source: meterez2024 (the gain); the bound on the exponent: widenet.

    >>> depth_gain(np.array([1, 32]))
    array([1.  , 0.25])
    """
    layer = np.asarray(layer)
    if not (layer >= 1).all():
        raise ValueError(f"layers are counted from 1, so that the first gain is 1; got {layer.min()}.")
    return layer ** -float(exponent)


def gap_bound(gap: float, width: int, depth: int, constant: float = GAP_CONSTANT) -> np.ndarray:
    """gap exp(-l / k), k = C d^2 (1 + d gap), for l = 0 ... depth: what the mean isometry gap stays below. (S5)

    For a batch of d samples in a linear network of width d, with orthogonal weights and `batch_norm_report`'s
    normalization without its mean.
    Shapes: `[depth + 1]`.
    Source: meterez2024, thm. 1; its C is not stated, 0.015 is that of the authors' figure.
    """
    if not gap >= 0 or width < 1:
        raise ValueError(f"gap_bound takes an isometry gap >= 0 and a width >= 1; got {gap} and {width}.")
    return gap * np.exp(-np.arange(depth + 1) / (constant * width**2 * (1 + width * gap)))


def batch_norm_layers(
    weights: Any, x: Any, phi: Activation = identity, *, gains: Any = None, centre: bool = True
) -> Array:
    """x_l = phi(gain_l BN(x_(l-1) W_l)), l = 1 ... L, x_0 the batch; without parameters of BN. (S5)

    gains, centre: as of `batch_norm_report`.
    Shapes: weights `[L, d, d]` and x `[n, d]` to `[L, n, d]`; differentiable in all.
    Source: meterez2024, without the mean.
    """

    def layer(h: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        w, gain = at
        h = h @ w
        h = h - h.mean(0) if centre else h
        h = phi(gain * h / jnp.sqrt(jnp.mean(h**2, axis=0)))
        return h, h

    gains = jnp.ones(len(weights), x.dtype) if gains is None else jnp.asarray(gains, x.dtype)
    return jax.lax.scan(layer, x, (weights, gains))[1]


@dataclass(frozen=True)
class BatchNormReport:
    """The batch and the gradients in the weights, layer by layer."""

    phi: Activation
    batch: np.ndarray  # [L + 1, n, d], the data first
    gradient: np.ndarray  # [L], norm of the derivative of a unit output in the weight
    centre: bool
    gains: np.ndarray  # [L]

    @cached_property
    def gap(self) -> np.ndarray:
        """The isometry gap of the batch, `[L + 1]`; of its differences if the mean is taken out."""
        basis = _differences(self.batch.shape[1]) if self.centre else np.eye(self.batch.shape[1])
        return np.array([isometry_gap(basis @ rows) for rows in self.batch])

    @cached_property
    def theory(self) -> float:
        """The factor of the squared gradient per layer at infinite width (B8); NaN where it is not known."""
        known = self.centre and (self.gains == 1).all() and self.batch.shape[1] > 3
        return batch_norm_rate(self.phi, self.batch.shape[1]) if known else math.nan

    @cached_property
    def finding(self) -> Finding:
        """The verdict and its reason."""
        return _finding(self.gap, self.gradient)

    @property
    def rate(self) -> float:
        """Measured factor by which the squared gradient grows per layer, from the last to the first: a fit."""
        return _rate(self.gradient)

    @property
    def verdict(self) -> str:
        """One of "exploding", "vanishing", "dependent samples", "fine"."""
        return self.finding.verdict

    @property
    def reason(self) -> str:
        """The numbers that the verdict stands on."""
        return self.finding.reason

    def __str__(self) -> str:
        """Some of the layers, the rate, and the verdict."""
        depth = len(self.gradient)
        shown = np.unique(np.linspace(1, depth, min(depth, 10)).round().astype(int))
        lines = ["layer  gap       |dW|", f"data   {self.gap[0]:<8.3g}  -"]
        lines += [f"{at:<5}  {self.gap[at]:<8.3g}  {self.gradient[at - 1]:.3g}" for at in shown]
        known = "" if math.isnan(self.theory) else f", {self.theory:.4g} at infinite width"
        return "\n".join(
            [*lines, "", f"squared gradient per layer: x {self.rate:.4g}{known}", f"{self.verdict}: {self.reason}"]
        )

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.diagnostics.pictures import draw_batch_norm, write

        return write(draw_batch_norm(self), path)


def batch_norm_report(
    weights: Any, x: Any, phi: Activation = identity, *, gains: Any = None, centre: bool = True, key: Any = 0
) -> BatchNormReport:
    """How a batch and gradients propagate through x' = phi(gain_l BN(x W_l)), l = 1 ... L. (S5)

    weights: `[L, d, d]`, of one law of `widenet.initializers`, say.  x: `[n, d]`, one row a sample.
    gains: `[L]`, such as `depth_gain`; 1 if None.
    centre: BN with the mean over the batch; without it a channel is divided by its root mean square alone.
    The gap is that of the rows of x (S1), with `centre` that of their differences.  |dW| is the mean over directions
    of the last layer's output.  theory: `batch_norm_rate`, for Gaussian weights and d much larger than n; known with
    `centre` and without gains.
    dtype: that of x; 1000 layers may overflow in float32.
    Raises: ValueError for shapes that do not fit, or less than three samples.

    >>> import jax, widenet as wn
    >>> draw = wn.initializers.orthogonal()
    >>> weights = jax.numpy.stack([draw(key, (16, 16)) for key in jax.random.split(jax.random.key(0), 50)])
    >>> x = jax.random.normal(jax.random.key(1), (16, 16))
    >>> wn.batch_norm_report(weights, x, centre=False).verdict
    'fine'
    """
    x, weights = jnp.asarray(x), jnp.asarray(weights)
    gains = jnp.ones(len(weights)) if gains is None else jnp.asarray(gains)
    _check(weights, x, gains)
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    layers, squares = _passes(weights.astype(x.dtype), x, gains.astype(x.dtype), key, phi, centre)
    batch = np.concatenate([np.asarray(x)[None], np.asarray(layers)]).astype(np.float64)
    return BatchNormReport(phi, batch, np.sqrt(np.asarray(squares, np.float64)), centre, np.asarray(gains))


def _check(weights: Array, x: Array, gains: Array) -> None:
    if x.ndim != 2 or weights.ndim != 3 or weights.shape[1:] != (x.shape[1],) * 2 or len(weights) < 2:
        raise ValueError(
            f"batch_norm_report takes weights [L, d, d], L >= 2, and one row a sample, [n, d]; got {weights.shape} and "
            f"{x.shape}: pad or project the data to the width of the network."
        )
    if gains.shape != (len(weights),):
        raise ValueError(f"one gain a layer, {len(weights)} of them; got shape {gains.shape}.")
    if len(x) < 3:
        raise ValueError(f"batch normalization of {len(x)} samples has no gradient: give three or more.")


@partial(jax.jit, static_argnames=("phi", "centre"))
def _passes(weights: Array, x: Array, gains: Array, key: Array, phi: Activation, centre: bool) -> tuple[Array, Array]:
    """What each layer makes `[L, n, d]`, and the squared gradients `[L]` of a random direction at the output."""

    def forward(weights: Array) -> tuple[Array, Array]:
        made = batch_norm_layers(weights, x, phi, gains=gains, centre=centre)
        return made[-1], made

    output, pull, layers = jax.vjp(forward, weights, has_aux=True)
    probes = jax.random.normal(key, (PROBES, *output.shape), output.dtype)
    squares = jax.lax.map(lambda v: jnp.sum(pull(v)[0] ** 2, axis=(1, 2)), probes)
    return layers, squares.mean(0) / output.size


PROBES = 4  # random directions at the output


def _differences(n: int) -> np.ndarray:
    """Orthonormal rows `[n - 1, n]` that are orthogonal to (1, ..., 1)."""
    return np.linalg.svd(np.ones((1, n)))[2][1:]


def _rate(gradient: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        logs = 2 * np.log(gradient)
    return float(np.exp(-np.polyfit(np.arange(len(logs)), logs, 1)[0])) if np.isfinite(logs).all() else math.nan


def _finding(gap: np.ndarray, gradient: np.ndarray) -> Finding:
    rate, depth = _rate(gradient), len(gradient)
    if math.isnan(rate):
        return Finding("exploding", "gradients are not finite, or zero, in some layers: compute in float64.")
    total = rate**depth
    if not 1 / TOO_MUCH <= total <= TOO_MUCH:
        text = f"the squared gradient is multiplied by {rate:.4g} a layer backwards, {total:.2g} over {depth} layers."
        return Finding("exploding" if total > 1 else "vanishing", text)
    if gap[-1] > gap[0] + COLLAPSE:
        return Finding("dependent samples", f"the isometry gap of the batch grows from {gap[0]:.3g} to {gap[-1]:.3g}.")
    return Finding(
        "fine",
        f"over {depth} layers squared gradients are multiplied by {total:.3g}, and the isometry gap goes from "
        f"{gap[0]:.3g} to {gap[-1]:.3g}.",
    )
