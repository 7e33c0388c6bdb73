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
    """Cosine distances 1 - K / sqrt(q1 q2) of a variable with itself, and its variances (K8).

    A bias, a sum and a relu act on them without subtracting nearly equal numbers, and no product of variances is
    ever formed: so they are accurate where x1 and x2 are close, and in range where the kernel is.
    """

    cross: Array  # between x1 and x2: [P, n1, n2] or [P, Q, n1, n2]
    self1: Array | None  # between positions of one sample: [P, Q, n1]; None for equal positions (zero)
    self2: Array | None
    ntk: Array | None
    q1: Array  # variances: [P, n1], [P, n2]
    q2: Array


class Data(NamedTuple):
    """The input itself, `[n, P, d]`: whoever reads it first decides in which form its covariance starts."""

    x1: Array
    x2: Array


Form = Cov | Dist | Data


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
    cross = scale(*outer(cov.q1, cov.q2, full)) * (1 - cov.cross)
    self1, self2 = (
        q if gap is None else scale(q[:, None], q[None]) * (1 - gap)
        for q, gap in ((cov.q1, cov.self1), (cov.q2, cov.self2))
    )
    return Cov(cross, self1, self2, cov.ntk)


def as_dist(cov: Cov | Dist, same: bool) -> Dist:
    """The covariance of a variable with itself as cosine distances; rounding is what limits it."""
    if isinstance(cov, Dist):
        return cov
    full = cov.cross.ndim == 4
    q1, q2 = variances(cov)
    self1, self2 = (
        zero_at_equal(1 - safe_divide(k, scale(q[:, None], q[None]))) if full else None
        for q, k in ((q1, cov.self1), (q2, cov.self2))
    )
    cross = with_diagonal(1 - safe_divide(cov.cross, scale(*outer(q1, q2, full))), self1, same)
    return Dist(cross, self1, self2, cov.ntk, q1, q2)


def scale(q1: Array, q2: Array) -> Array:
    """sqrt(q1 q2), without forming q1 q2, which leaves the range of float32 long before its root does."""
    return safe_sqrt(q1) * safe_sqrt(q2)


def safe_sqrt(q: Array) -> Array:
    """sqrt(q), with derivative 0 where q = 0 (the tip of the cone: the symmetric choice)."""
    return jnp.where(q > 0, jnp.sqrt(jnp.where(q > 0, q, 1.0)), 0.0)


def safe_divide(a: Array, b: Array) -> Array:
    """a / b, and 0 where b = 0."""
    return jnp.where(b == 0, 0.0, a / jnp.where(b == 0, 1.0, b))


def zero_at_equal(part: Array) -> Array:
    """Zero where a position `[P, Q, n]` meets itself."""
    return jnp.where(jnp.eye(part.shape[0], dtype=bool)[:, :, None], 0.0, part)


def with_diagonal(cross: Array, values: Array | None, same: bool) -> Array:
    """Write what is known of a sample with itself, `[..., n]` or zero, onto the diagonal over samples."""
    if not same:
        return cross
    diagonal = jnp.zeros((), cross.dtype) if values is None else values[..., :, None]
    return jnp.where(jnp.eye(cross.shape[-1], dtype=bool), diagonal, cross)


def equal_positions(cov: Form) -> Form:
    """From all pairs of positions to the equal ones."""

    def take(k: Array | None) -> Array | None:
        return None if k is None else jnp.einsum("pp...->p...", k)

    match cov:
        case Data():
            return cov
        case Dist():
            return Dist(jnp.einsum("pp...->p...", cov.cross), None, None, take(cov.ntk), cov.q1, cov.q2)
    return Cov(*(take(k) for k in cov))


def all_positions(cov: Form) -> Form:
    """The full layout of variables that have one position."""
    match cov:
        case Data():
            return cov
        case Dist():
            ntk = None if cov.ntk is None else cov.ntk[:, None]
            zero1, zero2 = (jnp.zeros_like(q)[:, None] for q in (cov.q1, cov.q2))
            return Dist(cov.cross[:, None], zero1, zero2, ntk, cov.q1, cov.q2)
    return Cov(*(None if k is None else k[:, None] for k in cov))
