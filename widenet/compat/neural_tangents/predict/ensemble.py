"""Ensembles of infinitely wide networks trained on the squared error, from their kernel function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from widenet import checks
from widenet.compat.neural_tangents.arguments import split_kwargs
from widenet.compat.neural_tangents.kernel import Get, answer, as_matrix, tuple_type, wanted
from widenet.compat.neural_tangents.predict.blocks import Targets, as_kernel, regularized, row_shape, targets
from widenet.compat.neural_tangents.predict.inference import Gaussian, gp_inference
from widenet.compat.neural_tangents.predict.solve import decayed, eigenbasis, learned


def gradient_descent_mse_ensemble(
    kernel_fn: Callable[..., Any],
    x_train: Any,
    y_train: Any,
    learning_rate: Any = 1.0,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
    **kernel_fn_train_train_kwargs: Any,
) -> Callable[..., Any]:
    """`predict_fn(t=None, x_test=None, get=None, compute_cov=False, **kernel_fn_test_test_kwargs)`.

    kernel_fn(x1, x2, get): analytic, Monte Carlo or empirical.  get "ntk": networks trained for t steps from random
    starts; "nngp": only their last layer; None: both.  t: a number, an array, or None for the end of training.
    x_test=None is the training set without regularization.  compute_cov gives `Gaussian(mean, covariance)`.
    Kernels and factorizations of the training set are kept.
    """
    y = targets(y_train, trace_axes)
    ensemble = Ensemble(kernel_fn, x_train, y, diag_reg, diag_reg_absolute_scale, kernel_fn_train_train_kwargs)

    def predict_fn(t: Any = None, x_test: Any = None, get: Get = None, compute_cov: bool = False, **kwargs: Any) -> Any:
        names = wanted(get) or ("nngp", "ntk")
        if set(names) - {"nngp", "ntk"}:
            raise NotImplementedError(f"predictions are 'nngp' or 'ntk'; got {get!r}.")
        needed = tuple(n for n in ("nngp", "ntk") if n in names or (n == "nngp" and compute_cov and "ntk" in names))
        k_dd = ensemble.train(needed)
        k_td, k_tt = ensemble.test(x_test, needed, compute_cov, kwargs)
        asked = names if get is None else get
        if t is None:
            prior = None if not compute_cov else True if x_test is None else k_tt
            return ensemble.inference(k_dd)(asked, k_td, prior)
        times = jnp.asarray(t) * learning_rate
        made = {name: ensemble.at(name, times, k_dd, k_td, k_tt, compute_cov) for name in names}
        return answer("Gaussians", asked, made)

    return predict_fn


class Ensemble:
    """The training set, with its kernels; what is known of them, and not traced, is kept."""

    def __init__(
        self,
        kernel_fn: Callable[..., Any],
        x: Any,
        y: Targets,
        diag_reg: Any,
        absolute: bool,
        kwargs: Mapping[str, Any],
    ) -> None:
        self.kernel_fn, self.x, self.y, self.kwargs = kernel_fn, x, y, dict(kwargs)
        self.diag_reg, self.absolute = diag_reg, absolute
        self.known: dict[str, Any] = {}
        self.bases: dict[str, Any] = {}
        self.posteriors: dict[tuple[str, ...], Any] = {}

    def train(self, names: tuple[str, ...]) -> Any:
        """The kernels of the training set."""
        missing = tuple(name for name in names if name not in self.known)
        found = dict(self.known)
        if missing:
            made = self.kernel_fn(self.x, None, missing, **self.kwargs)
            found |= {name: getattr(made, name) for name in missing}
        if not any(map(checks.is_traced, found.values())):
            self.known = found
        return tuple_type("Kernel", tuple(sorted(found)))(*(found[name] for name in sorted(found)))

    def test(self, x: Any, names: tuple[str, ...], cov: bool, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """The kernels of test against training samples, and the NNGP of the test samples."""
        if x is None:
            return None, None
        mixed, own = self._options(kwargs)
        test_train = self.kernel_fn(x, self.x, names, **mixed)
        return test_train, self.kernel_fn(x, None, "nngp", **own) if cov else None

    def _options(self, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keyword arguments for test against training samples, and for test samples."""
        of_train, _ = split_kwargs(self.kwargs, self.x, None)
        of_test, _ = split_kwargs(kwargs, self.x, None)
        own = self.kwargs | dict(kwargs)
        mixed = {
            k: (of_test[k], of_train[k]) if _is_pair(kwargs.get(k)) and k in of_train else v for k, v in own.items()
        }
        return mixed, own

    def inference(self, k: Any) -> Callable[..., Any]:
        """The posteriors of these kernels of the training set."""
        made = self.posteriors.get(k._fields)
        if made is None:
            made = gp_inference(k, self.y.y, self.diag_reg, self.absolute, self.y.traced)
            if not any(map(checks.is_traced, k)):
                self.posteriors[k._fields] = made
        return made

    def basis(self, name: str, k: Any) -> Any:
        """Eigenvalues and eigenvectors of the regularized kernel."""
        matrix = regularized(k, self.diag_reg, self.absolute)
        if checks.is_traced(matrix):
            return eigenbasis(matrix)
        if name not in self.bases:
            self.bases[name] = eigenbasis(matrix)
        return self.bases[name]

    def at(self, name: str, t: jax.Array, k_dd: Any, k_td: Any, k_tt: Any, cov: bool) -> Any:
        """Mean, and covariance if asked for, at the times t."""
        own = getattr(k_dd, name)
        values, vectors = self.basis(name, own)
        size, times = self.y.y.size, t.reshape(-1, 1)
        inner = vectors.T @ self.y.columns(self.y.y).astype(own.dtype)
        if k_td is None:
            rows = row_shape(own)
            mean = jnp.einsum("ji,ti,ik->tjk", vectors, -decayed(values / size, times), inner)
            matrix = self._train_covariance(name, values, vectors, times, k_dd) if cov else None
        else:
            test = getattr(k_td, name)
            rows = row_shape(test)
            weights = jnp.einsum(
                "lj,ji,ti,ki->tlk", as_matrix(test), vectors, learned(values / size, times) / size, vectors
            )
            mean = weights @ self.y.columns(self.y.y).astype(own.dtype)
            matrix = self._test_covariance(name, values, vectors, times, weights, k_dd, k_td, k_tt) if cov else None
        mean = self._at_times(self.y.outputs(mean, rows), t)
        return mean if matrix is None else Gaussian(mean, self._at_times(as_kernel(matrix, rows, rows), t))

    def _at_times(self, stack: jax.Array, t: jax.Array) -> jax.Array:
        return stack.reshape(*t.shape, *stack.shape[1:])

    def _train_covariance(self, name: str, values: Any, vectors: Any, times: Any, k_dd: Any) -> jax.Array:
        left = 1 + decayed(values / self.y.y.size, times)  # what is left of the start
        if name == "nngp":
            return jnp.einsum("ji,ti,ki->tjk", vectors, values * left**2, vectors)
        rest = jnp.einsum("ji,ti,ki->tjk", vectors, left, vectors)
        return rest @ as_matrix(k_dd.nngp) @ jnp.swapaxes(rest, 1, 2)

    def _test_covariance(
        self, name: str, values: Any, vectors: Any, times: Any, weights: Any, k_dd: Any, k_td: Any, k_tt: Any
    ) -> jax.Array:
        prior, test = as_matrix(k_tt), as_matrix(k_td.nngp)
        if name == "nngp":
            size = self.y.y.size
            twice = learned(values / size, 2 * times) / size
            return prior - jnp.einsum("lj,ji,ti,ki,mk->tlm", test, vectors, twice, vectors, test)
        mixed = weights @ test.T
        own = weights @ as_matrix(k_dd.nngp) @ jnp.swapaxes(weights, 1, 2)
        return prior + own - mixed - jnp.swapaxes(mixed, 1, 2)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2
