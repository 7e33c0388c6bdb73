"""Covariance and tangent kernel of two features of the batch, by the best route for each (B2)-(B6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from widenet.activations import dual as duals
from widenet.activations import identity
from widenet.batches import features, linear
from widenet.batches.features import Channel, Feature
from widenet.batches.points import Points
from widenet.batches.root import centre, regressor, root, spectrum

# Beyond rounding: what a tangent kernel may have outside of the single direction that a covariance of rank 1 leaves.
OFF_RANGE = 1e-9


class Pair(NamedTuple):
    """Covariance and tangent kernel of two variables over the rows of the batch."""

    cov: np.ndarray  # [N, M]
    ntk: np.ndarray


class Diverges(ArithmeticError):
    """An expectation of 1 / variance is infinite; the message says where to look."""


def own(f: Feature, h: Feature, pair: Pair, points: Points) -> Pair:
    """Of two features of one Gaussian variable, whose own covariance and tangent kernel are `pair`."""
    if not f.normalized and not h.normalized:
        return elementwise(f, h, (pair.cov.diagonal(), pair.cov.diagonal()), pair)
    if f.normalized and h.normalized:
        return _normalized(f, h, Pair(*(centre(part, True, True) for part in pair)), _scale(pair.cov), points)
    return joint(f, h, (pair, pair), pair, points)


def _normalized(f: Feature, h: Feature, pair: Pair, scale: float, points: Points) -> Pair:
    values, vectors = basis = spectrum(pair.cov, scale)
    rank, needs_tangent = len(values), _tangent_is_finite(f, h, basis, pair.ntk)
    if f.phi is identity and h.phi is identity and f.eps == h.eps:
        ntk = linear.tangent(basis, f.eps, pair.ntk) if needs_tangent else np.zeros_like(pair.ntk)
        return Pair(linear.moment(basis, f.eps), ntk)
    r = vectors * np.sqrt(values)
    channel = Channel(r, r, points.normals(rank))
    cov = features.second_moment(channel, f, h)
    if not needs_tangent:
        return Pair(np.asarray(cov), np.zeros_like(pair.ntk))
    channel, weight = _radial(channel, rank, points)
    return Pair(np.asarray(cov), np.asarray(features.tangent(channel, f, h, pair.ntk, weight)))


def _radial(channel: Channel, rank: int, points: Points) -> tuple[Channel, np.ndarray]:
    """Draws with the radius of rank - 2 dimensions, weighted by radius^2 / (rank - 2): the same expectations. (B4)

    The Jacobian grows as 1 / radius, which only the weight keeps from having draws of infinite variance.
    """
    if rank < 3:
        return channel, np.ones(points.count)
    squares = points.radii(rank - 2, rank)
    factor = np.sqrt(squares / (channel.xi**2).sum(axis=1))
    return channel._replace(xi=channel.xi * factor[:, None]), squares / (rank - 2)


def _tangent_is_finite(f: Feature, h: Feature, basis: linear.Spectrum, theta: np.ndarray) -> bool:
    """Must the tangent kernel be integrated?  Not if it is zero, as for two samples; raises if it is infinite. (B7)"""
    rank = len(basis.values)
    if rank == 0 and 0 in (f.eps, h.eps):
        raise Diverges("all samples are equal there, so that their variance is 0")
    if (f.eps or h.eps) or rank > 2:
        return True
    left = theta - basis.vectors @ (basis.vectors.T @ theta) if rank == 1 else theta
    if np.abs(left).max() > OFF_RANGE * np.abs(theta).max():
        raise Diverges(
            f"the batch varies in only {rank} direction{'s' * (rank > 1)} there, and E 1/variance is infinite"
        )
    return False


def elementwise(f: Feature, h: Feature, variances: tuple[Any, Any], pair: Pair) -> Pair:
    """Of two activations without batch normalization: the duals of the kernel reading (K3)."""
    q1, q2, k = (jnp.asarray(x) for x in (variances[0][:, None], variances[1][None, :], pair.cov))
    cov = duals.cross_dual(f.phi, h.phi, q1, q2, k)
    return Pair(np.asarray(cov), np.asarray(duals.cross_slope(f.phi, h.phi, q1, q2, k)) * pair.ntk)


def joint(f: Feature, h: Feature, selves: tuple[Pair, Pair], cross: Pair, points: Points) -> Pair:
    """Of features of two dependent Gaussian variables, whose covariances are `selves` and `cross`."""
    sides = f.normalized, h.normalized
    k11, k22 = (centre(pair.cov, side, side) for pair, side in zip(selves, sides, strict=True))
    k12, theta = (centre(part, *sides) for part in cross)
    r = root(np.block([[k11, k12], [k12.T, k22]]), max(_scale(pair.cov) for pair in selves))
    channel = Channel(r[: len(k11)], r[len(k11) :], points.normals(len(r)))
    cov = features.second_moment(channel, f, h)
    return Pair(np.asarray(cov), np.asarray(features.tangent(channel, f, h, theta, np.ones(points.count))))


def beside_gaussian(f: Feature, self_pair: Pair, cross: Pair, points: Points) -> Pair:
    """Of a normalized feature f of g with a Gaussian variable h: E f h^T = E[f g^T] K^+ cov(g, h), E[J] Theta_gh. (B5)

    self_pair: of g with itself.  cross: of g with h.
    """
    k, scale = centre(self_pair.cov, True, True), _scale(self_pair.cov)
    r = root(k, scale)
    normals, slopes = features.regression(Channel(r, r, points.normals(len(r))), f)
    cov, theta = (centre(part, True, False) for part in cross)
    return Pair(np.asarray(normals).T @ regressor(k, scale) @ cov, np.asarray(slopes) @ theta)


def mean(f: Feature, self_pair: Pair, points: Points) -> np.ndarray:
    """E f, `[N]`."""
    if not f.normalized:
        return np.asarray(duals.mean(f.phi, jnp.asarray(self_pair.cov.diagonal())))
    r = root(centre(self_pair.cov, True, True), _scale(self_pair.cov))
    return np.asarray(features.mean(Channel(r, r, points.normals(len(r))), f))


def _scale(k: np.ndarray) -> float:
    return float(k.diagonal().max())
