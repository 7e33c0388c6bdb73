"""Weights of graph networks: Virgo, the exact rule of infinite width, and that of DeZoort and Hanin. (I19)-(I22)

A layer is z = sum_r (A_r h) W_r with h = x at first and phi(z) of the layer before it later; A_r as in `graph_nngp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from widenet import memory
from widenet.activations import Activation, relu
from widenet.activations.dual import dual, second_moment
from widenet.initializers.gains import as_activation
from widenet.initializers.graph_operators import Map, as_map, check_reached, growth, normalized
from widenet.initializers.initializer import Initializer, as_key
from widenet.initializers.laws import Law, Normal, Uniform
from widenet.precision import float64
from widenet.progress import progress

COPIES = 5  # covariances that are held at once


@dataclass(frozen=True)
class GraphWeights:
    """The variance of the entries of each layer's weights, and the law to draw them from."""

    variances: tuple[float, ...]
    widths: tuple[int, ...]  # channels before the first layer, and after each
    law: Law = Normal()  # noqa: RUF009 (immutable)

    @property
    def gains(self) -> tuple[float, ...]:
        """sigma_w of each layer: the root of fan_in times the variance."""
        return tuple(math.sqrt(v * n) for v, n in zip(self.variances, self.widths, strict=False))

    def initializers(self) -> tuple[Initializer, ...]:
        """One for each layer, for weights `[in, out]`."""
        return tuple(Initializer(self.law, gain) for gain in self.gains)


def virgo_forward(graph: Any, x: Any, widths: Sequence[int]) -> GraphWeights:
    """Var W_1 = 2/n_0,  Var W_l = (2/n_(l-1)) f_(l-1)/f_l,  f_l = |A^l m|^2, m the mean of x over features. (I20)

    graph: scipy.sparse, dense, edge_index or a function h -> (adjacency) h; A is that of `widenet.gcn_operator`,
    whatever the network.  x: `[nodes, d]`, or m, `[nodes]`.  widths: [d, ..., classes].
    Raises: ValueError for shapes that do not match, or an m of zero.
    Source: li2023.
    """
    widths = _widths(widths)
    m = _mean_feature(x, widths[0])
    f = _energies(graph, m, len(widths) - 1)
    if not f[-1] > 0:
        raise ValueError(
            "virgo: the mean of x over features vanishes, as after centring each node, so Virgo cannot see its signal: "
            "give features that are not centred, or use graph_nngp, which reads all of them."
        )
    ratios = [1.0, *(f[:-1] / f[1:])]
    return _uniform((2 * r / n for r, n in zip(ratios, widths[:-1], strict=True)), widths)


def virgo_backward(graph: Any, x: Any, widths: Sequence[int]) -> GraphWeights:
    """Var W_L = nodes/((classes - 1) b_1),  Var W_(L-i) = (2/n_(L-i)) b_i/b_(i+1),  b_l = |A^l 1|^2. (I20)

    n_l are the outputs of layer l (the paper has one width for all hidden layers).  Arguments as in `virgo_forward`; of
    x only the number of nodes counts.  Logits are larger than they were: with 600 nodes by a factor of 20 to 35.
    Raises: ValueError for shapes that do not match, or fewer than 2 classes.
    Source: li2023.
    """
    widths = _widths(widths)
    if widths[-1] < 2:
        raise ValueError(
            f"virgo: {widths[-1]} class has no softmax to go back from: use virgo_forward, or give 2 or more."
        )
    nodes = len(_mean_feature(x, widths[0]))
    b = _energies(graph, np.ones(nodes), len(widths) - 1)
    ratios = (b[:-1] / b[1:])[::-1]
    hidden = (2 * r / n for r, n in zip(ratios, widths[1:-1], strict=True))
    return _uniform((*hidden, nodes / ((widths[-1] - 1) * b[0])), widths)


def virgo_harmonic(graph: Any, x: Any, widths: Sequence[int]) -> GraphWeights:
    """2/(1/forward + 1/backward) of each layer, what the authors use: see `virgo_forward`. (I20)"""
    return _combined(graph, x, widths, lambda f, b: 2 / (1 / f + 1 / b))


def virgo_arithmetic(graph: Any, x: Any, widths: Sequence[int]) -> GraphWeights:
    """(forward + backward)/2 of each layer: see `virgo_forward`. (I20)"""
    return _combined(graph, x, widths, lambda f, b: (f + b) / 2)


def _combined(graph: Any, x: Any, widths: Sequence[int], mean: Callable[[float, float], float]) -> GraphWeights:
    forward, backward = virgo_forward(graph, x, widths), virgo_backward(graph, x, widths)
    return _uniform(map(mean, forward.variances, backward.variances), forward.widths)


