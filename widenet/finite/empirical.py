"""Kernels of one network at one set of parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from widenet import checks
from widenet.finite.blocks import Job, Size, as_one_batch, block_size, in_blocks, on_device, traced_blocks
from widenet.finite.expansion import Function
from widenet.finite.forward import NetFunction, function_of
from widenet.finite.jacobian import Reader, jacobian_reader
from widenet.finite.structured import structured_reader
from widenet.precision import float64
from widenet.program.samples import Samples, features_of, is_traced
from widenet.program.trace import Net

KernelFunction = Callable[..., Any]


def empirical_nngp(f: Function | Net, params: Any) -> KernelFunction:
    """Second moments of the outputs of one network: `empirical_nngp(f, params)(x1, x2=None)`.

    K(x1, x2) = (1/k) sum_o f_o(x1) f_o(x2)                (F3)

    f: an architecture, or any f(params, x) with output `[n, ..., k]`; all but the first axis are outputs.
    Shapes: `[n1, ...]`, `[n2, ...]` to `[n1, n2]`.  dtype: as for `empirical_ntk`.
    """
    function = as_function(f)
    outputs = jax.jit(lambda p, x: function(p, x).reshape(x.shape[0], -1))

    def kernel(x1: Any, x2: Any = None) -> Any:
        x1, x2 = _data(x1, x2)
        with precision_of(x1):
            y1 = outputs(params, on_device(x1))
            y2 = y1 if x2 is None else outputs(params, on_device(x2))
            gram = jnp.einsum("io,jo->ij", y1, y2, precision=jax.lax.Precision.HIGHEST) / y1.shape[1]
            return as_kind(gram, x1)

    return kernel


def empirical_ntk(f: Function | Net, params: Any) -> KernelFunction:
    """The tangent kernel of one network, mean over its outputs: `empirical_ntk(f, params)(x1, x2=None)`.

    Theta(x1, x2) = (1/k) sum_o sum_theta df_o(x1)/dtheta df_o(x2)/dtheta                (F5)

    f: an architecture (a function of one variable), or any f(params, x) with a pytree of parameters and output
    `[n, ..., k]`, whose row i depends on x[i] only; all but the first axis are outputs.  Integer leaves of `params` are
    no parameters.  Every output costs a backward pass: of an architecture whose readout has no `width` they are as many
    as hidden channels, so give it `width=1` where one is enough.  Of an architecture no gradient of a weight matrix is
    formed (F4), which is faster and smaller.
    Shapes: x1 `[n1, ...]`, x2 `[n2, ...]` to `[n1, n2]`.  x2=None is x1 with itself, for half the work.
    Memory: blocks of samples and outputs of 128 MB, or one gradient of one output if that is larger.
    dtype: that of f; numpy float64 data are computed in float64.  numpy in, numpy out.  Traced data and parameters
    work.
    Raises: ValueError for an empty batch, or samples of x1 and x2 of different shapes.

    >>> import numpy as np, widenet as wn
    >>> net = wn.serial(wn.dense(), wn.relu, wn.dense(width=2))
    >>> wn.empirical_ntk(net, wn.init(net, 0, (1, 3), width=64))(np.eye(3)).shape
    (3, 3)
    """
    return _tangent_kernel(f, params, output_axes=0)


def empirical_ntk_diagonal(f: Function | Net, params: Any) -> KernelFunction:
    """The tangent kernel of every output with itself, `[n1, n2, *outputs]` (F5); see `empirical_ntk`."""
    return _tangent_kernel(f, params, output_axes=1)


def empirical_ntk_full(f: Function | Net, params: Any) -> KernelFunction:
    """The tangent kernel of all pairs of outputs, `[n1, n2, *outputs, *outputs]` (F5); see `empirical_ntk`."""
    return _tangent_kernel(f, params, output_axes=2)


def is_architecture(f: Any) -> bool:
    """Is `f` a function of one variable, rather than one of parameters and data?"""
    required = [p for p in inspect.signature(f).parameters.values() if p.default is p.empty]
    positional = [p for p in required if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) == 1 and not any(p.kind is p.VAR_POSITIONAL for p in required)


def as_function(f: Any) -> Function:
    """f(params, x), of an architecture or of such a function."""
    return function_of(f) if is_architecture(f) else f


def reader_of(f: Any) -> Reader:
    """How the tangent kernel of an architecture, or of any f(params, x), is computed."""
    if isinstance(f, NetFunction):
        f = f.net
    return structured_reader(f) if is_architecture(f) else jacobian_reader(f)


def _tangent_kernel(f: Any, params: Any, output_axes: int) -> KernelFunction:
    reader, function = reader_of(f), as_function(f)
    plans: dict[Any, Plan] = {}

    def kernel(x1: Any, x2: Any = None) -> Any:
        x1, x2 = _data(x1, x2)
        if is_architecture(f):
            x1, x2 = _as_floats(x1), _as_floats(x2)
        with precision_of(x1):
            rows = max(x1.shape[0], 0 if x2 is None else x2.shape[0])
            form = rows, *((part.shape, part.dtype) for part in jax.tree.leaves(x1))
            if form not in plans:
                plans[form] = _plan(reader, function, params, x1, rows, output_axes)
            theta = _compute(plans[form], x1, x2)
            return as_kind(theta.reshape(*theta.shape[:2], *plans[form].out * output_axes), x1)

    return kernel


class Plan(NamedTuple):
    """How the kernel of data of one shape is computed: what tracing the network says."""

    job: Job
    out: tuple[int, ...]  # the axes of outputs
    size: Size | None  # of blocks; None where samples of a batch depend on each other


def _plan(reader: Reader, f: Function, params: Any, x1: Any, rows: int, output_axes: int) -> Plan:
    out = jax.eval_shape(f, params, x1[:1]).shape[1:]
    job = Job(reader, params, math.prod(out), output_axes)
    return Plan(job, out, None if reader.coupled(x1.shape) else block_size(job, x1, rows))


def _compute(plan: Plan, x1: Any, x2: Any) -> Any:
    if plan.size is None:
        return as_one_batch(plan.job, x1, x2)
    if is_traced((plan.job.params, x1, x2)):
        return traced_blocks(plan.job, on_device(x1), on_device(x1 if x2 is None else x2), plan.size)
    return in_blocks(plan.job, x1, x2, plan.size)


def _data(x1: Any, x2: Any) -> tuple[Any, Any]:
    x1, x2 = (x if x is None or isinstance(x, (jax.Array, Samples)) else np.asarray(x) for x in (x1, x2))
    for name, x in (("x1", x1), ("x2", x2)):
        if x is not None and 0 in (x.shape or (0,)):
            raise ValueError(f"{name} must be a batch [n, ...] of at least one sample, but has shape {x.shape}.")
    if x2 is not None:
        checks.same_features(x1, x2)
    return x1, x2


def _as_floats(x: Any) -> Any:
    if isinstance(x, Samples):
        return Samples(_as_floats(x.x), x.mask, x.graph)
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind in "iub" else x


def precision_of(x: Any) -> Any:
    """The context in which numpy data are computed in their own precision."""
    return float64() if isinstance(features_of(x), np.ndarray) else nullcontext()


def as_kind(array: Any, like: Any) -> Any:
    """numpy for numpy, jax for jax."""
    if checks.is_traced(array):
        return array
    return np.asarray(array) if isinstance(features_of(like), np.ndarray) else jnp.asarray(array)
