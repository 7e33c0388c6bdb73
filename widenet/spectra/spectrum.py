"""The singular values of the input-output Jacobian of a wide multilayer perceptron. (J1)-(J4)"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jax import Array
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from widenet.activations import dual
from widenet.activations.activation import Activation
from widenet.corrections.chain import Chain, chain_of, readout_width
from widenet.precision import float64
from widenet.program.trace import Net
from widenet.spectra.free_product import FreeProduct
from widenet.spectra.slopes import slope_law

SAME = 1e-9  # variances that agree to it are one
STEPS = 100_000  # to the fixed point
SMOOTHING = 1e-4  # of the density, relative
GRID = 400  # points of a picture
ENSEMBLES = {"iid": 1, "orthogonal": 0}  # Gaussian factors a weight matrix makes


@dataclass(frozen=True)
class JacobianSpectrum:
    """The law of the eigenvalues of J J^T for square layers, in the limit of infinite width."""

    mean: float
    factors: FreeProduct  # in units of the mean

    @property
    def variance(self) -> float:
        """Variance of the eigenvalues of J J^T over their squared mean: g + sum_l (mu_2/mu_1^2 - 1). (J3)"""
        return self.factors.relative_variance

    @property
    def atoms(self) -> dict[float, float]:
        """Eigenvalues of J J^T that come in masses, and the fraction of each: 0 for relu, 1 for hard_tanh. (J4)"""
        return {self.mean * place: mass for place, mass in self.factors.atoms.items()}

    def moments(self, count: int = 4) -> np.ndarray:
        """Means of powers 1 to count of the eigenvalues of J J^T, `[count]`. (J3)

        Raises: ValueError for a count below two.
        """
        if count < 2:
            raise ValueError(f"moments(count) gives two or more; got {count}.")
        return self.factors.moments(count) * self.mean ** np.arange(1, count + 1)

    @property
    def upper_edge(self) -> float:
        """The largest eigenvalue of J J^T. (J4)"""
        return self.mean * self.factors.upper_edge()

    def density(self, eigenvalues: Any, *, smoothing: float = SMOOTHING) -> np.ndarray:
        """The density of the eigenvalues of J J^T at positive numbers, without `atoms`. (J4)

        smoothing: the density is that of eigenvalues spread by this fraction of each, which rounds edges off.
        Raises: ValueError for numbers that are not positive, and for a single activation between orthogonal matrices;
        ArithmeticError where Newton's method fails.
        """
        grid = np.asarray(eigenvalues, float)
        if not (grid > 0).all() or not smoothing > 0:
            raise ValueError(
                "density is asked at positive eigenvalues with a positive smoothing; see .atoms for those at 0."
            )
        return self.factors.density(grid.ravel() / self.mean, smoothing).reshape(grid.shape) / self.mean

    def singular_density(self, values: Any, *, smoothing: float = SMOOTHING) -> np.ndarray:
        """The density of the singular values s of J: 2 s times that of s^2."""
        s = np.asarray(values, float)
        return 2 * s * self.density(s**2, smoothing=smoothing)

    def plot(self, path: str | Path, singular_values: Any = None) -> None:
        """Draw the density of the singular values, and a histogram of those of networks if given, to `path`."""
        top = 1.1 * np.sqrt(self.upper_edge)
        s = np.linspace(top / GRID, top, GRID)
        with mpl.rc_context({"axes.spines.right": False, "axes.spines.top": False, "legend.frameon": False}):
            figure = Figure(figsize=(5, 3.6), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.subplots()
            if singular_values is not None:
                _histogram(axes, np.ravel(singular_values), top)
            axes.plot(s, self.singular_density(s), color="#0072B2", label="infinite width")
            axes.set(xlabel="singular value of the Jacobian", ylabel="density", xlim=(0, top))
            if self.atoms:
                masses = ", ".join(f"{mass:.3g} at {np.sqrt(place):.3g}" for place, mass in self.atoms.items())
                axes.set_title(f"and a fraction of {masses}", fontsize=10)
            axes.legend()
            figure.savefig(path, dpi=150)


def _histogram(axes: Any, values: np.ndarray, top: float) -> None:
    """A histogram whose area is the fraction of values above zero."""
    kept = values[values > top / GRID]
    heights, edges = np.histogram(kept, bins=60, range=(0, max(top, kept.max(initial=0))))
    axes.stairs(heights / (len(values) * np.diff(edges)), edges, fill=True, color="0.8", label="networks")


def jacobian_spectrum(net: Net, *, q0: float | None = None, ensemble: str = "iid") -> JacobianSpectrum:
    """The law of the squared singular values of dnet(x)/dx as all widths, those of x and output included, grow alike.

    J = W_L D_(L-1) W_(L-1) ... D_1 W_1,  D_l = diag phi'(h_l),  with D and W free of each other:
    S_(J J^T) = prod_l S_(D_l^2) S_(W_l^T W_l)                                  (J1)-(J4)

    net: dense layers and activations in turn, such as `wn.zoo.mlp(wn.tanh, 10)`; it may end in either.
    q0: mean square of the input; None for the one at which the variance of the layers is at its fixed point.
    ensemble: of the weight matrices, "iid" or "orthogonal".
    Raises: ValueError for another ensemble, an activation that jumps, or if no fixed point is reached;
    NotImplementedError for a readout of fixed width, whose Jacobian is not square.
    Source: pennington2017, pennington2018.

    >>> import widenet as wn
    >>> s = wn.jacobian_spectrum(wn.zoo.mlp(wn.relu, 4), ensemble="orthogonal")
    >>> round(s.mean, 9), round(s.variance, 9)
    (2.0, 4.0)
    """
    chain = chain_of(net, "jacobian_spectrum")
    if ensemble not in ENSEMBLES:
        raise ValueError(f"there is no Jacobian spectrum for the ensemble {ensemble!r}: take one of {list(ENSEMBLES)}.")
    if (width := readout_width(net)) is not None:
        raise NotImplementedError(
            f"the Jacobian of a readout with width={width} is not square: leave the width out, or measure it with "
            "wn.empirical_spectrum."
        )
    active = [layer.phi for layer in chain.layers if layer.phi is not None]
    active += [] if chain.end is None else [chain.end]
    for phi in active:
        if not phi.continuous:
            raise ValueError(
                f"{phi.name} jumps, and has no Jacobian: take a smooth function, such as erf(10 z) for sign."
            )
    with float64():
        counted: Counter[tuple[Activation, float]] = Counter()
        for phi, q in zip(active, _variances(chain, len(active), q0), strict=True):
            counted[phi, q] += 1
        laws = tuple((slope_law(phi, q), times) for (phi, q), times in counted.items())
    scale = np.prod([layer.sigma_w**2 for layer in chain.layers])
    mean = scale * np.prod([law.mean**times for law, times in laws])
    if not 0 < mean < np.inf:
        raise ValueError(
            f"the mean squared singular value is {mean}: take fewer layers, or scales nearer to chi_1 = 1."
        )
    return JacobianSpectrum(float(mean), FreeProduct(laws, ENSEMBLES[ensemble] * len(chain.layers)))


def _variances(chain: Chain, count: int, q0: float | None) -> list[float]:
    """The variance of the argument of each activation; those that agree are made equal."""
    first, *rest = chain.layers
    if q0 is None:
        return [_fixed_point(chain)] * count
    found = [first.sigma_w**2 * q0 + first.sigma_b**2]
    if not found[0] > 0:
        raise ValueError(f"the first layer has no variance: q0 = {q0}, {first}; give an input or a bias.")
    for layer in rest:
        assert layer.phi is not None
        made = layer.sigma_w**2 * float(_second(layer.phi, found[-1])) + layer.sigma_b**2
        if not 0 < made < np.inf:
            raise ValueError(f"the variance is {made} at layer {len(found) + 1}: take fewer layers, or other scales.")
        found.append(found[-1] if abs(made - found[-1]) < SAME * made else made)
    return found[:count]


def _fixed_point(chain: Chain) -> float:
    """q = sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2, reached from q = 1."""
    layers = {layer[1:] for layer in chain.layers}, {layer.phi for layer in chain.layers[1:]} | {chain.end} - {None}
    if len(layers[0]) > 1 or len(layers[1]) > 1:
        raise ValueError("the layers differ, and have no common fixed point: say the mean square of the input, q0.")
    (phi,) = layers[1] or {None}
    if phi is None:
        return 1.0  # a single dense layer: no activation asks
    q = _iterated(phi, chain.layers[0].sigma_w ** 2, chain.layers[0].sigma_b ** 2)
    if not 0 < q < np.inf:
        raise ValueError(
            f"the variance of {phi.name} layers reaches no fixed point above zero from 1: say the mean square of the "
            "input, q0, or take other scales, such as those of wn.isometric_init."
        )
    return float(q)


@jax.jit
def _second(phi: Activation, q: Array) -> Array:
    return dual.second_moment(phi, q)


@jax.jit
def _iterated(phi: Activation, c_w: Array, c_b: Array) -> Array:
    """The fixed point, or nan."""

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        q, before, step = state
        return (jnp.abs(q - before) > SAME * SAME * q) & (step < STEPS) & jnp.isfinite(q)

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        q, _, step = state
        return c_w * dual.second_moment(phi, q) + c_b, q, step + 1

    start = (jnp.ones(()), jnp.zeros(()), jnp.zeros((), int))
    q, before, _ = jax.lax.while_loop(unfinished, advance, start)
    return jnp.where(jnp.abs(q - before) <= SAME * q, q, jnp.nan)
