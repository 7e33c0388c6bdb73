"""What the kernel reading carries for a pair of variables: their covariance, or their distance.

Axes are positions first, samples last: `[P, Q, n1, n2]` for all pairs of positions ("full"),
`[P, n1, n2]` for equal positions only.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Cov(NamedTuple):
    """Covariances lim (1/n) sum_i u_i v_i of two variables u (left) and v (right)."""

    cross: Array  # u(x1) with v(x2):               [P, n1, n2] or [P, Q, n1, n2]
    self1: Array  # u(x) with v(x), x a row of x1:  [P, n1]     or [P, Q, n1]
    self2: Array
    ntk: Array | None  # the neural tangent kernel, of the shape of cross; None if nobody asked


class Dist(NamedTuple):
    """Half the mean squared distances D = (q1 + q2)/2 - K of a variable with itself (K8).

    Linear operations act on D as they act on K, a bias cancels, and nothing is subtracted: so D is
    accurate where x1 and x2 are close and K is not (K is q there, up to a rounding error).
    """

    cross: Array  # between x1 and x2: [P, n1, n2] or [P, Q, n1, n2]
    self1: Array | None  # between positions of one sample: [P, Q, n1]; None for equal positions (zero)
    self2: Array | None
    ntk: Array | None
    q1: Array  # variances: [P, n1], [P, n2]
    q2: Array


def outer(q1: Array, q2: Array, full: bool) -> tuple[Array, Array]:
    """Variances `[P, n1]`, `[Q, n2]`, shaped to broadcast over the entries of a cross covariance."""
    if full:
        return q1[:, None, :, None], q2[None, :, None, :]
    return q1[:, :, None], q2[:, None, :]


def outer_self(qa: Array, qb: Array, full: bool) -> tuple[Array, Array]:
    """Variances `[P, n]`, `[Q, n]` of two variables on the same samples, likewise."""
    return (qa[:, None], qb[None]) if full else (qa, qb)


def variances(cov: Cov | Dist) -> tuple[Array, Array]:
    """The variances `[P, n1]`, `[P, n2]` of a variable, from its covariance with itself."""
    if isinstance(cov, Dist):
        return cov.q1, cov.q2
    if cov.cross.ndim == 3:
        return cov.self1, cov.self2
    return jnp.einsum("ppn->pn", cov.self1), jnp.einsum("ppn->pn", cov.self2)


def as_cov(cov: Cov | Dist) -> Cov:
    """The same in covariance form."""
    if isinstance(cov, Cov):
        return cov
    full = cov.cross.ndim == 4
    q1, q2 = outer(cov.q1, cov.q2, full)
    return Cov((q1 + q2) / 2 - cov.cross, _inner(cov.q1, cov.self1), _inner(cov.q2, cov.self2), cov.ntk)


def _inner(q: Array, distance: Array | None) -> Array:
    return q if distance is None else (q[:, None] + q[None]) / 2 - distance


def as_dist(cov: Cov, same: bool) -> Dist:
    """The distance form of the covariance of a variable with itself; rounding is what limits it."""
    full = cov.cross.ndim == 4
    q1, q2 = variances(cov)
    a, b = outer(q1, q2, full)
    cross = with_diagonal((a + b) / 2 - cov.cross, _distance(q1, cov.self1, full), same)
    return Dist(cross, *(_distance(q, k, full) for q, k in ((q1, cov.self1), (q2, cov.self2))), cov.ntk, q1, q2)


def _distance(q: Array, inner: Array, full: bool) -> Array | None:
    if not full:
        return None
    raw = (q[:, None] + q[None]) / 2 - inner
    return jnp.where(jnp.eye(q.shape[0], dtype=bool)[:, :, None], 0.0, raw)


def with_diagonal(cross: Array, values: Array | None, same: bool) -> Array:
    """Write what is known of a sample with itself, `[..., n]` or zero, onto the diagonal over samples."""
    if not same:
        return cross
    diagonal = jnp.zeros((), cross.dtype) if values is None else values[..., :, None]
    return jnp.where(jnp.eye(cross.shape[-1], dtype=bool), diagonal, cross)


def equal_positions(cov: Cov | Dist) -> Cov | Dist:
    """From all pairs of positions to the equal ones."""

    def take(k: Array | None) -> Array | None:
        return None if k is None else jnp.einsum("pp...->p...", k)

    if isinstance(cov, Dist):
        return Dist(jnp.einsum("pp...->p...", cov.cross), None, None, take(cov.ntk), cov.q1, cov.q2)
    return Cov(*(take(k) for k in cov))  # type: ignore[arg-type]


def all_positions(cov: Cov | Dist) -> Cov | Dist:
    """The full layout of variables that have one position."""
    if isinstance(cov, Dist):
        ntk = None if cov.ntk is None else cov.ntk[:, None]
        zero1, zero2 = (jnp.zeros_like(q)[:, None] for q in (cov.q1, cov.q2))
        return Dist(cov.cross[:, None], zero1, zero2, ntk, cov.q1, cov.q2)
    return Cov(*(None if k is None else k[:, None] for k in cov))  # type: ignore[arg-type]
