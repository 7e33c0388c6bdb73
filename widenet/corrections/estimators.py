"""The tensors of the 1/width expansion, measured on random networks. (W9)

Nothing of the recursion is used: networks are drawn, and their outputs differentiated up to three times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from widenet import checks
from widenet.corrections.ensembles import Ensemble, draw_params, ensemble_of
from widenet.finite.forward import function_of
from widenet.finite.parameters import as_key, whole_width
from widenet.precision import float64
from widenet.program.trace import Net
from widenet.progress import progress

MEANS = ("K", "Theta")
FIRST, HIGHER = "VDFAB", "PQRSTU"  # without and with derivatives of the tangent kernel
TILE = 2**22  # numbers in one block of networks


class Estimate(NamedTuple):
    """Tensors measured at one width, or extrapolated to infinite width, with their standard errors."""

    width: float
    value: Mapping[str, float]
    error: Mapping[str, float]


def empirical_finite_width(
    net: Net,
    x: Any,
    *,
    key: Any,
    width: int,
    draws: int = 1000,
    outputs: int = 4,
    ensemble: str | Ensemble = "iid",
    higher: bool = True,
) -> Estimate:
    """n times the unbiased estimators of the tensors of order 1/n, at the output of any architecture. (W9)

    Means over pairs of different outputs i, j and over networks of z_i^2 z_j^2 and z_i^2 H_jj and H_ii H_jj, less the
    products of means, z_i z_j H_ij, H_ij^2, and with `higher` z_i dH_i;jj, z_j dH_i;ij, and second changes.  They
    differ from what `finite_width` gives by O(1/n), often by more than the value itself: see `extrapolate_width`.

    x: one input, `[1, ...]`.  outputs: how many channels of the output are used, two or more; the cost grows as their
    square, and the error falls as their number.
    Raises: ValueError for more than one input, fewer than two outputs or draws.
    """
    x = checks.batch(x, "x")
    width, law = whole_width(width), ensemble_of(ensemble)
    if len(x) != 1:
        raise ValueError(f"empirical_finite_width takes one input, [1, ...]; got {len(x)}: x[:1] is one.")
    if draws < 2 or outputs < 2:
        raise ValueError(f"pairs and errors need at least two draws and two outputs; got {draws} and {outputs}.")
    with float64():
        samples = _samples(net, jnp.asarray(x, float), as_key(key), width, draws, outputs, law, higher)
    return _estimate(samples, width)


def extrapolate_width(estimates: Sequence[Estimate], order: int = 1) -> Estimate:
    """The limit of infinite width: the intercept of a weighted fit of a polynomial in 1/n, with its error. (W9)

    estimates: from more widths than the order, best far apart, such as 16, 32 and 64.
    Raises: ValueError for too few widths.
    """
    if len({estimate.width for estimate in estimates}) <= order:
        raise ValueError(f"a fit of order {order} needs estimates at more than {order} widths, such as 16, 32 and 64.")
    design = np.array([[float(estimate.width) ** -power for power in range(order + 1)] for estimate in estimates])
    value, error = {}, {}
    for name in estimates[0].value:
        scale = np.array([estimate.error[name] for estimate in estimates])
        scale = np.maximum(scale, np.finfo(float).tiny)  # an estimator that never varies
        inverse = np.linalg.pinv(design / scale[:, None])
        value[name] = float(inverse[0] @ (np.array([estimate.value[name] for estimate in estimates]) / scale))
        error[name] = float(np.linalg.norm(inverse[0]))
    return Estimate(math.inf, value, error)


def _samples(
    net: Net, x: Array, key: Any, width: int, draws: int, outputs: int, law: Ensemble, higher: bool
) -> dict[str, np.ndarray]:
    """What every network contributes, stacked."""
    function = function_of(net)
    like = jax.eval_shape(lambda k: draw_params(net, k, x.shape, width, law), key)
    made = math.prod(jax.eval_shape(function, like, x).shape[1:])
    if made < outputs:
        raise ValueError(
            f"the network has {made} outputs, but {outputs} are to be used: give its readout no width, or that many."
        )
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like))
    block = max(1, min(draws, TILE // (size * outputs**2 if higher else size * outputs)))

    @jax.jit
    def several(keys: Any) -> dict[str, Array]:
        def one(k: Any) -> dict[str, Array]:
            theta, unravel = ravel_pytree(draw_params(net, k, x.shape, width, law))
            return _one(lambda p: function(unravel(p), x).ravel()[:outputs], theta, higher)

        return jax.vmap(one)(keys)

    keys = [jax.random.split(jax.random.fold_in(key, i), block) for i in range(math.ceil(draws / block))]
    parts = [jax.tree.map(np.asarray, several(k)) for k in progress(keys, "blocks of networks")]
    return {name: np.concatenate([part[name] for part in parts])[:draws] for name in parts[0]}


def _one(f: Callable[[Array], Array], theta: Array, higher: bool) -> dict[str, Array]:
    """The means over pairs of outputs of one network; squares and diagonals are not yet centred."""
    z, slopes = f(theta), jax.jacrev(f)(theta)
    kernel = slopes @ slopes.T
    of_pairs = partial(_mean_of_pairs, len(z))
    found = {"square": z**2, "diagonal": jnp.diag(kernel)}
    found |= {"F": of_pairs(z[:, None] * z * kernel), "B": of_pairs(kernel**2)}
    return found | (_higher(f, theta, z, slopes, of_pairs) if higher else {})


def _higher(f: Any, theta: Array, z: Array, slopes: Array, of_pairs: Any) -> dict[str, Array]:
    def bent(at: Array, along: Array) -> Array:
        """f_i'' along a direction, `[outputs, parameters]`."""
        return jax.jvp(jax.jacrev(f), (at,), (along,))[1]

    def twice(along: Array) -> Array:
        """f_i''' along a direction twice."""
        return jax.jvp(lambda at: bent(at, along), (theta,), (along,))[1]

    curved = jax.vmap(bent, (None, 0))(theta, slopes)  # [j, i]: f_i'' along the gradient of f_j
    third = jax.vmap(twice)(slopes)
    own = jnp.einsum("iip->ip", curved)
    return {
        "P": of_pairs(z[:, None] * jnp.einsum("jip,jp->ij", curved, slopes)),
        "Q": of_pairs(z * jnp.einsum("iip,jp->ij", curved, slopes)),
        "R": of_pairs(jnp.einsum("jip,ip->ij", third, slopes)),
        "S": of_pairs(jnp.einsum("jip,jip->ij", curved, curved)),
        "T": of_pairs(own @ own.T),
        "U": of_pairs(jnp.einsum("jip,ijp->ij", curved, curved)),
    }


def _mean_of_pairs(outputs: int, table: Array) -> Array:
    """The mean of a table over pairs i != j."""
    return (jnp.sum(table) - jnp.trace(table)) / (outputs * (outputs - 1))


def _estimate(samples: dict[str, np.ndarray], width: int) -> Estimate:
    square, diagonal = samples.pop("square"), samples.pop("diagonal")
    centred, draws = (square - square.mean(), diagonal - diagonal.mean()), len(square)
    scale = width * draws / (draws - 1)  # the mean that is subtracted is that of the draws
    terms = {"K": square.mean(1), "Theta": diagonal.mean(1)}
    for name, left, right in (("V", 0, 0), ("D", 0, 1), ("A", 1, 1)):
        terms[name] = scale * _product_of_pairs(centred[left], centred[right])
    terms |= {name: width * sample for name, sample in samples.items()}
    order = [name for name in (*MEANS, *FIRST, *HIGHER) if name in terms]
    value = {name: float(terms[name].mean()) for name in order}
    error = {name: float(terms[name].std(ddof=1) / math.sqrt(draws)) for name in order}
    return Estimate(width, value, error)


def _product_of_pairs(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The mean of u_i v_j over i != j, for every draw."""
    pairs = u.shape[1] * (u.shape[1] - 1)
    return (u.sum(1) * v.sum(1) - (u * v).sum(1)) / pairs
