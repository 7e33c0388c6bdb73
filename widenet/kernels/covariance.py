"""What the kernel reading carries for a pair of variables: their covariance, or their distance.

Axes are pairs of positions first, samples last: `[L, n1, n2]`, L the pairs of a `Layout`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.kernels.layout import Layout, equal


class Cov(NamedTuple):
    """Covariances lim (1/n) sum_i u_i v_i of two variables u (left) and v (right)."""

    cross: Array  # u(x1) with v(x2): [L, n1, n2]
    self1: Array | None  # u(x) with v(x), x a row of x1: [L, n1]; None if nobody asks
    self2: Array | None
    ntk: Array | None  # the neural tangent kernel, of the shape of cross; None if nobody asked


class Dist(NamedTuple):
    """Cosine distances 1 - K / sqrt(q1 q2) of a variable with itself, and its variances (K8).

    A bias, a sum and a relu act on them without subtracting nearly equal numbers, and no product of variances is
    ever formed: so they are accurate where x1 and x2 are close, and in range where the kernel is.
    """

    cross: Array  # between x1 and x2: [L, n1, n2]
    self1: Array | None  # between positions of one sample, at pairs of their own: [L', n1]; None for equal positions
    self2: Array | None
    ntk: Array | None
    q1: Array  # variances: [P, n1], [P, n2]
    q2: Array


class Mean(NamedTuple):
    """Means lim (1/n) sum_i u_i of a variable at x1 and at x2 (C7)."""

    m1: Array  # [P, n1]
    m2: Array  # [P, n2]


class Data(NamedTuple):
    """The input itself, `[n, P, d]`: whoever reads it first decides in which form its covariance starts."""

    x1: Array
    x2: Array


@partial(jax.tree_util.register_dataclass, data_fields=("x1", "x2"), meta_fields=("ages",))
@dataclass(frozen=True)
class Features:
    """Features `[n, P, f]` of a variable that is linear in the data: K = x1 . x2 / f, never formed (A4).

    ages: Theta weighs each feature by the number of layers above it that have a weight, a bias its own included:
    (how many features, their age), from the first on.
    """

    x1: Array
    x2: Array
    ages: tuple[tuple[int, int], ...]


Form = Cov | Dist | Mean | Data | Features


def ends(layout: Layout, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Values `[P, n1]`, `[Q, n2]`, shaped to broadcast over the entries of a cross covariance."""
    return layout.at_left(q1)[:, :, None], layout.at_right(q2)[:, None, :]


def ends_self(layout: Layout, qa: Array, qb: Array) -> tuple[Array, Array]:
    """Values `[P, n]`, `[Q, n]` of two variables on the same samples, likewise."""
    return layout.at_left(qa), layout.at_right(qb)


def restrict(form: Form, have: tuple[Layout, Layout], want: tuple[Layout, Layout]) -> Form:
    """From some pairs of positions, between samples and within one, to fewer."""
    if isinstance(form, (Data, Features, Mean)):
        return form

    def take(part: Array | None, i: int) -> Array | None:
        return None if part is None else have[i].take(part, want[i])

    if isinstance(form, Cov):
        return Cov(*(take(part, 0) for part in form))
    self1, self2 = (None if want[1].is_equal else take(part, 1) for part in (form.self1, form.self2))
    return Dist(take(form.cross, 0), self1, self2, take(form.ntk, 0), form.q1, form.q2)


def between(form: Cov | Dist, layout: Layout) -> Cov:
    """The covariance of samples with each other alone, in covariance form."""
    if isinstance(form, Cov):
        return form._replace(self1=None, self2=None)
    p1, p2 = ends(layout, *roots(form.q1, form.q2))
    return Cov(p1 * p2 * (1 - form.cross), None, None, form.ntk)


def variances(cov: Cov | Dist) -> tuple[Array, Array]:
    """The variances `[P, n1]`, `[P, n2]` of a variable, from its covariance with itself at equal positions."""
    return (cov.q1, cov.q2) if isinstance(cov, Dist) else (cov.self1, cov.self2)


