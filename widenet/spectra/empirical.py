"""The singular values of the Jacobian of any function. (J5)"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet import checks
from widenet.finite.empirical import as_function, precision_of
from widenet.finite.expansion import Function
from widenet.finite.forward import NetFunction
from widenet.program.trace import Net


def empirical_spectrum(f: Function | Net, params: Any, x: Any) -> np.ndarray:
    """Singular values of df(params, x_i)/dx_i for each sample, largest first, `[n, min(inputs, outputs)]`. (J5)

    f: an architecture, or any f(params, x) with one row of output a sample, each sample taken on its own.
    x: `[n, ...]`; all but the first axis are inputs.  Memory: one Jacobian `[outputs, inputs]` at a time.
    dtype: that of x; numpy float64 is computed in float64.
    Raises: ValueError for data that are no batch; TypeError for integers, which have no derivative.

    >>> import numpy as np, widenet as wn
    >>> wn.empirical_spectrum(lambda w, x: x @ w, np.diag([3.0, 1.0, 2.0]), np.ones((1, 3)))
    array([[3., 2., 1.]])
    """
    x = checks.batch(x, "x")
    function = as_function(f)
    of_row = (
        partial(_of_net, function.net) if isinstance(function, NetFunction) else partial(_singular_values, function)
    )
    with precision_of(x):
        return np.stack([np.asarray(of_row(params, jnp.asarray(row))) for row in x])


@partial(jax.jit, static_argnums=0)
def _of_net(net: Net, params: Any, row: Any) -> Any:
    return _singular_values(NetFunction(net), params, row)


def _singular_values(f: Function, params: Any, row: Any) -> Any:
    def flat(v: Any) -> Any:
        return f(params, v.reshape(1, *row.shape)).ravel()

    v = row.ravel()
    outputs = math.prod(jax.eval_shape(flat, v).shape)
    jacobian = (jax.jacfwd if v.size <= outputs else jax.jacrev)(flat)(v)
    return jnp.linalg.svd(jacobian, compute_uv=False)
