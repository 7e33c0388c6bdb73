"""Functions of a whole batch: an activation of one channel, batch-normalized or not, and their expectations (B2), (B3).

A channel is a Gaussian vector g ~ N(0, K) over the rows of the batch, `[m, N]` for m draws of it.  With batch
normalization g is centred beforehand: K and Theta are then P K P and P Theta P, P = I - 1 1^T / N.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.activations.activation import derivative
from widenet.activations.numerics import ratio


class Feature(NamedTuple):
    """f(g) = phi(g), or phi(g / sqrt(mean g^2 + eps)) of centred g; eps None is without batch normalization."""

    phi: Any
    eps: Any

    @property
    def normalized(self) -> bool:
        """Does it contain a batch normalization?"""
        return self.eps is not None


class Draws(NamedTuple):
    """A feature at draws of its channel; its Jacobian is diag(gain) (I - unit unit^T / N). (B3)"""

    value: Array  # [m, N]
    gain: Array
    unit: Array


def draw(feature: Feature, g: Array) -> Draws:
    """Value and Jacobian of `feature` at g `[m, N]`."""
    phi = feature.phi
    if not feature.normalized:
        return Draws(phi(g), derivative(phi)(g), jnp.zeros_like(g))
    s = jnp.sqrt(jnp.mean(g**2, axis=-1, keepdims=True) + feature.eps)
    z = ratio(g, s)
    return Draws(phi(z), ratio(derivative(phi)(z), s), z)


class Channel(NamedTuple):
    """Two jointly Gaussian vectors: left xi and right xi, xi standard normal."""

    left: Any  # [N, D]
    right: Any
    xi: Any  # [m, D]


def both(channel: Channel, f: Feature, h: Feature) -> tuple[Draws, Draws]:
    """f and h at the draws xi and -xi: what is odd averages to zero exactly."""
    xi = jnp.concatenate([channel.xi, -channel.xi])
    return draw(f, xi @ channel.left.T), draw(h, xi @ channel.right.T)


@jax.jit
def second_moment(channel: Channel, f: Feature, h: Feature) -> Array:
    """E f h^T, `[N, N]`. (B2)"""
    a, b = both(channel, f, h)
    return a.value.T @ b.value / len(a.value)


@jax.jit
def tangent(channel: Channel, f: Feature, h: Feature, theta: Array, weight: Array) -> Array:
    """E[J_f Theta J_h^T], `[N, N]`, J the Jacobians of f and h; draws count by `weight` `[m]`. (B3)

    J_f Theta J_h^T = (a b^T) o (Theta - x (x^T Theta)/N - (Theta y) y^T/N + x y^T (x^T Theta y)/N^2), a, b the gains
    and x, y the units: four products of matrices, none of them `[m, N, N]`.
    """
    a, b = both(channel, f, h)
    count, n = a.value.shape
    gain = a.gain * jnp.concatenate([weight, weight])[:, None]
    left, right = a.unit @ theta / n, b.unit @ theta.T / n
    middle = jnp.sum(left * b.unit, axis=-1, keepdims=True) / n
    columns = right - middle * a.unit
    total = (gain.T @ b.gain) * theta
    total -= (gain * a.unit).T @ (b.gain * left) + (gain * columns).T @ (b.gain * b.unit)
    return total / count


@jax.jit
def mean(channel: Channel, f: Feature) -> Array:
    """E f, `[N]`."""
    return jnp.mean(both(channel, f, f)[0].value, axis=0)


@jax.jit
def regression(channel: Channel, f: Feature) -> tuple[Array, Array]:
    """E[xi f^T] `[D, N]` and E[J_f] `[N, N]`: what a Gaussian variable beside f needs. (B5)"""
    a = both(channel, f, f)[0]
    count, n = a.value.shape
    xi = jnp.concatenate([channel.xi, -channel.xi])
    slopes = jnp.diag(jnp.mean(a.gain, axis=0)) - (a.gain * a.unit).T @ a.unit / (count * n)
    return xi.T @ a.value / count, slopes
