"""The 1/width tensors of a deep network, layer by layer. (W1)-(W5)"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.activation import Activation
from widenet.corrections.chain import Chain, Layer, chain_of
from widenet.corrections.ensembles import Ensemble, ensemble_of
from widenet.corrections.moments import Moments, bends, moments
from widenet.corrections.result import TENSORS, Corrections
from widenet.precision import float64
from widenet.program.trace import Net

State = dict[str, Array]


def finite_width(
    net: Net,
    *,
    ensemble: str | Ensemble = "iid",
    q0: float = 1.0,
    widths: Sequence[float] | None = None,
    learning_rates: tuple[float, float] | None = None,
) -> Corrections:
    """The single-input tensors of order 1/width of a multilayer perceptron, at every layer. (W1)-(W5)

    With z the preactivations of a layer, H their tangent kernel, dH = H - Theta and different neurons i, j,

    E z_i^2 z_j^2 - (E z_i^2)^2 = V/n,   E[z_i^2 dH_jj] = D/n,   E[z_i z_j dH_ij] = F/n,
    E[dH_ii dH_jj] = A/n,   E[dH_ij^2] = B/n,   and P, Q, R, S, T, U of its first and second change under training.

    net: dense layers and activations in turn, such as `wn.zoo.mlp(wn.tanh, 10)`; scales may differ by layer.
    ensemble: of the weight matrices, "iid", "orthogonal", or `wn.LowRank(0.5)`.
    q0: mean square of the input, |x|^2 / d.
    widths: those of the hidden layers in units of n; all 1 if not given.
    learning_rates: of weights (divided by the fan-in) and biases; if not given sigma_w^2 and sigma_b^2 of each layer,
    which is the tangent kernel of `wn.kernel`.
    Shapes: each tensor `[L]`, for the preactivations of the L dense layers; the last are the outputs.
    Accuracy: quadrature of the activation library, 1e-10 for tanh at K = 1.  R, S, T, U are nan where a kink makes
    them infinite.
    Raises: ValueError for an activation that jumps, a variance of zero, or widths that do not fit; what `chain_of`
    raises for another network.
    Source: roberts2022, ch. 4, 8, 11 and app. (iid); day2023 (V, orthogonal); the other orthogonal and all low-rank
    sources: widenet.

    >>> import widenet as wn
    >>> c = wn.finite_width(wn.zoo.mlp(wn.identity, 3, sigma_w=1.0))
    >>> c.V.round(6), c.Theta
    (array([0., 2., 4., 6.]), array([1., 2., 3., 4.]))
    """
    chain, law = chain_of(net, "finite_width"), ensemble_of(ensemble)
    w = _relative(widths, len(chain.layers) - 1)
    if learning_rates is not None and len(learning_rates) != 2:
        raise ValueError(f"learning_rates are two numbers, of weights and of biases; got {learning_rates}.")
    _check(chain, q0)
    with float64():
        states = [_first(chain.layers[0], law.kappa / w[0], q0, learning_rates)]
        for layer, before, width in zip(chain.layers[1:], w[:-1], w[1:], strict=True):
            kappa = law.kappa / max(before, width)
            numbers = layer.sigma_w**2, layer.sigma_b**2, *_rates(layer, learning_rates), kappa, before
            states.append(_step(layer.phi, states[-1], *map(float, numbers)))
        tensors = {name: np.array([float(state[name]) for state in states]) for name in TENSORS}
    return Corrections(**tensors)


def _relative(widths: Sequence[float] | None, hidden: int) -> list[float]:
    """Widths of the layers in units of n; a readout is taken to be no wider than the layer before."""
    w = [1.0] * hidden if widths is None else [float(width) for width in widths]
    if len(w) != hidden or not all(0 < width < np.inf for width in w):
        raise ValueError(f"widths must be {hidden} positive numbers, one for each hidden layer; got {widths}.")
    return [*w, w[-1] if w else 1.0]


def _check(chain: Chain, q0: float) -> None:
    first = chain.layers[0]
    if chain.end is not None:
        raise NotImplementedError(
            f"finite_width reads preactivations, but the network ends in {chain.end.name}: add a dense layer."
        )
    if not 0 <= q0 < np.inf or not first.sigma_w**2 * q0 + first.sigma_b**2 > 0:
        raise ValueError(f"the first layer has no variance: q0 = {q0}, {first}; give an input or a bias.")
    for layer in chain.layers[1:]:
        assert layer.phi is not None
        if not layer.phi.continuous:
            raise ValueError(
                f"{layer.phi.name} jumps, and the tangent kernel of a finite network does not exist: take a smooth "
                "function in its place, such as erf(10 z) for sign; V alone is in wn.four_point."
            )


def _rates(layer: Layer, given: tuple[float, float] | None) -> tuple[float, float]:
    return (layer.sigma_w**2, layer.sigma_b**2) if given is None else given


def _first(layer: Layer, kappa: float, q0: float, given: tuple[float, float] | None) -> State:
    """Preactivations that are Gaussian, or a random rotation of one vector."""
    rate_w, rate_b = _rates(layer, given)
    zero = jnp.zeros(())
    own = {"K": layer.sigma_w**2 * q0 + layer.sigma_b**2, "Theta": rate_w * q0 + rate_b}
    own["V"] = 2 * kappa * (layer.sigma_w**2 * q0) ** 2
    return {name: zero + own.get(name, 0.0) for name in TENSORS}


def _step(phi: Activation | None, state: State, *numbers: float) -> State:
    assert phi is not None
    made = _advance(phi, state, *numbers)
    if bends(phi):  # phi''^2 has no integral: not a number, from here on
        made |= {name: made[name] * jnp.nan for name in "RSTU"}
    return made


@partial(jax.jit)
def _advance(
    phi: Activation, old: State, c_w: Any, c_b: Any, rate_w: Any, rate_b: Any, kappa: Any, width: Any
) -> State:
    """One layer. (W4), (W5)"""
    m, theta = moments(phi, old["K"]), old["Theta"]
    return _kernels(m, old, c_w, c_b, rate_w, rate_b) | _tensors(m, old, theta, c_w, rate_w, kappa, width)


def _kernels(m: Moments, old: State, c_w: Any, c_b: Any, rate_w: Any, rate_b: Any) -> State:
    return {
        "K": c_b + c_w * m.s2,
        "Theta": rate_b + rate_w * m.s2 + c_w * m.p2 * old["Theta"],
        "K1": c_w * (m.par * old["K1"] + m.curve * old["V"] / 2),
    }


def _tensors(m: Moments, old: State, theta: Array, c_w: Any, rate: Any, kappa: Any, width: Any) -> State:
    par, perp, h2, ratio = c_w * m.par, c_w * m.p2, c_w * m.h2, rate / c_w
    V, D, F, A, B, P, Q, R, S, T, U = (old[name] for name in "VDFABPQRSTU")
    d_omega = rate * m.par + theta * h2
    omega = rate * m.s2 + c_w * theta * m.p2
    omega2 = rate**2 * m.s4 + 2 * rate * c_w * theta * m.s2p2 + (c_w * theta) ** 2 * m.p4
    F_iid = c_w**2 * theta * m.s2p2 / width + par**2 * F
    B_iid = (c_w * theta) ** 2 * m.p4 / width + perp**2 * B
    source = (c_w * theta) ** 2 * m.srp2 / width
    cubic = c_w**2 * theta**3 / width
    new_P = source + c_w * m.sr * perp * B + par * perp * P
    new_Q = source + h2 * theta * par * F + par * perp * Q + ratio * F_iid
    wide = rate * (m.s4 - m.s2**2) + c_w * theta * (m.s2p2 - m.s2 * m.p2)
    return {
        "V": c_w**2 * ((m.s4 - m.s2**2) / width + 2 * kappa * m.s2**2) + par**2 * V,
        "D": c_w * wide / width + par * d_omega * V + par * perp * D,
        "F": F_iid + kappa * c_w**2 * theta * m.s2 * m.p2,
        "A": (omega2 - omega**2) / width + d_omega**2 * V + 2 * perp * d_omega * D + perp**2 * A,
        "B": B_iid + kappa * (c_w * theta * m.p2) ** 2,
        "P": new_P,
        "Q": new_Q,
        "R": cubic * m.tp3 + c_w * m.tp * perp * theta * B + h2 * theta * perp * P + perp**2 * R + ratio * new_P,
        "S": cubic * m.r2p2 + c_w * m.r2 * perp * theta * B + perp**2 * S + ratio * B_iid,
        "T": cubic * m.r2p2
        + (h2 * theta) ** 2 * F
        + 2 * h2 * theta * perp * Q
        + perp**2 * T
        + 2 * ratio * new_Q
        - ratio**2 * F_iid,
        "U": cubic * m.r2p2 + perp**2 * U,
    }
