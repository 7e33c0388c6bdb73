"""The infinite-width limit of a linear network with one hidden layer: a finite network."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from widenet.limits.nets import LinearNet, Params, random_matrix


def exact_limit(net: LinearNet) -> Params:
    """Parameters of the network of width d_in + d_out that is the limit, of any width to infinity, of `net`.

    u_0 = (sigma_u I; 0),  v_0 = (0; sigma_v I)                (Z2)

    Train it by `descend` or by any gradient descent of your own: with momentum and weight decay too, as all that is
    used is that updates are linear in the weights' gradients.  Where sigma_v = 0 the lower part never moves and is
    left out: width d_in.
    Raises: ValueError for a net with depth, whose limit is `linear_limit`.
    Source: yang2021, sec. 6.
    """
    if net.depth:
        raise ValueError(f"the limit of depth {net.depth} is no finite network for all time: use linear_limit.")
    basis = jnp.eye(net.d_in + (net.d_out if net.sigma_v else 0))
    upper, lower = net.sigma_u * basis[:, : net.d_in], net.sigma_v * basis[:, net.d_in :]
    return net.with_biases({"u": upper, "v": lower if net.sigma_v else jnp.zeros((net.d_in, net.d_out))})


def finite_copy(params: Params, key: Any, width: int) -> Params:
    """A random network of this width in the state that the limit has: u = n^(-1/2) Omega u_limit, and so v and b. (Z3)

    params: of `exact_limit`, before or after training.  Before training it is a draw of `net.init`; after training it
    differs from a trained one by O(n^(-1/2)).
    Raises: ValueError for parameters with matrices W_l.
    """
    if "w" in params:
        raise ValueError("finite_copy takes parameters of a net without matrices W_l; these have depth.")
    omega = random_matrix(key, (width, len(params["u"])), width, 1.0)
    return {name: value if name == "c" else omega @ value for name, value in params.items()}
