"""Initializers with the signature of `jax.nn.initializers`: init(key, shape, dtype=None, out_sharding=None)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.checks import is_traced
from widenet.initializers.fans import JAX, MODES, Axes, Axis, Fans, fans
from widenet.initializers.gains import Gain, as_gain
from widenet.initializers.laws import (
    BlockSparse,
    Cayley,
    Haar,
    Law,
    LowRank,
    Normal,
    Permuted,
    TruncatedNormal,
    Uniform,
)


@dataclass(frozen=True)
class Initializer:
    """gain times a matrix law, in the layout of a weight: variance gain^2 / fan of every entry. (I1)

    Equal initializers compare equal and can be hashed, so modules that hold one compile once.
    """

    law: Law
    gain: Any = 1.0  # sigma_w
    mode: str = "fan_in"
    axes: Axes = JAX

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> Array:
        """A weight of `shape`; `key` is a jax key or a whole number, `dtype` jax's default if None.

        Precisions below float32 are computed in float32 and rounded.
        Raises: ValueError for a shape with a fan of 0, or one that the law does not have; TypeError for a dtype that
        is not floating.
        """
        layout, dtype, wide = fans(shape, self.axes), floating(dtype), wide_enough(dtype)
        draw = self._draw(layout, wide)
        keys = jax.random.split(as_key(key), layout.batch) if self.axes.batch_axis else as_key(key)[None]
        weight = layout.weight(jax.vmap(draw)(keys)) * jnp.asarray(self._scale(layout), wide)
        return placed(weight.astype(dtype), out_sharding)

    def _draw(self, layout: Fans, dtype: Any) -> Callable[[Array], Array]:
        return lambda key: self.law.matrix(key, layout.fan_in, layout.n_out, dtype)

    def _scale(self, layout: Fans) -> Any:
        return self.gain * np.sqrt(layout.fan_in / layout.modes[self.mode])

    @property
    def c_w(self) -> Any:
        """sigma_w^2, the variance of a weight times its fan."""
        return self.gain**2


@dataclass(frozen=True)
class Delta(Initializer):
    """The matrix at the centre of the window, zero elsewhere. (I8)"""

    def _draw(self, layout: Fans, dtype: Any) -> Callable[[Array], Array]:
        if not layout.window:
            raise ValueError(f"delta_orthogonal needs a window, [*window, in, out], but the shape is {layout.shape}.")
        if layout.n_in > layout.n_out:
            raise ValueError(
                f"delta_orthogonal keeps lengths only if there are at least as many outputs as inputs, not "
                f"{layout.n_in} -> {layout.n_out}: use initializers.orthogonal, or widen the layer."
            )

        def draw(key: Array) -> Array:
            centre = tuple((size - 1) // 2 for size in layout.window)  # where "SAME" padding of jax has it
            taps = jnp.zeros((*layout.window, layout.n_in, layout.n_out), dtype)
            return taps.at[centre].set(self.law.matrix(key, layout.n_in, layout.n_out, dtype))

        return draw


@dataclass(frozen=True)
class Constant:
    """One value everywhere, for weights and vectors of any shape."""

    value: Any = 0.0

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> Array:
        """An array of `shape`; `key` is not used."""
        del key
        return placed(jnp.full(tuple(shape), self.value, floating(dtype)), out_sharding)


@dataclass(frozen=True)
class Bias:
    """Independent N(0, sigma_b^2), whatever the shape."""

    sigma_b: Any = 0.0

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> Array:
        """An array of `shape`."""
        wide = wide_enough(dtype)
        draw = jax.random.normal(as_key(key), tuple(shape), wide) * jnp.asarray(self.sigma_b, wide)
        return placed(draw.astype(floating(dtype)), out_sharding)


def as_key(key: Any) -> Array:
    """A typed key of a key, its raw data, or a whole number."""
    if isinstance(key, int | np.integer):
        return jax.random.key(int(key))
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def floating(dtype: Any) -> Any:
    """`dtype`, or jax's default.

    Raises: TypeError if it is not a floating one.
    """
    dtype = jnp.zeros(()).dtype if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"weights are real numbers, but the dtype is {dtype}: give a floating one, such as float32.")
    return dtype


def wide_enough(dtype: Any) -> Any:
    """The precision to compute in: that of `dtype`, but at least float32."""
    return jnp.promote_types(floating(dtype), jnp.float32)


def placed(weight: Array, out_sharding: Any) -> Array:
    """The weight where it belongs."""
    return weight if out_sharding is None else jax.device_put(weight, out_sharding)


def normal(
    gain: Gain = 1.0, *, mode: str = "fan_in", in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()
) -> Initializer:
    """Independent N(0, gain^2 / fan). (I1)

    `gain` is sigma_w, or an activation whose critical sigma_w is meant; `mode` is one of fan_in, fan_out, fan_avg,
    fan_geo_avg.  With the gains 1 and sqrt(2): LeCun's and He's; with fan_avg: Glorot's.
    Raises: ValueError for an unknown mode, or an activation with no critical point.
    Source: lecun2012; glorot2010; he2015.
    """
    return _initializer(Normal(), gain, mode, Axes.of(in_axis, out_axis, batch_axis))


def truncated_normal(
    gain: Gain = 1.0, *, bound: float = 2.0, mode: str = "fan_in", in_axis: Axis = -2, out_axis: Axis = -1
) -> Initializer:
    """Normals cut at +-bound standard deviations, with the variance gain^2 / fan after the cut. (I2)

    Raises: ValueError for a bound that is not positive, and as `normal`.
    """
    if not 0 < bound < float("inf"):
        raise ValueError(f"truncated_normal: bound is {bound}, but must be positive and finite.")
    return _initializer(TruncatedNormal(float(bound)), gain, mode, Axes.of(in_axis, out_axis))


def uniform(
    gain: Gain = 1.0, *, mode: str = "fan_in", in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()
) -> Initializer:
    """Independent and uniform on +-gain sqrt(3 / fan). (I1)

    Raises: as `normal`.
    """
    return _initializer(Uniform(), gain, mode, Axes.of(in_axis, out_axis, batch_axis))


def orthogonal(
    gain: Gain = 1.0,
    *,
    variance_preserving: bool = True,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
) -> Initializer:
    """gain times uniform orthonormal rows or columns, and sqrt(n_out / n_in) more where a layer widens. (I3)

    A convolution is the matrix [window * in, out].  `variance_preserving=False` leaves the second factor out, as
    torch, jax and keras do.
    Source: saxe2014; the factor: martens2021.
    """
    return _initializer(Haar(variance_preserving), gain, "fan_in", Axes.of(in_axis, out_axis, batch_axis))


def delta_orthogonal(
    gain: Gain = 1.0,
    *,
    variance_preserving: bool = True,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
) -> Initializer:
    """`orthogonal` at the centre of a convolution's window, zero elsewhere: an isometry of images. (I8)

    Raises: when called, ValueError for a shape without a window, or with more inputs than outputs.
    Source: xiao2018.
    """
    axes = Axes.of(in_axis, out_axis, batch_axis)
    return Delta(Haar(variance_preserving), as_gain(gain), axes=axes)


def low_rank(
    ratio: float, gain: Gain = 1.0, *, in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()
) -> Initializer:
    """Weights of rank ratio n_out: random orthonormal vectors times normals. (I5)

    Raises: ValueError unless 0 < ratio <= 1.
    Source: naitsaada2024.
    """
    _share("low_rank", "ratio", ratio)
    return _initializer(LowRank(float(ratio)), gain, "fan_in", Axes.of(in_axis, out_axis, batch_axis))


def block_sparse(
    density: float, block: int = 1, gain: Gain = 1.0, *, in_axis: Axis = -2, out_axis: Axis = -1
) -> Initializer:
    """Normals on a share `density` of random blocks `[block, block]`, with rows and columns in random order. (I6)

    Raises: ValueError unless 0 < density <= 1 and block >= 1.
    Source: naitsaada2024.
    """
    _share("block_sparse", "density", density)
    if block < 1:
        raise ValueError(f"block_sparse: block is {block}, but must be at least 1.")
    return _initializer(BlockSparse(float(density), int(block)), gain, "fan_in", Axes.of(in_axis, out_axis))


def permuted(
    mask: Any, gain: Gain = 1.0, *, in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()
) -> Initializer:
    """Normals where `mask` [fan_in, out] is true, with its rows and columns in random order. (I6)

    Raises: ValueError for a mask that is no matrix or all false; when called, for a weight of another shape.
    Source: naitsaada2024.
    """
    mask = np.asarray(mask, bool)
    if mask.ndim != 2 or not mask.any():
        raise ValueError(
            f"permuted: the mask must be a matrix [fan_in, out] with a true entry; its shape: {mask.shape}."
        )
    law = Permuted((mask.shape[0], mask.shape[1]), mask.tobytes())
    return _initializer(law, gain, "fan_in", Axes.of(in_axis, out_axis, batch_axis))


def cayley(gain: Gain = 1.0, *, in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()) -> Initializer:
    """Square orthogonal matrices by Cayley's transform: a linear solve instead of a QR decomposition. (I7)

    Raises: when called, ValueError for a matrix that is not square.
    """
    return _initializer(Cayley(), gain, "fan_in", Axes.of(in_axis, out_axis, batch_axis))


def constant(value: float) -> Constant:
    """`value` everywhere."""
    return Constant(value)


def bias(sigma_b: float) -> Bias:
    """Independent N(0, sigma_b^2): a bias, whose variance has no fan."""
    return Bias(sigma_b)


def _initializer(law: Law, gain: Gain, mode: str, axes: Axes) -> Initializer:
    if mode not in MODES:
        raise ValueError(f"the mode {mode!r} is not known: use one of {', '.join(MODES)}.")
    return Initializer(law, as_gain(gain), mode, axes)


def _share(name: str, what: str, value: float) -> None:
    if not is_traced(value) and not 0 < value <= 1:
        raise ValueError(f"{name}: {what} is {value}, but must be in (0, 1].")