def _uniform(variances: Any, widths: tuple[int, ...]) -> GraphWeights:
    return GraphWeights(tuple(map(float, variances)), widths, Uniform())


def _energies(graph: Any, start: np.ndarray, depth: int) -> np.ndarray:
    """|A^l start|^2 for l = 1..depth."""
    apply, v = normalized(graph, len(start)), start[:, None]
    found = []
    for _ in range(depth):
        v = apply(v)
        found.append(float(np.sum(v**2)))
    return np.array(found)


def dezoort_hanin(operator: Any, widths: Sequence[int], *, nodes: int | None = None) -> GraphWeights:
    """2/(lambda^2 n_in) for relu, lambda the largest eigenvalue of the operator: He's law of graph networks. (I22)

    The paper's operators have lambda = 1; see also `residual_operator`.  nodes: as in `adjacency`.
    Raises: ValueError for isolated nodes, or a graph whose components have different lambda.
    Source: dezoort2023; lambda other than 1: widenet.
    """
    widths = _widths(widths)
    rate = growth(operator, nodes)
    return GraphWeights(tuple(2 / (rate**2 * n) for n in widths[:-1]), widths)


class Options(NamedTuple):
    """How a covariance is carried: exactly, or by random features."""

    features: int | None
    key: Any


def graph_nngp(
    operators: Any,
    x: Any,
    widths: Sequence[int],
    phi: Any = relu,
    *,
    q: float = 1.0,
    features: int | None = None,
    key: Any = 0,
) -> GraphWeights:
    """The variances at which every layer of a wide network has mean square q over nodes. (I21)

    Sigma_l = s_l sum_r A_r K_(l-1) A_r^T,  K_0 = x x^T/d,  K_l = E phi(u) phi(v) at Sigma_l,  Var W_l = s_l/n_(l-1).

    operators: one for all layers or a list of one a weight; an operator is a matrix (scipy.sparse or dense), edge_index
    (the plain sum over neighbours), a function h -> A h, None for the identity, or a tuple of these, whose weights
    are independent, of one variance, and whose results are added: (A, None) for GraphSAGE, [A, None, ...] for GIN with
    two weights a layer.
    features: None is exact, in memory for 5 matrices [nodes, nodes]; else a network of so many channels stands for the
    infinite one, O(edges features) a layer and an error that falls as 1/sqrt(features).
    Raises: ValueError for shapes that do not match, isolated nodes, x of zero, or more nodes than fit into memory.
    Source: widenet; the recursion: du2019.
    """
    if not 0 < q < math.inf:
        raise ValueError(f"graph_nngp: q is {q}, but must be positive and finite.")
    widths = _widths(widths)
    found = _propagate(operators, x, widths, phi, Options(features, key), lambda _, unit: q / unit)
    return GraphWeights(tuple(s / n for (s, _), n in zip(found, widths, strict=False)), widths)


def graph_signal(
    operators: Any,
    x: Any,
    weights: GraphWeights,
    phi: Any = relu,
    *,
    features: int | None = None,
    key: Any = 0,
) -> np.ndarray:
    """Mean square over nodes of each layer of a wide network with these weights; arguments as in `graph_nngp`. (I21)

    Shapes: [layers].
    Raises: as `graph_nngp`.
    """
    gains = [gain**2 for gain in weights.gains]
    found = _propagate(operators, x, weights.widths, phi, Options(features, key), lambda layer, _: gains[layer])
    return np.array([square for _, square in found])


def _propagate(
    operators: Any,
    x: Any,
    widths: tuple[int, ...],
    phi: Any,
    options: Options,
    choose: Callable[[int, float], float],
) -> list[tuple[float, float]]:
    """(s_l, mean square) of each layer, s_l = choose(l, mean square at s_l = 1)."""
    phi, x = as_activation(phi), _features(x, widths[0])
    layers = _layers(operators, len(x), len(widths) - 1)
    with jax.ensure_compile_time_eval(), float64():
        state = _Exact.of(x) if options.features is None else _Sampled.of(x, options)
        found = []
        for layer, maps in enumerate(progress(layers, "graph layers")):
            state = state.activated(phi) if layer else state
            state = state.aggregated(maps)
            unit = state.mean_square()
            if not 0 < unit < math.inf:
                raise ValueError(
                    f"layer {layer + 1} has mean square {unit:g}, so no weights give it another: x is zero, or the "
                    "signal left the range of floating-point numbers; give x and weights of another scale."
                )
            s = choose(layer, unit)
            state = state.weighted(s)
            found.append((s, s * unit))
    return found


