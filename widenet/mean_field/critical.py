"""The critical point of an activation: where neither variances nor gradients grow or shrink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from widenet.activations import Activation, activation
from widenet.layers.dense import dense
from widenet.layers.layer import serial
from widenet.mean_field import quantities
from widenet.mean_field.family import Family, family_of
from widenet.mean_field.kinks import described
from widenet.mean_field.roots import bracketed
from widenet.precision import float64

SCANNED = np.geomspace(1e-3, 300, 255)  # variances at which chi_par and chi_perp are compared
LINE = np.geomspace(1e-8, 1e4, 256)  # variances at which a point of the edge of chaos is looked for
TINY = 1e-20  # a variance at which an activation is its tangent at 0
SAME = 1e-7  # relative differences below are errors of the quadrature
HALF_STABLE = 1e-6  # a chi_par this close to 1 is 1
PLAIN = 1.0  # the variance that is chosen where all are critical


class Critical(NamedTuple):
    """Scales at which chi_perp = 1 in the deep network (dense, phi, dense, phi, ...)."""

    sigma_w: float  # standard deviation of weights, times sqrt(fan-in)
    sigma_b: float  # standard deviation of biases
    q: float  # the fixed variance of preactivations; 0 if it falls to zero as 1/depth
    universality: str  # "scale-invariant", "K*=0", "half-stable" or "edge of chaos" (chi_perp = 1 only)
    chi_par: float  # V'(q)
    reason: str  # how it is known


def critical(phi: Activation | Callable[..., Any], sigma_b: float | None = None) -> Critical:
    """The scales that make `phi` critical, and its universality class (Q7).

    Without sigma_b, where chi_par = chi_perp = 1: sigma_w^2 = 1/E phi'^2 and sigma_b^2 = q - E phi^2/E phi'^2, with
    "scale-invariant": any q (relu; q = 1 is returned); "K*=0": q falls to 0 (tanh); "half-stable": a q > 0 from which
    variances are repelled on one side (gelu), or a line of such (q = 1 is returned).
    With sigma_b, the point of the edge of chaos chi_perp = 1 at this sigma_b whose variance is stable (chi_par <= 1),
    with the least q.
    phi: an activation or any elementwise function of arrays, whose kinks between -8 and 8 are found; those further out
    and jumps of its second derivative are for `activation(fn, breakpoints=...)`.
    Accuracy: that of the duals, 1e-8 or better, for q up to 300.
    Raises: ValueError where there is no such point, saying why: sigmoid, softplus and functions that jump.
    Source: roberts2022, sec. 5 (classes); schoenholz2017, sec. 3 (edge of chaos).

    >>> import widenet as wn
    >>> point = wn.critical(wn.relu)
    >>> round(point.sigma_w, 6), point.sigma_b, point.universality
    (1.414214, 0.0, 'scale-invariant')
    >>> round(wn.critical(wn.tanh, sigma_b=0.1).sigma_w ** 2, 6)
    1.424205
    """
    phi = _as_activation(phi)
    if sigma_b is not None and not (np.isfinite(sigma_b) and sigma_b >= 0):
        raise ValueError(f"sigma_b is a standard deviation, finite and >= 0; got {sigma_b}.")
    one = _Layer(family_of(serial(phi, dense())))
    try:
        point = _of_class(one)
    except _None as none:
        if sigma_b is None:
            raise ValueError(
                f"{phi.name} has no critical point: {none}.  critical(phi, sigma_b=...) gives a point of its edge of "
                "chaos, chi_perp = 1, if there is one at this sigma_b."
            ) from None
    else:
        if sigma_b is None or point.sigma_b == sigma_b:
            return point
        if point.universality == "scale-invariant":
            raise ValueError(
                f"{phi.name} is critical at sigma_w = {point.sigma_w:.6g} and sigma_b = 0 only: it is scale-invariant, "
                f"and with sigma_b = {sigma_b:g} the variance grows in every layer."
            )
    return _on_line(phi, one, sigma_b)


class _None(Exception):
    """There is no point with chi_par = chi_perp = 1, and why."""


class _Layer(NamedTuple):
    """One layer with sigma_w = 1 and sigma_b = 0."""

    family: Family

    def square(self, q: Any) -> Any:
        return self.family(quantities.length, q)

    def par(self, q: Any) -> Any:
        return self.family(quantities.chi_par, q)

    def perp(self, q: Any) -> Any:
        return self.family(quantities.chi_perp, q, 1.0)


def _as_activation(phi: Any) -> Activation:
    if not callable(phi):
        raise TypeError(f"critical needs an activation or a function of arrays; got {phi!r}.")
    known = phi if isinstance(phi, Activation) else activation(phi)
    with float64():
        values = known.fn(np.linspace(-3, 3, 13), *known.params)
    if isinstance(values, Activation):
        raise TypeError(f"{known.name} makes activations and is none: call it, as in critical({known.name}()).")
    if not np.isfinite(np.asarray(values)).all():
        raise ValueError(f"{known.name} is NaN or infinite between -3 and 3; an activation must be finite.")
    if np.ptp(values) == 0:
        raise ValueError(
            f"{known.name} has no critical point: it is constant, so no input and no gradient gets through."
        )
    if not known.continuous:
        raise ValueError(
            f"{known.name} has no critical point: it jumps, so close inputs are torn apart and chi_perp is infinite."
        )
    return known if known is phi else described(phi)


def _of_class(one: _Layer) -> Critical:
    """The point with chi_par = chi_perp = 1."""
    at_zero, *square = one.square(np.append(0.0, SCANNED))
    gain = np.array(square) / SCANNED
    if np.ptp(gain) < SAME * gain.max():
        why = "E phi^2 is proportional to q, so every variance is kept"
        return Critical(float(gain[0] ** -0.5), 0.0, PLAIN, "scale-invariant", 1.0, why)
    slope, *perp = one.perp(np.append(TINY, SCANNED))
    if at_zero == 0 and slope > 0:
        change = gain / slope - 1
        seen = change[np.abs(change) > SAME]
        if len(seen) and seen[0] < 0:
            why = "phi(0) = 0 and E phi^2 falls behind q E phi'^2 at 0: the variance dies out by a power of the depth"
            return Critical(float(slope**-0.5), 0.0, 0.0, "K*=0", 1.0, why)
    return _half_stable(one, np.array(perp))


def _half_stable(one: _Layer, perp: np.ndarray) -> Critical:
    par = one.par(np.append(TINY, SCANNED))[1:]
    if (np.abs(par - perp) < SAME * perp.max()).all():
        roots = np.array([PLAIN])
    else:
        seen = np.abs(par - perp) > SAME * perp
        roots = _roots(lambda q: one.par(q) - one.perp(q), SCANNED[seen], (par - perp)[seen])
    for q in roots:
        bias = q - one.square(q) / one.perp(q)
        if bias >= 0:
            why = "chi_par = chi_perp at this variance, from which others are repelled on one side"
            return Critical(float(one.perp(q) ** -0.5), float(np.sqrt(bias)), float(q), "half-stable", 1.0, why)
    ratio = par[perp > 0] / perp[perp > 0]
    span = f"chi_par/chi_perp goes from {ratio.min():.3g} to {ratio.max():.3g} for q between 1e-3 and 300"
    if len(roots):
        raise _None(f"{span}, and is 1 only where sigma_b^2 would be negative")
    raise _None(f"{span} and does not cross 1, so variances and gradients cannot both be kept")


def _on_line(phi: Activation, one: _Layer, sigma_b: float) -> Critical:
    """The stable point of the edge of chaos with this sigma_b and the least variance."""

    def excess(q: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # zero below all kinks, infinite for exp at large q
            return q - one.square(q) / one.perp(q) - sigma_b**2

    roots = _roots(excess, LINE, excess(LINE))
    for q in roots:
        perp, chi_par = float(one.perp(q)), float(one.par(q) / one.perp(q))
        if abs(chi_par - 1) < HALF_STABLE:
            return Critical(perp**-0.5, sigma_b, float(q), "half-stable", chi_par, "chi_par = chi_perp = 1 here")
        if abs(chi_par) < 1:
            why = "chi_perp = 1 at the fixed variance, which is stable"
            return Critical(perp**-0.5, sigma_b, float(q), "edge of chaos", chi_par, why)
    found = f"chi_perp = 1 only at variances that are unstable, q = {', '.join(f'{q:.4g}' for q in roots)}"
    nothing = f"chi_perp is not 1 at any fixed variance between {LINE[0]:.0e} and {LINE[-1]:.0e}"
    raise ValueError(
        f"{phi.name} has no critical point with sigma_b = {sigma_b:g}: {found if len(roots) else nothing}."
    )


def _roots(f: Callable[[np.ndarray], np.ndarray], ladder: np.ndarray, values: np.ndarray) -> np.ndarray:
    before = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    return bracketed(f, ladder[before], ladder[before + 1]) if len(before) else np.zeros(0)
