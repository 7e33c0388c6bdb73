"""What error each way of computing a dual has, as it states of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from widenet.activations.activation import Activation, Times, derivative, with_dtype
from widenet.activations.dual import mean, second_moment
from widenet.activations.hermite_series import NODES, coefficients, square, terms_of, trapezoid
from widenet.activations.numerics import ratio
from widenet.activations.split_rule import count_of, rule
from widenet.precision import float64

ROUNDING = 16  # operations of a closed form, each with one unit of rounding
PROBES = (-1.0, -0.9, 0.0, 0.5, 0.99, 1.0)  # correlations at which the split rule is doubled


def stated_error(phi: Activation, q: float, dtype: Any = None) -> float:
    """A bound on the error of dual(phi, q, q, k), |k| <= q, in the precision `dtype` (by default jax's own). (D19)

    Closed form: rounding, relative to E phi^2 + E u^4 phi'^2 / q, whose second term is what cancels where few samples
    reach a kink.  Hermite series: E phi^2 - sum_(j<J) a_j^2, what the terms left out weigh
    at |c| = 1 (at correlation c it is |c|^J times that), and what doubling the nodes changes.  Split
    rule: what doubling the nodes changes.  For `slope` ask for derivative(phi).
    """
    dtype = jnp.dtype(dtype or jnp.zeros(()).dtype)
    rounding = ROUNDING * float(jnp.finfo(dtype).eps)
    with float64():
        phi, q_ = with_dtype(phi, jnp.float64), jnp.asarray(float(q), jnp.float64)
        size = abs(float(second_moment(phi, q_)))
        if phi.closed is not None:
            return rounding * (size + _reach(phi, q_))
        found = _doubling(phi, q_, count_of(dtype)) if phi.breakpoints else _tail(phi, q_, terms_of(dtype))
    return found + rounding * size


def _reach(phi: Activation, q: Any) -> float:
    """E u^4 phi'^2 / q of a kinked function."""
    prime = derivative(phi)
    far = Activation("", Times(prime.fn, degree=4, power=2), prime.params, kinks=prime.kinks, continuous=False)
    return float(ratio(mean(far, q), q)) if phi.breakpoints else 0.0


def _tail(phi: Activation, q: Any, terms: int) -> float:
    fine, coarse = (float(trapezoid(square(phi), q, count)) for count in (2 * NODES, NODES))
    kept = np.square(np.asarray(coefficients(phi, q, terms, 2 * NODES)[0])).sum()
    return abs(fine - float(kept)) + abs(fine - coarse)


def _doubling(phi: Activation, q: Any, count: int) -> float:
    k = q * jnp.asarray(PROBES, q.dtype)
    coarse, fine = (rule(phi, phi, q, q, k, n * count) for n in (1, 2))
    return float(jnp.max(jnp.abs(coarse - fine)))


def accuracy_table(phi: Activation, qs: Sequence[float] = (0.1, 1.0, 3.0, 9.0)) -> str:
    """`stated_error` in float32 and float64 for some variances, as a table to print."""
    route = "closed form" if phi.closed is not None else "split rule" if phi.breakpoints else "Hermite series"
    rows = [f"{phi.name}: {route}", f"{'q':>10} {'float32':>10} {'float64':>10}"]
    for q in qs:
        single, double = (stated_error(phi, q, dtype) for dtype in ("float32", "float64"))
        rows.append(f"{q:>10g} {single:>10.1e} {double:>10.1e}")
    return "\n".join(rows)
