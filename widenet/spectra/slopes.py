"""The law of phi'(h)^2 of a Gaussian h: what one layer of activations does to a Jacobian. (J2)"""

from __future__ import annotations

from functools import cached_property

import jax.numpy as jnp
import numpy as np

from widenet.activations.activation import Activation, derivative
from widenet.activations.split_rule import REACH, legendre

PIECE = 1.0  # of a standard deviation, for one Gauss-Legendre rule
POINTS = 20  # in a piece: 1e-15 is reached for tanh up to q = 3
EQUAL = 1e-13  # values that differ relatively by less are one atom


class SlopeLaw:
    """A law on [0, inf) by its values and weights."""

    def __init__(self, values: np.ndarray, weights: np.ndarray) -> None:
        order = np.argsort(values)
        values, weights = values[order], weights[order]
        first = np.concatenate([[True], np.diff(values) > EQUAL * values[1:]])
        self.values, self.weights = values[first], np.bincount(np.cumsum(first) - 1, weights)

    @cached_property
    def mean(self) -> float:
        """E phi'^2."""
        return float(self.weights @ self.values)

    @cached_property
    def relative_variance(self) -> float:
        """E phi'^4 / (E phi'^2)^2 - 1."""
        return float(self.weights @ (self.values / self.mean - 1) ** 2)

    def mass(self, value: float) -> float:
        """P(phi'^2 = value)."""
        return float(self.weights[self.values == value].sum())

    @property
    def mode(self) -> float:
        """The most probable value above zero."""
        return float(self.values[np.argmax(self.weights * (self.values > 0))])

    def moments(self, count: int) -> np.ndarray:
        """E phi'^(2 k), k = 1 to count."""
        return np.array([self.weights @ self.values**k for k in range(1, count + 1)])

    def transform(self, zeta: np.ndarray) -> np.ndarray:
        """M(zeta) = E[v / (zeta - v)]. (J2)"""
        return (1 / (zeta[..., None] - self.values)) @ (self.weights * self.values)

    def log_transform(self, log_u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log M(1/u) and its derivative in log u, for complex u. (J2)"""
        u = np.exp(log_u)
        inverse = 1 / (1 - u[..., None] * self.values)
        value = inverse @ (self.weights * self.values)
        return np.log(value) + log_u, (inverse**2) @ (self.weights * self.values) / value


def slope_law(phi: Activation, q: float) -> SlopeLaw:
    """The law of phi'(sqrt(q) z)^2, z standard normal; its rule is split where phi has breakpoints."""
    prime = derivative(phi)
    kinks = np.clip([float(b) / np.sqrt(q) for b in phi.breakpoints], -REACH, REACH)
    even = np.arange(-REACH, REACH + PIECE, PIECE)
    knots = np.unique(np.concatenate([even, kinks]))
    x, w = legendre(POINTS)
    z = (knots[:-1, None] + np.diff(knots)[:, None] * x).ravel()
    weights = (np.diff(knots)[:, None] * w).ravel() * np.exp(-(z**2) / 2)
    slopes = np.asarray(prime(jnp.asarray(np.sqrt(q) * z))) + 0 * z
    return SlopeLaw(slopes**2, weights / weights.sum())
