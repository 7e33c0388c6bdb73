"""Gradient descent on the squared error, in continuous time and closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet import checks
from widenet.compat.neural_tangents.kernel import as_matrix
from widenet.compat.neural_tangents.predict.blocks import Targets, regularized, row_shape, targets
from widenet.compat.neural_tangents.predict.solve import decayed, eigenbasis, learned, solver


def gradient_descent_mse(
    k_train_train: Any,
    y_train: Any,
    learning_rate: Any = 1.0,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> Callable[..., Any]:
    """Functions trained on |f - y|^2 / (2 y.size).

    Gives `predict_fn(t=None, fx_train_0=0.0, fx_test_0=None, k_test_train=None)`:

    f_t(x) = f_0(x) + K_xX K^-1 (1 - e^(-eta t K / y.size)) (y - f_0(X))

    t: steps, a number or an array of them, None for the end of training.  fx_train_0, fx_test_0: the outputs at the
    start; None leaves a set out.  Gives outputs `[*t, ...]` of the training set, of the test set, or a pair of both.
    diag_reg: added to the diagonal of K, in units of its mean or absolute.
    trace_axes: axes of y along which the kernel is the same and absent.
    """
    flow = Flow(jnp.asarray(k_train_train), targets(y_train, trace_axes), diag_reg, diag_reg_absolute_scale)

    def predict_fn(t: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None) -> Any:
        check_start(fx_train_0, fx_test_0, k_test_train)
        made = flow.end(fx_train_0, fx_test_0, k_test_train) if t is None else None
        train, test = made or flow.at(jnp.asarray(t) * learning_rate, fx_train_0, fx_test_0, k_test_train)
        return train if fx_test_0 is None else test if fx_train_0 is None else (train, test)

    return predict_fn


def check_start(fx_train_0: Any, fx_test_0: Any, k_test_train: Any) -> None:
    """Raise a ValueError if nothing is asked for, or the test set without its kernel."""
    if fx_train_0 is None and fx_test_0 is None:
        raise ValueError("fx_train_0 and fx_test_0 are both None: nothing is to be predicted.")
    if fx_test_0 is not None and k_test_train is None:
        raise ValueError("predictions on the test set need k_test_train, the kernel of test against training samples.")


class Flow:
    """The dynamics of one training set; what is factored is kept."""

    def __init__(self, k: jax.Array, y: Targets, diag_reg: Any, absolute: bool) -> None:
        self.k, self.y = k, y
        self.matrix = regularized(k, diag_reg, absolute)

    @cached_property
    def _known_solve(self) -> Any:
        return solver(self.matrix)

    @cached_property
    def _known_basis(self) -> Any:
        return eigenbasis(self.matrix)

    @property
    def solve(self) -> Any:
        """matrix^-1; made anew for a traced matrix, so that nothing of a trace is kept."""
        return solver(self.matrix) if checks.is_traced(self.matrix) else self._known_solve

    @property
    def basis(self) -> Any:
        """Eigenvalues and eigenvectors of the matrix."""
        return eigenbasis(self.matrix) if checks.is_traced(self.matrix) else self._known_basis

    def _residual(self, fx_train_0: Any) -> jax.Array:
        """y - f_0."""
        begin = 0.0 if fx_train_0 is None else fx_train_0
        return self.y.columns(jnp.broadcast_to(self.y.y - begin, self.y.y.shape).astype(self.matrix.dtype))

    def end(self, fx_train_0: Any, fx_test_0: Any, k_test_train: Any) -> tuple[Any, Any]:
        """The end of training."""
        train = self.y.y.astype(self.k.dtype)
        if fx_test_0 is None:
            return train, None
        moved = as_matrix(k_test_train) @ self.solve(self._residual(fx_train_0))
        return train, fx_test_0 + self.y.outputs(moved, row_shape(k_test_train))

    def at(self, t: jax.Array, fx_train_0: Any, fx_test_0: Any, k_test_train: Any) -> tuple[Any, Any]:
        """At the times t."""
        values, vectors = self.basis
        rates, times = values / self.y.y.size, t.reshape(-1, 1)
        inner = vectors.T @ self._residual(fx_train_0)
        train = test = None
        if fx_train_0 is not None:
            gone = jnp.einsum("ji,ti,ik->tjk", vectors, -decayed(rates, times), inner)
            train = self._added(fx_train_0, gone, row_shape(self.k), t)
        if fx_test_0 is not None:
            weights = jnp.einsum("ji,ti,ik->tjk", vectors, learned(rates, times) / self.y.y.size, inner)
            moved = jnp.einsum("lj,tjk->tlk", as_matrix(k_test_train), weights)
            test = self._added(fx_test_0, moved, row_shape(k_test_train), t)
        return train, test

    def _added(self, start: Any, moved: jax.Array, rows: tuple[int, ...], t: jax.Array) -> jax.Array:
        change = self.y.outputs(moved, rows)
        return start + change.reshape(*t.shape, *change.shape[1:])


def max_learning_rate(
    ntk_train_train: Any, y_train_size: int | None = None, momentum: float = 0.0, eps: float = 1e-12
) -> Any:
    """The largest stable learning rate on |f - y|^2 / (2 y.size): 2 (1 + momentum) y.size / (largest eigenvalue + eps).

    y_train_size: the size of y, of outputs and samples; None takes that of the kernel, which is right for
    trace_axes=().  (The peer fails with scipy 1.14 and later.)
    """
    matrix = as_matrix(jnp.asarray(ntk_train_train))
    size = matrix.shape[0] if y_train_size is None else y_train_size
    if checks.is_traced(matrix):
        return 2 * (1 + momentum) * size / (jnp.linalg.eigvalsh(matrix)[-1] + eps)
    largest = np.linalg.eigvalsh(np.asarray(matrix, np.float64))[-1]
    return 2 * (1 + momentum) * size / (float(largest) + eps)
