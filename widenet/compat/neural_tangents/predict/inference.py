"""Posteriors of Gaussian processes with the kernels of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from widenet import checks
from widenet.compat.neural_tangents.kernel import Get, answer, as_matrix, wanted
from widenet.compat.neural_tangents.predict.blocks import as_kernel, regularized, row_shape, targets
from widenet.compat.neural_tangents.predict.solve import solver


class Gaussian(NamedTuple):
    """A mean, shaped like outputs, and a covariance, shaped like a kernel."""

    mean: Any
    covariance: Any


def gp_inference(
    k_train_train: Any,
    y_train: Any,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> Callable[..., Any]:
    """Posteriors on test samples: `predict_fn(get=None, k_test_train=None, k_test_test=None)`.

    Kernels are arrays, or containers with `nngp` and `ntk` (a namedtuple or a `Kernel`).
    get "nngp": the Bayesian posterior.  "ntk": trained networks, for infinite time, over their initializations.
    "ntkgp": the posterior of a process with covariance NTK.  None: "nngp" and "ntk".
    k_test_test adds covariances: `Gaussian(mean, covariance)` in place of the mean.  Without k_test_train the result is
    that of the training set, y itself with covariance zero.
    Raises: ValueError if a kernel that is needed is missing, or not positive definite to rounding (the peer gives NaN).
    """
    y = targets(y_train, trace_axes)
    kept: dict[str, Any] = {}

    def solve(name: str) -> Any:
        matrix = regularized(part(k_train_train, name), diag_reg, diag_reg_absolute_scale)
        if checks.is_traced(matrix):
            return solver(matrix)
        if name not in kept:
            kept[name] = solver(matrix)
        return kept[name]

    def posterior(name: str, k_test_train: Any, k_test_test: Any) -> Any:
        own = "ntk" if name == "ntkgp" else name
        k_dd = part(k_train_train, own)
        if k_test_train is None:
            mean = y.y.astype(k_dd.dtype)
            return mean if k_test_test is None else Gaussian(mean, jnp.zeros_like(k_dd))
        k_td = part(k_test_train, own)
        mean = y.outputs(as_matrix(k_td) @ solve(own)(y.columns(y.y).astype(k_dd.dtype)), row_shape(k_td))
        if k_test_test is None:
            return mean
        rows = row_shape(k_td)
        return Gaussian(mean, as_kernel(_covariance(name, own, k_test_train, k_test_test), rows, rows))

    def _covariance(name: str, own: str, k_test_train: Any, k_test_test: Any) -> jax.Array:
        if name == "ntk":
            _check_both(k_train_train, k_test_train)
        start = "ntk" if name == "ntkgp" else "nngp"  # the kernel of the functions before training
        test_train = as_matrix(part(k_test_train, own))
        prior = as_matrix(part(k_test_test, start))
        weights = solve(own)(test_train.T).T
        mixed = weights @ as_matrix(part(k_test_train, start)).T
        if name != "ntk":
            return prior - mixed
        return prior + weights @ as_matrix(part(k_train_train, "nngp")) @ weights.T - mixed - mixed.T

    def predict_fn(get: Get = None, k_test_train: Any = None, k_test_test: Any = None) -> Any:
        names = wanted(get) or ("nngp", "ntk")
        unknown = set(names) - {"nngp", "ntk", "ntkgp"}
        if unknown:
            raise ValueError(f"get 'nngp', 'ntk' or 'ntkgp'; got {', '.join(sorted(unknown))}.")
        made = {name: posterior(name, k_test_train, k_test_test) for name in names}
        return answer("Gaussians", get if get is not None else names, made)

    return predict_fn


def part(kernel: Any, name: str) -> Any:
    """One kernel of a container, or the array itself."""
    if isinstance(kernel, (np.ndarray, jax.Array)):
        return jnp.asarray(kernel)
    found = getattr(kernel, name, None)
    if found is None:
        raise ValueError(f"this prediction needs the kernel {name!r}, which was not given: get=('nngp', 'ntk').")
    return found


def _check_both(*kernels: Any) -> None:
    if not all(getattr(k, "nngp", None) is not None for k in kernels):
        raise ValueError(
            "the covariance of trained networks needs the NNGP as well: give k_train_train and k_test_train with both, "
            "kernel_fn(x1, x2, get=('nngp', 'ntk'))."
        )
