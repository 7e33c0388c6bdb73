"""The ensemble of random finite networks: Monte Carlo estimates of the kernels of the limit."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet import checks
from widenet.finite import function_space
from widenet.finite.empirical import as_kind, precision_of
from widenet.finite.forward import evaluate
from widenet.finite.moments import Moments
from widenet.finite.parameters import as_key, draw_program, whole_width
from widenet.finite.structured import contract, output_and_features, rows
from widenet.precision import float64
from widenet.program.samples import checked, is_traced
from widenet.program.trace import Net, Program, trace
from widenet.program.var import describe, shape_text
from widenet.progress import progress

# Outputs of which the tangent kernel is computed when the output is as wide as the network.
NTK_OUTPUTS = 4
# A stopping rule looks only so often: looking after every sample would stop on lucky, too small errors.
LOOK_EVERY = 16
# Numbers that the networks of one batch may hold (more leave the cache and gain nothing), and the most networks.
BATCH_NUMBERS, BATCH_NETWORKS = 2**21, 64
# Batches that are drawn at a time: one alone does not keep all cores busy.
AHEAD = 4


class MonteCarlo(NamedTuple):
    """Means over random networks and their standard errors; a kernel that was not asked for is None."""

    nngp: Any  # [n1, n2]
    nngp_error: Any
    ntk: Any
    ntk_error: Any
    samples: int  # networks drawn
    reached: bool = True  # False if a tolerance was asked for and not reached


class Wanted(NamedTuple):
    """Which kernels are computed."""

    nngp: bool
    ntk: bool


Estimator = Callable[..., MonteCarlo]


def monte_carlo(
    net: Net, key: Any, width: int, samples: int, *, tolerance: float | None = None, batch: int | None = None
) -> Estimator:
    """NNGP and NTK of random networks of hidden width `width`: `monte_carlo(...)(x1, x2=None)`.

    mean = (1/m) sum_i k_i,   error = sqrt(sum_i (k_i - mean)^2 / (m (m - 1)))                (F6)

    with k_i the kernel of network i: f(x1) f(x2), mean over the outputs (F3), and the inner product of gradients, mean
    over the outputs (F5), of which 4 are used if there are as many as hidden channels.  Both are those of the limit up
    to a bias O(1/width), which the error does not contain.  Dropout masks are drawn for every sample: a row of x1 with
    a row of x2 has two masks; for x2=None an entry (i, i) has one.

    key: an integer or a jax key; network i is drawn from `fold_in(key, i)`, so `batch` does not change the result.
    samples: the most networks that are drawn.  tolerance: stop once the relative standard error, in Frobenius norm, of
    every kernel is below (F8); if it never is, warn, and `reached` is False.  batch: networks at a time; None chooses
    by memory.  Shapes: x1 `[n1, *positions, d]`, x2 `[n2, *positions, d]` to `[n1, n2]`.
    dtype: numpy in, numpy out, in its precision.  Inside somebody's jit or grad the data may be traced.
    Raises: ValueError for fewer than two samples, bad data, or an architecture whose output still has positions.

    >>> import numpy as np, widenet as wn
    >>> net = wn.serial(wn.dense(), wn.relu, wn.dense())
    >>> estimate = wn.monte_carlo(net, 0, width=128, samples=100)(np.eye(2))
    >>> bool((abs(estimate.nngp - wn.nngp(net)(np.eye(2))) < 5 * estimate.nngp_error).all())
    True
    """
    return _estimator(net, key, width, samples, Wanted(True, True), tolerance, batch)


def monte_carlo_nngp(
    net: Net, key: Any, width: int, samples: int, *, tolerance: float | None = None, batch: int | None = None
) -> Estimator:
    """The NNGP alone, without a backward pass; see `monte_carlo`.

    Where a layer is wider than all samples and positions together, what it makes is drawn instead of its weights, which
    has the same law (F11), so the numbers are not those of `monte_carlo`.  Inside of somebody's jit it is not.
    """
    return _estimator(net, key, width, samples, Wanted(True, False), tolerance, batch)


def monte_carlo_ntk(
    net: Net, key: Any, width: int, samples: int, *, tolerance: float | None = None, batch: int | None = None
) -> Estimator:
    """The NTK alone; see `monte_carlo`."""
    return _estimator(net, key, width, samples, Wanted(False, True), tolerance, batch)


def _estimator(
    net: Net, key: Any, width: int, samples: int, wanted: Wanted, tolerance: float | None, batch: int | None
) -> Estimator:
    width, samples = whole_width(width), int(samples)
    _check_request(samples, tolerance, batch)
    of_weights = jax.jit(jax.vmap(partial(_one_network, net, width, wanted), (None, 0, None, None)))
    of_functions = jax.jit(jax.vmap(partial(_one_function, net, width), (None, 0, None, None)))

    def estimate(x1: Any, x2: Any = None) -> MonteCarlo:
        x1, x2 = _data(x1, x2)
        program = _with_readout(trace(net, x1.shape), x1.shape)
        n = x1.shape[0] + (0 if x2 is None else x2.shape[0])
        functions = not (wanted.ntk or is_traced((x1, x2))) and function_space.is_cheaper(program, width, n)
        with float64() if functions else precision_of(x1), jax.default_matmul_precision("highest"):
            seed = as_key(key)
            if is_traced((x1, x2)):
                return _traced(partial(_one_network, net, width, wanted, seed), x1, x2, samples, tolerance)
            count, draw = (function_space.numbers, of_functions) if functions else (_numbers, of_weights)
            data = jax.tree.map(jnp.asarray, (x1, x2))
            size = min(samples, batch or batch_size(count(program, width, _joined(*data))))
            networks = _networks(lambda i: draw(seed, i, *data), samples, size)
            moments, reached = _accumulate(networks, tolerance)
        return _result(moments, reached, tolerance, x1)

    return estimate


def _check_request(samples: int, tolerance: float | None, batch: int | None) -> None:
    if samples < 2:
        raise ValueError(f"a standard error needs two samples or more; got samples={samples}.")
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f"tolerance is a relative standard error and must be > 0; got {tolerance}.")
    if batch is not None and batch < 1:
        raise ValueError(f"batch is the number of networks at a time, at least 1; got {batch}.")


def _data(x1: Any, x2: Any) -> tuple[Any, Any]:
    x1 = checked(x1, "x1")
    if x2 is not None:
        x2 = checked(x2, "x2")
        checks.same_features(x1, x2)
    return x1, x2


def _with_readout(program: Program, shape: tuple[int, ...]) -> Program:
    if program.output.positions:
        raise ValueError(
            f"the network has no readout: its last layer, {describe(program.output)}, gives "
            f"{shape_text(program.output)} of data {tuple(shape)}; end it with flatten, position_mean or select, "
            "then a dense layer."
        )
    return program


class Kernels(NamedTuple):
    """The kernels of one network; of several, stacked."""

    nngp: Any
    ntk: Any


def _one_network(net: Net, width: int, wanted: Wanted, key: Any, i: Any, x1: Array, x2: Array | None) -> Kernels:
    """The kernels of network i."""
    program = trace(net, x1.shape)
    key_params, key_masks = jax.random.split(jax.random.fold_in(key, i))
    params = draw_program(program, key_params, width, x1.dtype)
    both = _joined(x1, x2)
    first, second = _parts(x1, x2)
    if not wanted.ntk:
        return Kernels(_second_moments(evaluate(program, params, both, key_masks), first, second), None)
    outputs = _some_outputs(program, width)
    y, layers = output_and_features(program, params, both, outputs, key_masks)
    ntk = contract(rows(layers, first), rows(layers, second), 0) / outputs.size
    return Kernels(_second_moments(y, first, second) if wanted.nngp else None, ntk)


def _one_function(net: Net, width: int, key: Any, i: Any, x1: Array, x2: Array | None) -> Kernels:
    """The NNGP of network i, drawn as a function."""
    keys = jax.random.split(jax.random.fold_in(key, i))
    y = function_space.output(trace(net, x1.shape), width, _joined(x1, x2), *keys)
    return Kernels(_second_moments(y, *_parts(x1, x2)), None)


def _joined(x1: Any, x2: Any) -> Any:
    return x1 if x2 is None else jax.tree.map(lambda a, b: jnp.concatenate([a, b]), x1, x2)


def _parts(x1: Any, x2: Any) -> tuple[slice, slice]:
    return slice(x1.shape[0]), slice(0 if x2 is None else x1.shape[0], None)


def _some_outputs(program: Program, width: int) -> Array:
    channels = program.output.channels
    k = channels.count(width)
    return jnp.arange(min(k, NTK_OUTPUTS) if channels.wide else k)


def _second_moments(y: Array, first: slice, second: slice) -> Array:
    return y[first] @ y[second].T / y.shape[1]


def batch_size(numbers: int) -> int:
    """As many networks at a time as fit into the cache, if one holds so many numbers."""
    return int(np.clip(BATCH_NUMBERS // max(numbers, 1), 1, BATCH_NETWORKS))


def _numbers(program: Program, width: int, x: Any) -> int:
    made = jax.eval_shape(lambda x: _everything(program, width, x), x)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(made))


def _everything(program: Program, width: int, x: Any) -> Any:
    params = draw_program(program, jax.random.key(0), width, x.dtype)
    return params, output_and_features(program, params, x, _some_outputs(program, width))


def _networks(draw: Callable[[Any], Kernels], samples: int, batch: int) -> Iterator[Kernels]:
    """The kernels of the networks, stacked, a batch at a time; the next batches are drawn in the meantime."""
    under_way: deque[Kernels] = deque()
    starts = range(0, samples, batch)
    for at in progress(starts, f"batches of {batch} random networks"):
        while len(under_way) < AHEAD and at + len(under_way) * batch < samples:
            under_way.append(draw(at + len(under_way) * batch + np.arange(batch)))
        yield jax.tree.map(lambda stack: np.asarray(stack, np.float64)[: samples - at], under_way.popleft())  # noqa: B023


def _accumulate(batches: Iterator[Kernels], tolerance: float | None) -> tuple[Kernels, bool]:
    """The moments of each kernel over the networks, until they are all drawn or the tolerance is reached."""
    moments: Kernels | None = None
    for stacks in _between_looks(batches):
        if moments is None:
            moments = Kernels(*(None if k is None else Moments.empty(k.shape[1:]) for k in stacks))
        moments = Kernels(*(None if m is None else m.add(k) for m, k in zip(moments, stacks, strict=True)))
        if tolerance is not None and _count(moments) % LOOK_EVERY == 0 and _relative_error(moments) <= tolerance:
            return moments, True
    assert moments is not None, "there are two samples or more"
    return moments, tolerance is None or _relative_error(moments) <= tolerance


def _between_looks(batches: Iterator[Kernels]) -> Iterator[Kernels]:
    """The batches, cut where the stopping rule looks."""
    done = 0
    for stacks in batches:
        size = len(jax.tree.leaves(stacks)[0])
        cuts = [0, *range(-done % LOOK_EVERY or LOOK_EVERY, size, LOOK_EVERY), size]
        for part in map(slice, cuts, cuts[1:]):
            yield Kernels(*(None if k is None else k[part] for k in stacks))
        done += size


def _count(moments: Kernels) -> int:
    return next(m.count for m in moments if m is not None)


def _relative_error(moments: Kernels) -> float:
    return max(m.relative_error for m in moments if m is not None)


def _result(moments: Kernels, reached: bool, tolerance: float | None, like: Any) -> MonteCarlo:
    count = _count(moments)
    if not reached and tolerance is not None:
        error = _relative_error(moments)
        needed = f"about {math.ceil(count * (error / tolerance) ** 2)}" if math.isfinite(error) else "more"
        warnings.warn(
            f"monte_carlo drew all {count} samples and its relative standard error is {error:.2g}, above the tolerance "
            f"{tolerance:g}: give it {needed} samples.",
            stacklevel=3,
        )

    def pair(m: Moments | None) -> tuple[Any, Any]:
        return (None, None) if m is None else (_like(m.mean, like), _like(m.error, like))

    return MonteCarlo(*pair(moments.nngp), *pair(moments.ntk), samples=count, reached=reached)


def _like(array: np.ndarray, like: Any) -> Any:
    return as_kind(array.astype(like.dtype), like)


def _traced(
    one: Callable[..., Kernels], x1: Array, x2: Array | None, samples: int, tolerance: float | None
) -> MonteCarlo:
    """All samples in a loop of jax, for data that are traced."""
    if tolerance is not None:
        raise ValueError("monte_carlo inside jit, grad or vmap cannot stop early: leave out tolerance.")
    stacks = jax.lax.map(lambda i: one(i, x1, x2), jnp.arange(samples))

    def pair(stack: Any) -> tuple[Any, Any]:
        if stack is None:
            return None, None
        return jnp.mean(stack, axis=0), jnp.std(stack, axis=0, ddof=1) / math.sqrt(samples)

    return MonteCarlo(*pair(stacks.nngp), *pair(stacks.ntk), samples=samples)