@dataclass(frozen=True)
class _Exact:
    """A covariance `[nodes, nodes]`."""

    covariance: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> _Exact:
        needed = COPIES * 8 * len(x) ** 2
        if needed > memory.budget():
            raise ValueError(
                f"covariances of {len(x)} nodes need {memory.in_words(needed)}, more than there is: give features=256."
            )
        return cls(x @ x.T / x.shape[1])

    def aggregated(self, maps: Sequence[Map]) -> _Exact:
        first, *others = (one(one(self.covariance).T) for one in maps)  # A (A K)^T = A K A^T
        return _Exact(sum(others, start=first))

    def mean_square(self) -> float:
        return float(np.trace(self.covariance)) / len(self.covariance)

    def weighted(self, s: float) -> _Exact:
        return _Exact(s * self.covariance)

    def activated(self, phi: Activation) -> _Exact:
        k = jnp.asarray(self.covariance)
        q = jnp.diagonal(k)
        return _Exact(np.asarray(dual(phi, q[:, None], q[None], k)))


@dataclass(frozen=True)
class _Sampled:
    """Channels of a network whose weights are drawn as they are needed: `values[r]` is A_r h, `[nodes, channels]`."""

    values: tuple[np.ndarray, ...]
    key: Any
    features: int

    @classmethod
    def of(cls, x: np.ndarray, options: Options) -> _Sampled:
        if options.features is None or options.features < 1:
            raise ValueError(
                f"features is {options.features}, but must be at least 1; 256 gives errors of some percent."
            )
        return cls((x,), as_key(options.key), options.features)

    def aggregated(self, maps: Sequence[Map]) -> _Sampled:
        (h,) = self.values
        return _Sampled(tuple(one(h) for one in maps), self.key, self.features)

    def mean_square(self) -> float:
        return float(sum(np.mean(h**2) for h in self.values))  # that of the next layer, averaged over its weights

    def weighted(self, s: float) -> _Sampled:
        key, draw = jax.random.split(self.key)
        h = np.concatenate(self.values, axis=1)  # independent weights that are added are one weight of the stack
        w = np.asarray(jax.random.normal(draw, (h.shape[1], self.features), jnp.float64))
        squares = s * sum(np.mean(one**2, axis=1) for one in self.values)
        return _Sampled((_with_squares(h @ w, squares),), key, self.features)

    def activated(self, phi: Activation) -> _Sampled:
        z = jnp.asarray(self.values[0])
        squares = np.asarray(second_moment(phi, jnp.mean(z**2, axis=1)))
        return _Sampled((_with_squares(np.asarray(phi(z)), squares),), self.key, self.features)


def _with_squares(h: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """h with its rows scaled to these mean squares, which are known: only correlations are left to chance."""
    found = np.mean(h**2, axis=1)
    return h * np.sqrt(np.divide(squares, found, out=np.zeros_like(found), where=found > 0))[:, None]


def _layers(operators: Any, nodes: int, depth: int) -> list[tuple[Map, ...]]:
    """The maps of each layer; those of one operator for all are made, and checked, once."""
    listed = operators if isinstance(operators, list) and not _is_matrix(operators) else [operators]
    if len(listed) not in (1, depth):
        raise ValueError(f"{len(listed)} operators for {depth} weights: give one for all, or one for each weight.")
    made = []
    for one in listed:
        maps = tuple(as_map(branch, nodes) for branch in (one if isinstance(one, tuple) else (one,)))
        check_reached(maps, nodes)
        made.append(maps)
    return made * depth if len(made) == 1 else made


def _is_matrix(operators: list[Any]) -> bool:
    """Is this a matrix, or edge_index, of lists of numbers?"""
    return all(isinstance(row, list) and all(isinstance(a, int | float) for a in row) for row in operators)


def _widths(widths: Sequence[int]) -> tuple[int, ...]:
    widths = tuple(int(n) for n in widths)
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths are those of the data and of each layer, [d, hidden, ..., classes]; got {widths}.")
    return widths


def _features(x: Any, d: int) -> np.ndarray:
    x = x.toarray() if scipy.sparse.issparse(x) else np.asarray(x)
    x = np.asarray(x, float)
    if x.ndim != 2 or x.shape[1] != d or not len(x):
        raise ValueError(
            f"x has shape {x.shape}, but widths begin with {d}: give [nodes, {d}], or the widths that x has."
        )
    if not np.isfinite(x).all():
        raise ValueError("x has NaN or infinite values: drop or impute them.")
    return x


def _mean_feature(x: Any, d: int) -> np.ndarray:
    """x averaged over features, or x if it already is."""
    if not scipy.sparse.issparse(x) and np.ndim(x) == 1:
        return _features(np.asarray(x)[:, None], 1)[:, 0]
    return _features(x, d).mean(axis=1)
