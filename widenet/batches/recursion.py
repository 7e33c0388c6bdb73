"""The recursion over pairs of variables, on all rows of one batch at once (B2).

A row is a sample, or a position of a sample: positions come second, as in `x.reshape(n * P, d)`.
"""

from __future__ import annotations

import math

import numpy as np

from widenet.activations import identity
from widenet.batches import expectations
from widenet.batches.expectations import Diverges, Pair
from widenet.batches.features import Feature
from widenet.batches.points import Points
from widenet.program.ops import BatchNorm, Conv, Flatten, Input, LinComb, Linear, Mix, Nonlin
from widenet.program.trace import Program
from widenet.program.var import Var, describe

COVERED = (Input, Linear, Conv, Nonlin, BatchNorm, LinComb, Mix, Flatten)


def check_covered(program: Program) -> None:
    """Raise a NotImplementedError or ValueError for the first variable that this reading has no rule for."""
    for var in program.variables:
        if type(var.op) not in COVERED:
            raise NotImplementedError(
                f"batch_kernel has no rule for {describe(var)}; it covers dense, conv, activations, batch_norm, sums, "
                "pooling and other mixing of positions, and flatten. Use a network of these, or monte_carlo."
            )
        if _is_feature(var):
            _check_argument(var)


def _check_argument(var: Var) -> None:
    (x,) = var.args
    if isinstance(var.op, Nonlin) and isinstance(x.op, BatchNorm):
        return
    if isinstance(x.op, Input):
        raise ValueError(
            f"{describe(var)} acts on the data, whose channels are not Gaussian: put a dense layer before it, or "
            "standardize the features yourself."
        )
    if not _is_gaussian(x):
        raise ValueError(
            f"{describe(var)} follows {describe(x)}, whose channels are not Gaussians of one kind: put a dense layer "
            "in between, batch_norm before the activation, and flatten after it."
        )


def _is_gaussian(var: Var) -> bool:
    """Are all channels copies of one Gaussian vector over the rows?"""
    return isinstance(var.op, Linear) or (isinstance(var.op, (LinComb, Mix)) and all(map(_is_gaussian, var.args)))


