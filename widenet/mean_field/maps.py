"""The maps of one block: variances and correlations after it, as functions of those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from widenet.checks import is_traced
from widenet.mean_field import quantities
from widenet.mean_field.family import Family, family_of
from widenet.program.trace import Net


@dataclass(frozen=True)
class Maps:
    """The maps of a block; q is a variance (a squared unit of preactivations), c a correlation, all else has no unit.

    Arguments are numbers or arrays that broadcast.  Results are numpy float64, whatever jax's configuration; traced
    arguments and scales work inside jit, vmap and grad.
    """

    family: Family

    def q(self, q: Any) -> Any:
        """The variance after the block, V(q) (Q2); sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2 for one layer."""
        return self.family(quantities.length, _positive(q))

    def c(self, c: Any, *, q: Any) -> Any:
        """The correlation after the block of two inputs with variance q and correlation c, K(q, q c)/V(q) (Q2)."""
        return self.family(quantities.correlation, _positive(q), _at_most_one(c))

    def chi_par(self, q: Any) -> Any:
        """V'(q), the factor of a small change of the variance (Q3)."""
        return self.family(quantities.chi_par, _positive(q))

    def chi_perp(self, q: Any, *, c: Any = 1.0) -> Any:
        """dK/dk at k = q c, the factor of the squared gradient norm at c = 1; infinite for a jump (Q3)."""
        return self.family(quantities.chi_perp, _positive(q), _at_most_one(c))

    def h(self, q: Any) -> Any:
        """(1/2) d chi_perp/dq (Q3), per unit of variance; NaN for a jump."""
        return self.family(quantities.curvature, _positive(q))

    def multipliers(self, q: Any, *, c: Any = 1.0) -> Any:
        """The factors `[*positions]` of the Fourier modes of a small change of covariance over positions (Q4).

        In the order of `numpy.fft.fftn`: entry 0 is the uniform mode, chi_perp(q, c).  Complex, and real if the
        windows are symmetric.
        Raises: ValueError for a block without positions.
        """
        shape = self.family.program.input.positions
        if not shape:
            raise ValueError("Fourier modes need positions: call maps(block, positions=(8, 8)).")
        made = self.family(quantities.multipliers, _positive(q), _at_most_one(c))
        return made.reshape((*made.shape[:-1], *shape))


def maps(block: Net, *, positions: tuple[int, ...] = ()) -> Maps:
    """The q-map, the c-map and their slopes, of one block of a deep network of such blocks.

    V(q), C(c) = K(q, q c)/V(q), chi_par = V'(q), chi_perp = dK/dk, h = (1/2) d chi_perp/dq        (Q1)-(Q4)

    block: a function of one variable that keeps its shape, but for a readout at its end.  q is the variance of its last
    preactivations, if nothing bypasses them: for `serial(dense, tanh)` and for `serial(tanh, dense)` that of the dense
    layer's output.  Else, as for a residual block, it is the variance of its argument.
    positions: of images or sequences, for a block with convolutions: (8, 8); padding must be circular.
    Raises: ValueError for a block that changes shapes, or does not keep a uniform state; NotImplementedError for one
    that compares positions (attention) or samples (batch norm).
    Source: poole2016, eq. (3)-(5); schoenholz2017, sec. 3; xiao2018, sec. 2 (convolutions).

    >>> import widenet as wn
    >>> m = wn.maps(wn.serial(wn.dense(sigma_w=2**0.5), wn.relu))
    >>> float(m.q(3.0).round(9)), float(m.chi_perp(3.0).round(9)), float(m.c(0.0, q=1.0).round(6))
    (3.0, 1.0, 0.31831)
    """
    return Maps(family_of(block, positions))


def _positive(q: Any) -> Any:
    if is_traced(q):
        return q
    q = np.asarray(q, np.float64)
    if not ((q > 0) & np.isfinite(q)).all():
        raise ValueError(f"q is a variance, positive and finite; got {q[~((q > 0) & np.isfinite(q))].ravel()[0]}.")
    return q


def _at_most_one(c: Any) -> Any:
    if is_traced(c):
        return c
    c = np.asarray(c, np.float64)
    if not (np.abs(c) <= 1).all():
        raise ValueError(f"c is a correlation, between -1 and 1; got {c[~(np.abs(c) <= 1)].ravel()[0]}.")
    return c