def as_cov(cov: Cov | Dist, layout: Layout) -> Cov:
    """The same in covariance form; layout: of all its parts."""
    if isinstance(cov, Cov):
        return cov
    cross = between(cov, layout).cross
    self1, self2 = (
        q if gap is None else scale(*ends_self(layout, q, q)) * (1 - gap)
        for q, gap in ((cov.q1, cov.self1), (cov.q2, cov.self2))
    )
    return Cov(cross, self1, self2, cov.ntk)


def as_dist(cov: Cov | Dist, layout: Layout, own: Array | None) -> Dist:
    """The covariance of a variable with itself as cosine distances; rounding is what limits it.

    layout: contains the equal positions, where the variances are.
    """
    if isinstance(cov, Dist):
        return cov
    q1, q2 = (layout.take(part, equal(layout.sizes[0])) for part in cov[1:3])
    self1, self2 = (
        None if layout.is_equal else zero_at_equal(1 - safe_divide(k, scale(*ends_self(layout, q, q))), layout)
        for q, k in ((q1, cov.self1), (q2, cov.self2))
    )
    cross = with_diagonal(1 - safe_divide(cov.cross, scale(*ends(layout, q1, q2))), self1, own)
    return Dist(cross, self1, self2, cov.ntk, q1, q2)


def scale(q1: Array, q2: Array) -> Array:
    """sqrt(q1 q2), without forming q1 q2, which leaves the range of float32 long before its root does."""
    return safe_sqrt(q1) * safe_sqrt(q2)


def fence(form: Form) -> Form:
    """The same, computed once and not once more for each of its readers.

    XLA on CPUs fuses across an optimization barrier, but not out of a conditional, of which this takes one branch.
    """
    sign = form[0].ravel()[0]
    return jax.lax.cond(sign == sign, lambda k: k, lambda k: jax.tree.map(lambda part: part * jnp.nan, k), form)


def roots(*variances: Array) -> tuple[Array, ...]:
    """Their square roots, computed once: without the barrier each entry of a covariance would compute its own."""
    return tuple(jax.lax.optimization_barrier(safe_sqrt(q)) for q in variances)


def half_distance(gap: Array, p1: Array, p2: Array) -> Array:
    """D = (q1 + q2) / 2 - K, half the mean squared distance, on which sums act linearly; p: roots of q."""
    return p1 * p2 * gap + (p1 - p2) ** 2 / 2


def cosine_distance(d: Array, p1: Array, p2: Array) -> Array:
    """Of half a mean squared distance and the roots of variances.

    The division keeps the compiler from computing it once more for each of its readers.
    """
    return jnp.clip(safe_divide(d - (p1 - p2) ** 2 / 2, p1 * p2), 0.0, 2.0)  # outside by rounding


def safe_sqrt(q: Array) -> Array:
    """sqrt(q), with derivative 0 where q = 0 (the tip of the cone: the symmetric choice)."""
    return jnp.where(q > 0, jnp.sqrt(jnp.where(q > 0, q, 1.0)), 0.0)


def safe_divide(a: Array, b: Array) -> Array:
    """a / b, and 0 where b = 0."""
    return jnp.where(b == 0, 0.0, a / jnp.where(b == 0, 1.0, b))


def zero_at_equal(part: Array, layout: Layout) -> Array:
    """Zero where a position meets itself: `[L, n]`."""
    return jnp.where((layout.left == layout.right)[:, None], 0.0, part)


def with_diagonal(cross: Array, values: Array | None, own: Array | None) -> Array:
    """Write what is known of a sample with itself, `[..., n1]` or zero, where row i of x1 is row j of x2 (`own`)."""
    if own is None:
        return cross
    return jnp.where(own, jnp.zeros((), cross.dtype) if values is None else values[..., :, None], cross)
