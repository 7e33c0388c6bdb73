"""The fourth cumulant of a network between several inputs, to order 1/width. (W10)"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import ndtri
from scipy.stats import qmc

from widenet import checks
from widenet.activations import dual
from widenet.activations.activation import Activation, Times
from widenet.corrections.chain import chain_of
from widenet.corrections.ensembles import Ensemble, ensemble_of
from widenet.precision import float64
from widenet.program.trace import Net

POINTS = 2**14  # of the Sobol rule for products of three or four different inputs
SCRAMBLES = 4  # of that rule, for the error
TILE = 2**12  # points at a time


class FourPoint(NamedTuple):
    """The covariance of the outputs and the coefficient of 1/n in their fourth moments."""

    nngp: Any  # [m, m]
    V: Any  # [m, m, m, m]
    error: Any  # [m, m, m, m]: standard error of V, zero where no points are drawn

    @property
    def cumulant(self) -> Any:
        """n times the fourth cumulant of one output, V_(ab)(cd) + V_(ac)(bd) + V_(ad)(bc), `[m, m, m, m]`."""
        return self.V + self.V.transpose(0, 2, 1, 3) + self.V.transpose(0, 2, 3, 1)


def four_point(net: Net, x: Any, *, ensemble: str | Ensemble = "iid", points: int = POINTS) -> FourPoint:
    """E[z_i(a) z_i(b) z_j(c) z_j(d)] = K_ab K_cd + V_(ab)(cd)/n for outputs i != j and inputs a, b, c, d. (W10)

    V' = sigma_w^4 (Cov(s_a s_b, s_c s_d) + kappa (<s_a s_c><s_b s_d> + <s_a s_d><s_b s_c>)) + sigma_w^4 J V J^T, where
    J is the derivative of <s_a s_b> in the covariances of the inputs, and kappa that of the ensemble (W2).

    net, ensemble: as for `finite_width`; the activation may jump.  x: `[m, d]`; different inputs, if it does.
    Shapes: `[m, m]` and `[m, m, m, m]`.  points: of a Sobol rule, scrambled four times.
    Accuracy: that of the duals for two inputs; with three or more, products of three or four different ones are
    integrated by points, and `error` says how well: about 3e-4 of V for tanh, 5e-3 for relu.
    Raises: ValueError for data that are no batch; what `chain_of` raises for another network.
    Source: yaida2020, section 3; kappa: widenet.
    """
    x, chain, law = checks.batch(x, "x"), chain_of(net, "four_point"), ensemble_of(ensemble)
    if chain.end is not None:
        raise NotImplementedError(
            f"four_point reads preactivations, but the network ends in {chain.end.name}: add a dense layer."
        )
    flat = np.asarray(x, float).reshape(len(x), -1)
    first, pairs = chain.layers[0], Pairs(len(x))
    with float64():
        gram = first.sigma_w**2 * flat @ flat.T / flat.shape[1]
        v = law.kappa * pairs.crossed(gram)
        covariance = gram + first.sigma_b**2
        for layer in chain.layers[1:]:
            assert layer.phi is not None
            two = Expectations(*map(np.asarray, _expectations(layer.phi, covariance)))
            k, slopes = two.moments[pairs.left, pairs.right], _slopes(two, pairs)
            source = _products(layer.phi, covariance, two, pairs, points)
            source = source - np.outer(k, k) + law.kappa * pairs.crossed(two.moments)
            v = layer.sigma_w**4 * (source + slopes @ v @ slopes.T)
            covariance = layer.sigma_w**2 * two.moments + layer.sigma_b**2
    v = np.broadcast_to(v, (SCRAMBLES, *v.shape[-2:]))[:, pairs.index[:, :, None, None], pairs.index]
    return FourPoint(covariance, v.mean(0), v.std(0, ddof=1) / math.sqrt(SCRAMBLES))


class Pairs:
    """The unordered pairs of m inputs."""

    def __init__(self, inputs: int) -> None:
        self.left, self.right = np.triu_indices(inputs)
        self.index = np.zeros((inputs, inputs), int)  # of the pair (a, b)
        self.index[self.left, self.right] = self.index[self.right, self.left] = np.arange(len(self.left))
        self.own = np.diag(self.index)

    def crossed(self, k: np.ndarray) -> np.ndarray:
        """k_ac k_bd + k_ad k_bc for the pairs (a, b) and (c, d)."""
        a, b, c, d = self.left[:, None], self.right[:, None], self.left, self.right
        return k[a, c] * k[b, d] + k[a, d] * k[b, c]


class Expectations(NamedTuple):
    """Expectations of two variables, `[m, m]`; of the last five the diagonal is not used."""

    moments: Any  # <s_a s_b>
    fourth: Any  # <s_a^4>, [m]
    own_slope: Any  # d<s_a^2>/dK_aa, [m]
    by_left: Any  # d<s_a s_b>/dK_aa
    by_right: Any  # d<s_a s_b>/dK_bb
    by_k: Any  # d<s_a s_b>/dK_ab
    threes: Any  # <s_a^3 s_b>
    twos: Any  # <s_a^2 s_b^2>


@jax.jit
def _expectations(phi: Activation, k: Array) -> Expectations:
    q = jnp.diag(k)
    own, own_slope = jax.jvp(lambda v: dual.second_moment(phi, v), (q,), (jnp.ones_like(q),))
    args = (q[:, None], q[None], k)
    unit = [tuple(jnp.ones_like(arg) * (i == j) for j, arg in enumerate(args)) for i in range(3)]
    left, right, cross = (jax.jvp(lambda *v: dual.dual(phi, *v), args, tangents)[1] for tangents in unit)
    moments = jnp.where(jnp.eye(len(q), dtype=bool), own, dual.dual(phi, *args))
    square, cube, fourth = (_power(phi, power) for power in (2, 3, 4))
    threes, twos = dual.cross_dual(cube, phi, *args), dual.dual(square, *args)
    return Expectations(moments, dual.mean(fourth, q), own_slope, left, right, cross, threes, twos)


def _slopes(two: Expectations, pairs: Pairs) -> np.ndarray:
    """d<s_a s_b>/dK_cd over pairs, where K_cd = K_dc is one variable."""
    found = np.zeros((len(pairs.left),) * 2)
    a, b = np.triu_indices(len(two.moments), 1)
    for slope, (c, d) in ((two.by_left, (a, a)), (two.by_right, (b, b)), (two.by_k, (a, b))):
        found[pairs.index[a, b], pairs.index[c, d]] = slope[a, b]
    found[pairs.own, pairs.own] = two.own_slope
    return found


def _products(phi: Activation, k: np.ndarray, two: Expectations, pairs: Pairs, points: int) -> np.ndarray:
    """<s_a s_b s_c s_d> over pairs of pairs; for three inputs or more one for each scramble."""
    index, size = pairs.index, len(pairs.left)
    more = len(k) > 2
    found = (
        np.stack([_by_points(phi, k, pairs, points, i) for i in range(SCRAMBLES)]) if more else np.zeros((size,) * 2)
    )
    found[..., pairs.own, pairs.own] = two.fourth
    a, b = np.nonzero(~np.eye(len(k), dtype=bool))
    found[..., index[a, a], index[a, b]] = found[..., index[a, b], index[a, a]] = two.threes[a, b]
    found[..., index[a, a], index[b, b]] = found[..., index[a, b], index[a, b]] = two.twos[a, b]
    return found


def _by_points(phi: Activation, k: np.ndarray, pairs: Pairs, points: int, scramble: int) -> np.ndarray:
    """The same by a scrambled Sobol rule, and its mirror image."""
    values, vectors = np.linalg.eigh(k)
    root = vectors * np.sqrt(np.maximum(values, 0))  # rounding alone makes an eigenvalue negative
    z = ndtri(qmc.Sobol(len(k), rng=scramble).random(points)) @ root.T
    total = np.zeros((len(pairs.left),) * 2)
    for tile in np.array_split(z, math.ceil(points / TILE)):
        s = np.asarray(phi(jnp.asarray(np.concatenate([tile, -tile]))))
        products = s[:, pairs.left] * s[:, pairs.right]
        total += products.T @ products
    return total / (2 * points)


def _power(phi: Activation, power: int) -> Activation:
    return Activation(
        *(f"{phi.name}^{power}", Times(phi.fn, power=power), phi.params),
        kinks=phi.breakpoints,
        continuous=phi.continuous,
    )
