"""Are the data what a computation needs?  Asked before anything long begins."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SHOWN = 5  # bad rows to name


def is_traced(x: Any) -> bool:
    """Is `x` an abstract value, inside somebody's jit, grad or vmap?"""
    if not isinstance(x, jax.Array):
        return False
    try:
        np.asarray(x)
    except jax.errors.TracerArrayConversionError:
        return True
    return False


def batch(x: Any, name: str) -> Any:
    """`x` as a batch `[n, ..., d]`: a jax array or a numpy array of floating-point numbers.

    Lists, integers, booleans and long doubles become numpy float64; other floating-point dtypes are kept, in native
    byte order; traced values pass.
    Raises: TypeError for what is not numeric; ValueError for a wrong shape, an empty batch, NaN or infinity.
    """
    if is_traced(x):
        return x
    x = _as_array(x, name)
    if x.ndim < 2:
        hint = f"; for one sample write {name}[None]" if x.ndim == 1 else ""
        raise ValueError(f"{name} must be a batch [n, ..., d], but has shape {x.shape}{hint}.")
    if 0 in x.shape:
        raise ValueError(f"{name} is empty: its shape is {x.shape}; give at least one sample and one feature.")
    finite = np.isfinite(np.asarray(x))  # numpy's: jax would first round float64 to float32, where 1e300 is infinite
    bad = np.flatnonzero(~finite.reshape(len(x), -1).all(axis=1))
    if len(bad):
        rows = ", ".join(map(str, bad[:SHOWN])) + (", ..." if len(bad) > SHOWN else "")
        raise ValueError(
            f"{name} has NaN or infinite values in {len(bad)} of {len(x)} rows ({rows}): drop or impute them."
        )
    return x


def _as_array(x: Any, name: str) -> Any:
    array = x if isinstance(x, jax.Array) else _to_numpy(x, name)
    if array.dtype.kind in "iub" or array.dtype == np.longdouble:
        return np.asarray(array, np.float64)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array if isinstance(array, jax.Array) else np.asarray(array, array.dtype.newbyteorder("="))
    raise TypeError(f"{name} must hold real numbers, but has dtype {array.dtype}; convert it to a float array.")


def _to_numpy(x: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(x)
    except ValueError as error:
        raise TypeError(f"{name} is not a rectangular array: {error}; give rows of equal length.") from None


def same_features(x1: Any, x2: Any) -> None:
    """Raise a ValueError unless samples of x1 and x2 have one shape."""
    if x1.shape[1:] == x2.shape[1:]:
        return
    if x1.ndim == x2.ndim == 2:
        raise ValueError(
            f"x1 has {x1.shape[1]} features, x2 has {x2.shape[1]}: a kernel compares samples of one shape."
        )
    raise ValueError(
        f"samples of x1 have shape {x1.shape[1:]}, those of x2 {x2.shape[1:]}: a kernel compares samples of one shape."
    )