class Recursion:
    """Covariances and tangent kernels of the variables of a program on the data, at one set of points."""

    def __init__(self, program: Program, data: np.ndarray, points: Points) -> None:
        self.program, self.samples, self.points = program, len(data), points
        self._rows = data.reshape(-1, data.shape[-1])
        self._first_use = {weight: program.index[uses[0]] for weight, uses in program.weights.items()}
        self._known: dict[tuple[Var, Var], Pair | None] = {}

    def output(self) -> Pair:
        """Of the output with itself."""
        for var in self.program.variables:  # oldest first, so that no call goes deep
            if isinstance(var.op, Linear):
                self.of(var, var)
        return self.own(self.program.output)

    def own(self, u: Var) -> Pair:
        """Of a variable with itself."""
        pair = self.of(u, u)
        return pair if pair is not None else self._zeros(u, u)

    def of(self, u: Var, v: Var) -> Pair | None:
        """Of u and v; None if they are independent and one is centred."""
        if self.program.index[u] < self.program.index[v]:
            return _transposed(self.of(v, u))
        if (u, v) not in self._known:
            self._known[u, v] = self._find(u, v)
        return self._known[u, v]

    def _find(self, u: Var, v: Var) -> Pair | None:
        """The rule for u and v, u the younger one."""
        if isinstance(u.op, Input):
            return _data(self._rows)
        if isinstance(u.op, Linear):
            return self._dense(u, v)
        if isinstance(u.op, Flatten) or isinstance(v.op, (Flatten, Input)):
            return self._flattened(u, v)
        for one, other, turn in ((u, v, False), (v, u, True)):
            if isinstance(one.op, (LinComb, Mix)) and not (_is_gaussian(one) and _is_feature(other)):
                return self._pushed(one, other, turn)
        return self._features(u, v)

    def _dense(self, u: Var, v: Var) -> Pair | None:
        assert isinstance(u.op, Linear)
        if self._first_use[u.op.weight] > self.program.index[v]:
            return None  # a weight that v has not seen (T5)
        if isinstance(v.op, (LinComb, Mix)):
            return self._pushed(v, u, True)
        if _is_feature(v):
            return self._features(u, v)
        if not isinstance(v.op, Linear) or v.op.weight is not u.op.weight:
            return None if isinstance(v.op, Linear) else self._flattened(u, v)
        return self._tied(u, v)

    def _tied(self, u: Var, v: Var) -> Pair | None:
        """K' = sigma_w sigma_w' K + sigma_b sigma_b', Theta' = sigma_w sigma_w' Theta + K' (K2)."""
        a, b = u.op, v.op
        assert isinstance(a, Linear)
        assert isinstance(b, Linear)
        inner, bias = self.of(u.args[0], v.args[0]), float(a.sigma_b) * float(b.sigma_b)
        if inner is None and not bias:
            return None
        before = inner or self._zeros(u.args[0], v.args[0])
        scale = float(a.sigma_w) * float(b.sigma_w)
        taps = zip(_taps(u), _taps(v), strict=True)
        terms = [Pair(*(self._mixed(self._mixed(k, m, 0), w, 1) for k in before)) for m, w in taps]
        cov, ntk = scale * np.mean(terms, axis=0)
        return Pair(cov + bias, ntk + cov + bias)

    def _pushed(self, one: Var, other: Var, turn: bool) -> Pair | None:
        """A linear primitive acts on either side of a covariance; `turn`: `one` is the right side of the result."""
        coeffs = one.op.coeffs if isinstance(one.op, LinComb) else (1.0,)
        parts = [(float(c), self.of(arg, other)) for c, arg in zip(coeffs, one.args, strict=True)]
        terms = [Pair(c * pair.cov, c * pair.ntk) for c, pair in parts if pair is not None]
        if not terms:
            return None
        total = Pair(*np.sum(terms, axis=0))
        if isinstance(one.op, Mix):
            matrix = _matrix(one.op)
            total = Pair(*(self._mixed(part, matrix, 0) for part in total))
        return _transposed(total) if turn else total

    def _flattened(self, u: Var, v: Var) -> Pair | None:
        if not isinstance(u.op, Flatten) or not isinstance(v.op, Flatten):
            raise NotImplementedError(
                f"{describe(u)} and {describe(v)} lay out their channels differently, so their covariance is not "
                "defined by the limit: put a dense layer after the flatten or the data."
            )
        pair = self.of(u.args[0], v.args[0])
        if pair is None:
            return None
        n = self.samples
        return Pair(*(np.einsum("ipjp->ij", k.reshape(n, -1, n, k.shape[1] // n)) * n / len(k) for k in pair))

    def _features(self, u: Var, v: Var) -> Pair | None:
        """Of activations and batch normalizations, or of one with a Gaussian variable."""
        try:
            return self._of_features(u, v)
        except Diverges as reason:
            place = describe(u) if isinstance(u.op, BatchNorm) else f"batch_norm before {describe(u)}"
            raise ValueError(
                f"{place}: {reason}; give it eps > 0, or a batch of four or more distinct samples with three or more "
                "features."
            ) from None

    def _of_features(self, u: Var, v: Var) -> Pair | None:
        if not _is_feature(u):
            return _transposed(self._of_features(v, u))
        f, g = feature(u)
        if not _is_feature(v):
            return None if (cross := self.of(g, v)) is None else self._beside(f, g, v, cross)
        h, e = feature(v)
        if g is e:
            return expectations.own(f, h, self.own(g), self.points)
        selves, cross = (self.own(g), self.own(e)), self.of(g, e)
        if cross is None:
            means = (expectations.mean(w, own, self.points) for w, own in zip((f, h), selves, strict=True))
            return Pair(np.outer(*means), np.zeros((len(selves[0].cov), len(selves[1].cov))))
        if not f.normalized and not h.normalized:
            return expectations.elementwise(f, h, (selves[0].cov.diagonal(), selves[1].cov.diagonal()), cross)
        return expectations.joint(f, h, selves, cross, self.points)

    def _beside(self, f: Feature, g: Var, v: Var, cross: Pair) -> Pair:
        """Of the feature f of g with a Gaussian variable."""
        if f.normalized:
            return expectations.beside_gaussian(f, self.own(g), cross, self.points)
        variances = self.own(g).cov.diagonal(), self.own(v).cov.diagonal()
        return expectations.elementwise(f, Feature(identity, None), variances, cross)

    def _zeros(self, u: Var, v: Var) -> Pair:
        zero = np.zeros((self.samples * math.prod(u.positions), self.samples * math.prod(v.positions)))
        return Pair(zero, zero)

    def _mixed(self, k: np.ndarray, matrix: np.ndarray | None, axis: int) -> np.ndarray:
        """`matrix` applied to the positions of the left (axis 0) or right side of `k`."""
        if matrix is None:
            return k
        k = k if axis == 0 else k.T
        out = np.einsum("op,npm->nom", matrix, k.reshape(self.samples, -1, k.shape[1])).reshape(-1, k.shape[1])
        return out if axis == 0 else out.T


def _is_feature(var: Var) -> bool:
    return isinstance(var.op, (Nonlin, BatchNorm))


def feature(var: Var) -> tuple[Feature, Var]:
    """The function that `var` is of a Gaussian variable, and that variable."""
    (x,) = var.args
    if isinstance(var.op, BatchNorm):
        return Feature(identity, var.op.eps), x
    assert isinstance(var.op, Nonlin)
    if isinstance(x.op, BatchNorm):
        return Feature(var.op.phi, x.op.eps), x.args[0]
    return Feature(var.op.phi, None), x


def _transposed(pair: Pair | None) -> Pair | None:
    return None if pair is None else Pair(pair.cov.T, pair.ntk.T)


def _data(rows: np.ndarray) -> Pair:
    cov = rows @ rows.T / rows.shape[1]  # (K1)
    return Pair(cov, np.zeros_like(cov))


def _taps(var: Var) -> list[np.ndarray | None]:
    """What each tap of a dense or convolutional layer does to positions; None is nothing."""
    if not isinstance(var.op, Conv):
        return [None]
    before = var.args[0].positions
    table, at = var.op.window.table(before), np.arange(math.prod(before))
    return [(column[:, None] == at).astype(float) for column in table.T]  # padding, -1, is nowhere (C1)


def _matrix(op: Mix) -> np.ndarray:
    """A mixing of positions as one matrix over flattened positions."""
    total = np.ones((1, 1))
    for matrix in op.matrices:
        total = np.kron(total, matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix))
    return total
