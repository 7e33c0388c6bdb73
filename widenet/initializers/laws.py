"""Laws of random matrices `[n_in, n_out]` whose entries have variance 1/n_in: y = W^T x keeps the mean square. (I1)

`kappa4(n_in, n_out)` is what the corrections of order 1/width need to know of a law (I4): for outputs i != j of one
input, E y_i^2 y_j^2 / (E y_i^2 E y_j^2) = 1 + 2 kappa4 / n_in + O(1/n^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Law(Protocol):
    """A distribution of matrices."""

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw."""
        ...


class Independent:
    """Independent entries: Gaussian processes at infinite width, with no correction from the weights themselves."""

    def kappa4(self, n_in: int, n_out: int) -> float:  # noqa: ARG002
        """Outputs of one input are uncorrelated in every power."""
        return 0.0


@dataclass(frozen=True)
class Normal(Independent):
    """Independent N(0, 1/n_in)."""

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw."""
        return jax.random.normal(key, (n_in, n_out), dtype) / math.sqrt(n_in)


@dataclass(frozen=True)
class TruncatedNormal(Independent):
    """Independent normals cut at +-bound standard deviations of the uncut one, then of variance 1/n_in. (I2)"""

    bound: float = 2.0

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw."""
        cut = jax.random.truncated_normal(key, -self.bound, self.bound, (n_in, n_out), dtype)
        return cut / (truncated_deviation(self.bound) * math.sqrt(n_in))


def truncated_deviation(bound: float) -> float:
    """Standard deviation of a standard normal variable given that it is within +-bound. (I2)"""
    density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * bound * density / math.erf(bound / math.sqrt(2)))


@dataclass(frozen=True)
class Uniform(Independent):
    """Independent and uniform on +-sqrt(3 / n_in)."""

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw."""
        return jax.random.uniform(key, (n_in, n_out), dtype, -1) * math.sqrt(3 / n_in)


@dataclass(frozen=True)
class Haar:
    """Orthonormal rows or columns, whichever are fewer, uniformly distributed. (I3)

    `variance_preserving=False` is what torch, jax and keras do: singular values 1, so that layers that widen have
    variance n_in/n_out.
    """

    variance_preserving: bool = True

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw."""
        frame = orthonormal_columns(key, max(n_in, n_out), min(n_in, n_out), dtype)
        w = frame if n_in >= n_out else frame.T
        return w * math.sqrt(max(1, n_out / n_in)) if self.variance_preserving else w

    def kappa4(self, n_in: int, n_out: int) -> float:
        """The length of the output is fixed, so that its squares repel each other."""
        return -n_in / max(n_in, n_out)


def orthonormal_columns(key: Array, rows: int, columns: int, dtype: Any) -> Array:
    """A uniform draw of `columns` orthonormal vectors, shape [rows, columns].

    The signs make the triangular factor's diagonal positive; without them the law depends on the algorithm.
    Source: mezzadri2007.
    """
    q, r = jnp.linalg.qr(jax.random.normal(key, (rows, columns), dtype))
    return q * jnp.where(jnp.diagonal(r) < 0, -1, 1).astype(dtype)


@dataclass(frozen=True)
class LowRank:
    """W^T = C P with r = ratio n_out orthonormal columns C and P of independent normals. (I5)"""

    ratio: float

    def rank(self, n_out: int) -> int:
        """The rank for a number of outputs."""
        return max(1, round(self.ratio * n_out))

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw."""
        rank, (outer, inner) = self.rank(n_out), jax.random.split(key)
        c = orthonormal_columns(outer, n_out, rank, dtype)
        p = jax.random.normal(inner, (n_in, rank), dtype)
        return jnp.matmul(p, c.T, precision=jax.lax.Precision.HIGHEST) * math.sqrt(n_out / (rank * n_in))

    def kappa4(self, n_in: int, n_out: int) -> float:
        """The length of r numbers fluctuates more than that of n_out."""
        return n_in / self.rank(n_out) - n_in / n_out


@dataclass(frozen=True)
class BlockSparse:
    """Normals on blocks that are there with probability `density`; rows and columns then in random order. (I6)"""

    density: float
    block: int = 1

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw."""
        pattern, order, values = jax.random.split(key, 3)
        blocks = jax.random.bernoulli(pattern, self.density, (-(-n_in // self.block), -(-n_out // self.block)))
        mask = jnp.repeat(jnp.repeat(blocks, self.block, 0), self.block, 1)[:n_in, :n_out]
        kept = jax.random.normal(values, (n_in, n_out), dtype) * _in_random_order(order, mask)
        return kept / math.sqrt(self.density * n_in)

    def kappa4(self, n_in: int, n_out: int) -> float:  # noqa: ARG002
        """Two outputs share a block in a share 1/n_out of pairs only."""
        return 0.0


@dataclass(frozen=True)
class Permuted:
    """Normals on a given pattern, stored as its shape and bytes, with rows and columns in random order. (I6)"""

    shape: tuple[int, int]
    pattern: bytes

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw.

        Raises: ValueError if the pattern has another shape.
        """
        if (n_in, n_out) != self.shape:
            raise ValueError(
                f"permuted: the pattern has shape {self.shape}, the weight {(n_in, n_out)} as [fan_in, out]: "
                "give a pattern of the weight's shape."
            )
        mask = np.frombuffer(self.pattern, bool).reshape(self.shape)
        order, values = jax.random.split(key)
        kept = jax.random.normal(values, self.shape, dtype) * _in_random_order(order, jnp.asarray(mask))
        return kept / math.sqrt(mask.mean() * n_in)


def _in_random_order(key: Array, mask: Array) -> Array:
    rows, columns = jax.random.split(key)
    return jax.random.permutation(columns, jax.random.permutation(rows, mask, axis=0), axis=1)


@dataclass(frozen=True)
class Cayley:
    """Orthogonal by Cayley's transform of a skew matrix A, with random signs and columns in random order. (I7)

    W = S (1 - A)(1 + A)^-1 P with A_ij ~ N(0, 2/n): the variance 2/n makes the mean of the diagonal vanish.
    Square matrices only.
    """

    def matrix(self, key: Array, n_in: int, n_out: int, dtype: Any) -> Array:
        """One draw.

        Raises: ValueError unless n_in = n_out.
        """
        if n_in != n_out:
            raise ValueError(
                f"cayley makes square matrices, not {n_in} x {n_out} [fan_in, out]: use initializers.orthogonal, "
                "which makes any."
            )
        values, signs, order = jax.random.split(key, 3)
        upper = jnp.triu(jax.random.normal(values, (n_in, n_in), dtype), 1) * math.sqrt(2 / n_in)
        one, skew = jnp.eye(n_in, dtype=dtype), upper - upper.T
        w = jnp.linalg.solve(one + skew, one - skew) * jax.random.rademacher(signs, (n_in,), dtype)[:, None]
        return jax.random.permutation(order, w, axis=1)

    def kappa4(self, n_in: int, n_out: int) -> float:  # noqa: ARG002
        """That of every orthogonal matrix with rows and columns in no order."""
        return -1.0
