"""Kernels by random finite networks, with standard errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from widenet import checks
from widenet.finite.empirical import empirical_nngp, empirical_ntk
from widenet.finite.forward import evaluate
from widenet.finite.init import Key, as_key, draw
from widenet.precision import float64
from widenet.program.ops import Linear
from widenet.program.trace import Net, Program, trace
from widenet.progress import progress

# Parameters and activations of networks held at once: 128 MB in float64.
BATCH_NUMBERS = 2**24


class MonteCarlo(NamedTuple):
    """Means over random networks and their standard errors, `[n1, n2]`; None for what was not asked."""

    nngp: Any
    nngp_error: Any
    ntk: Any
    ntk_error: Any
    samples: int


def monte_carlo(
    net: Net, key: Key, width: int, samples: int, *, tolerance: float | None = None
) -> Callable[..., MonteCarlo]:
    """NNGP and NTK of `net` by random networks: `monte_carlo(net, key, 512, 64)(x1, x2=None)`.

    mean_s k_s and sqrt(var_s k_s / samples) over samples s of the products of outputs and of parameter gradients (F2).
    The mean differs from the limit by O(1 / width).

    width: of every hidden layer.  samples: how many networks at the most; with `tolerance`, it stops once the standard
    error is below `tolerance` times the kernel (Frobenius norms).  Sample i depends on the key and i alone.
    A net with outputs of infinite width is given one output.
    Raises: ValueError for fewer than two samples or bad inputs.  Warns if the tolerance was not reached.
    """
    return partial(_run, net, key, width, samples, tolerance, (True, True))


def monte_carlo_nngp(
    net: Net, key: Key, width: int, samples: int, *, tolerance: float | None = None
) -> Callable[..., MonteCarlo]:
    """The NNGP kernel alone, whose outputs need no gradients; all channels of the output are averaged (F2)."""
    return partial(_run, net, key, width, samples, tolerance, (True, False))


def monte_carlo_ntk(
    net: Net, key: Key, width: int, samples: int, *, tolerance: float | None = None
) -> Callable[..., MonteCarlo]:
    """The neural tangent kernel alone (F2)."""
    return partial(_run, net, key, width, samples, tolerance, (False, True))


def _run(
    net: Net, key: Key, width: int, samples: int, tolerance: float | None, wanted: tuple[bool, bool], x1: Any, x2: Any = None
) -> MonteCarlo:
    if samples < 2:
        raise ValueError(f"a standard error needs at least two samples; got {samples}.")
    x1 = checks.batch(x1, "x1")
    if x2 is not None:
        x2 = checks.batch(x2, "x2")
        checks.same_features(x1, x2)
    with float64() if isinstance(x1, np.ndarray) else nullcontext():
        program = trace(_one_output(net) if wanted[1] else net, x1.shape)
        means = _Moments()
        total = len(x1) + (0 if x2 is None else len(x2))
        for chunk in progress(_chunks(program, width, samples, total), "random networks (batches)"):
            means.add(_sample(program, as_key(key), chunk, width, wanted, jnp.asarray(x1), x2))
            if tolerance is not None and means.reached(tolerance):
                break
        if tolerance is not None and not means.reached(tolerance):
            warnings.warn(
                f"after {samples} samples the standard error is {means.relative_error():.2g} of the kernel, "
                f"above the tolerance {tolerance:g}: ask for more samples.",
                stacklevel=2,
            )
        return means.result(wanted)


def _one_output(net: Net) -> Net:
    """The same network with one output channel, where it has infinitely many."""
    from widenet.layers.dense import dense

    def narrowed(x: Any) -> Any:
        last = net(x)
        if isinstance(last.op, Linear) and last.op.weight.width is None:
            return dense(last.args[0], last.op.sigma_w, last.op.sigma_b, width=1)
        return last

    return narrowed


def _chunks(program: Program, width: int, samples: int, rows: int) -> Iterator[np.ndarray]:
    """Numbers of samples that are run together."""
    shapes = jax.eval_shape(lambda: draw(program, jax.random.key(0), width))
    size = sum(leaf.size for leaf in jax.tree.leaves(shapes)) * (1 + rows) + rows * width * len(program.variables)
    together = max(1, min(samples, BATCH_NUMBERS // size))
    for begin in range(0, samples, together):
        yield np.arange(begin, min(begin + together, samples))


def _sample(
    program: Program, key: Any, chunk: np.ndarray, width: int, wanted: tuple[bool, bool], x1: Any, x2: Any
) -> tuple[np.ndarray, ...]:
    x2 = None if x2 is None else jnp.asarray(x2)
    run = _compiled(program, width, wanted)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.asarray(chunk))
    return tuple(np.asarray(part) for part in run(keys, x1, x2))


def _compiled(program: Program, width: int, wanted: tuple[bool, bool]) -> Any:
    if program not in _runs:
        _runs.clear()  # one program at a time: the chunks of a run share it
        _runs[program] = jax.jit(lambda keys, x1, x2: jax.vmap(lambda k: _one(program, width, wanted, k, x1, x2))(keys))
    return _runs[program]


_runs: dict[Program, Any] = {}


def _one(program: Program, width: int, wanted: tuple[bool, bool], key: Any, x1: Any, x2: Any) -> tuple[Any, ...]:
    """The kernels of one random network."""
    key_weights, key_masks = jax.random.split(key)
    params = draw(program, key_weights, width, x1.dtype)
    rows = x1 if x2 is None else jnp.concatenate([x1, x2])

    def f(params: Any, x: Any) -> Any:  # both batches at once, so that each sample has one mask
        return evaluate(program, params, x, key_masks)

    n1 = x1.shape[0]
    part = (slice(0, n1), slice(0, n1) if x2 is None else slice(n1, None))
    found = []
    if wanted[0]:
        found.append(empirical_nngp(f, params)(rows)[part])
    if wanted[1]:
        found.append(_tangent_kernel(f, params, rows)[part])
    return tuple(found)


def _tangent_kernel(f: Any, params: Any, x: Any) -> Any:
    """The mean over outputs of the NTK of a whole batch, whose samples may share masks with nobody."""
    outputs = jax.eval_shape(f, params, x).shape[-1]

    def one(i: Any) -> Any:
        jacobian = jax.jacrev(lambda p: f(p, x)[..., i].reshape(len(x)))(params)
        leaves = [leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(jacobian)]
        return sum(leaf @ leaf.T for leaf in leaves)

    return jax.lax.map(one, jnp.arange(outputs)).mean(0)


class _Moments:
    """Running mean and sum of squared deviations (Welford), of several arrays at once."""

    def __init__(self) -> None:
        self.count, self.mean, self.square = 0, [], []  # type: ignore[var-annotated]

    def add(self, arrays: tuple[np.ndarray, ...]) -> None:
        """Take a batch of samples, each array `[batch, n1, n2]`."""
        new = len(arrays[0])
        if not self.count:
            self.mean, self.square = ([np.zeros(a.shape[1:]) for a in arrays] for _ in "12")
        for i, a in enumerate(arrays):
            a = a.astype(np.float64)
            delta = a.mean(0) - self.mean[i]
            total = self.count + new
            self.square[i] += ((a - a.mean(0)) ** 2).sum(0) + delta**2 * self.count * new / total
            self.mean[i] += delta * new / total
        self.count += new

    def errors(self) -> list[np.ndarray]:
        """Standard errors of the means."""
        return [np.sqrt(s / (self.count * max(self.count - 1, 1))) for s in self.square]

    def relative_error(self) -> float:
        """The largest standard error in units of its kernel."""
        return max(float(np.linalg.norm(e) / np.linalg.norm(m)) for e, m in zip(self.errors(), self.mean, strict=True))

    def reached(self, tolerance: float) -> bool:
        """Is the standard error small enough?"""
        return self.count > 1 and self.relative_error() <= tolerance

    def result(self, wanted: tuple[bool, bool]) -> MonteCarlo:
        """The means and their standard errors."""
        pairs = iter(zip(self.mean, self.errors(), strict=True))
        nngp, ntk = (next(pairs) if ask else (None, None) for ask in wanted)
        return MonteCarlo(*nngp, *ntk, self.count)
