"""How the preactivations of one random perceptron fluctuate together, measured at every layer. (W9)"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet import checks
from widenet.corrections.chain import Chain, chain_of
from widenet.corrections.ensembles import Ensemble, ensemble_of
from widenet.finite.parameters import as_key, whole_width
from widenet.precision import float64
from widenet.program.trace import Net
from widenet.progress import progress

TILE = 2**22  # numbers in one block of networks


class Fluctuations(NamedTuple):
    """Means over networks and their standard errors, `[L]` each, for the preactivations of the L dense layers."""

    K: Any  # E z^2
    K_error: Any
    V: Any  # n Cov(z_i^2, z_j^2), i != j
    V_error: Any


def empirical_fluctuations(
    net: Net, x: Any, *, key: Any, width: int, draws: int = 1000, ensemble: str | Ensemble = "iid"
) -> Fluctuations:
    """E z^2 and n Cov(z_i^2, z_j^2) of all layers of random perceptrons, from all pairs of neurons i != j. (W9)

    One forward pass a network, without derivatives, and all pairs of neurons: where they are nearly independent, the
    error of V is n/4 times less than that of `empirical_finite_width` with four outputs.  K differs from that of
    `finite_width` by K1/n, V by O(1/n).

    net, ensemble: as for `finite_width`; the readout is as wide as the hidden layers.  x: one input, `[1, d]`.
    Raises: ValueError for more than one input, fewer than two draws, or a width below two; what `chain_of` raises for
    another network.

    >>> import numpy as np, widenet as wn
    >>> found = wn.empirical_fluctuations(wn.zoo.mlp(wn.relu, 2), np.ones((1, 30)), key=0, width=30)
    >>> bool(np.all(abs(found.V - [0, 5 * 4, 5 * 4 * (2 + 5 / 30)]) < 4 * found.V_error))
    True
    """
    x, chain, law = checks.batch(x, "x"), chain_of(net, "empirical_fluctuations"), ensemble_of(ensemble)
    width = whole_width(width)
    if len(x) != 1:
        raise ValueError(f"empirical_fluctuations takes one input, [1, d]; got {len(x)}: x[:1] is one.")
    if draws < 2 or width < 2:
        raise ValueError(f"pairs and errors need at least two draws and a width of two; got {draws} and {width}.")
    with float64():
        squares = _squares(chain, jnp.asarray(x, float).ravel(), as_key(key), width, draws, law)
    return _summary(squares)


def _squares(chain: Chain, x: Array, key: Any, width: int, draws: int, law: Ensemble) -> np.ndarray:
    """z^2 of every neuron, `[draws, L, width]`."""
    block = max(1, min(draws, TILE // (len(chain.layers) * width**2)))
    several = jax.jit(jax.vmap(lambda k: _preactivations(chain, x, k, width, law) ** 2))
    keys = [jax.random.split(jax.random.fold_in(key, i), block) for i in range(math.ceil(draws / block))]
    return np.concatenate([np.asarray(several(k)) for k in progress(keys, "blocks of networks")])[:draws]


def _preactivations(chain: Chain, x: Array, key: Any, width: int, law: Ensemble) -> Array:
    """Those of all layers of one network, `[L, width]`.

    All hidden matrices are drawn in one call: jax on a CPU can lock up in many factorizations side by side.
    """
    of_first, of_weights, of_biases = jax.random.split(key, 3)
    hidden = jax.vmap(lambda k: law.draw(k, width, width))(jax.random.split(of_weights, len(chain.layers) - 1))
    biases = jax.random.normal(of_biases, (len(chain.layers), width))
    z, made = x, []
    for i, layer in enumerate(chain.layers):
        s = z if layer.phi is None else layer.phi(z)
        w = hidden[i - 1] if i else law.draw(of_first, len(x), width)
        z = layer.sigma_w / math.sqrt(len(s)) * (s @ w) + layer.sigma_b * biases[i]
        made.append(z)
    return jnp.stack(made)


def _summary(squares: np.ndarray) -> Fluctuations:
    draws, _, width = squares.shape
    centred = squares - squares.mean((0, 2))[:, None]
    pairs = (centred.sum(2) ** 2 - (centred**2).sum(2)) / (width * (width - 1))
    means = squares.mean(2)
    V = width * (pairs + means.var(0, ddof=1) / draws)  # the mean that is subtracted is that of the draws
    return Fluctuations(
        *(means.mean(0), means.std(0, ddof=1) / math.sqrt(draws)),
        *(V.mean(0), V.std(0, ddof=1) / math.sqrt(draws)),
    )
