"""Long skips of U-Nets: their scales, and what these do to outputs and gradients. (S9)"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.diagnostics.verdict import Finding

LARGE = 4.0  # times the output variance or sensitivity without skips: a convention, see (S9)
WEAK = 10.0  # times what linear theory says: the path without skips loses the signal
LOST = 0.01  # the scale of a skip that passes a ten-thousandth of the variance
ALIKE = 0.01  # relative change of the output variance: skips that do nothing
LEVELS = np.linspace(0.0, 1.0, 5)  # of all skips together
SCHEMES: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = MappingProxyType(
    {
        "none": lambda i, kappa: np.ones(len(i)),  # noqa: ARG005
        "constant": lambda i, kappa: np.full(len(i), kappa),
        "cs": lambda i, kappa: kappa**i,
        "ls": lambda i, kappa: np.full(len(i), 0.5),  # noqa: ARG005
    }
)
USUAL = MappingProxyType({"constant": math.sqrt(0.5), "cs": 0.7})


def skip_scales(n: int, kind: str = "cs", kappa: float | None = None) -> np.ndarray:
    """kappa_1 ... kappa_n, what the long skips of a U-Net are multiplied by; the first is the outermost. (S9)

    "none"      1, as U-Nets are written
    "constant"  kappa, 1/sqrt(2) if None
    "cs"        kappa^(i - 1), kappa = 0.7 if None: the deepest skip is the weakest
    "ls"        1/2, where the learned gates sigmoid(g(skip)) begin if g, a small network, begins near 0

    Shapes: `[n]`.
    Raises: ValueError for another kind, n < 1, or kappa outside of (0, 1] where one is used.
    Source: huang2023, sec. 4; "constant" is older, the paper's 1/sqrt(2)-CS; 0.7 is ours, between its 0.5 and 0.95.

    >>> skip_scales(3, "cs", 0.5)
    array([1.  , 0.5 , 0.25])
    """
    if kind not in SCHEMES:
        raise ValueError(f"scales of skips are of kind {', '.join(SCHEMES)}; got {kind!r}.")
    if n < 1 or int(n) != n:
        raise ValueError(f"n is the number of skips, 1 or more; got {n}.")
    if kappa is not None and (kind not in USUAL or not 0 < kappa <= 1):
        raise ValueError(f"kappa belongs to {' and '.join(USUAL)} and is in (0, 1]; got {kappa} with {kind!r}.")
    return SCHEMES[kind](np.arange(n), USUAL.get(kind, 1.0) if kappa is None else float(kappa))


@dataclass(frozen=True)
class SkipReport:
    """A U-Net with its skips scaled in several ways; a row a scheme, a column a common factor t of its skips."""

    kappas: dict[str, np.ndarray]
    levels: np.ndarray  # t; the first is 0, without skips, the last 1
    variance: np.ndarray  # mean square of the outputs
    sensitivity: np.ndarray  # squared derivatives of outputs in the inputs, per output
    gradient: np.ndarray  # norm of the derivative of a unit output in all parameters
    largest: np.ndarray  # largest absolute output
    findings: tuple[Finding, ...]  # one a scheme

    @property
    def theory(self) -> np.ndarray:
        """1 + sum kappa_i^2: variance, and sensitivity, over that without skips in a linear U-Net; one a scheme."""
        return np.array([1 + np.sum(kappas**2) for kappas in self.kappas.values()])

    @property
    def verdict(self) -> str:
        """Of the first scheme: "weak without skips", "large", "lost skips", "skips without effect" or "fine"."""
        return self.findings[0].verdict

    @property
    def reason(self) -> str:
        """The numbers that the verdict stands on."""
        return self.findings[0].reason

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text: a header, and one row a scheme; all numbers are relative to no skips."""
        head = ("skips", "1 + sum kappa^2", "variance", "sensitivity", "|d/dparams|", "largest", "verdict")
        parts = (self.variance, self.sensitivity, self.gradient, self.largest)
        ratios = [self.theory, *(part[:, -1] / part[:, 0] for part in parts)]
        columns = zip(*([f"{value:.3g}" for value in column] for column in ratios), strict=True)
        body = zip(self.kappas, columns, self.findings, strict=True)
        return [head, *((name, *cells, finding.verdict) for name, cells, finding in body)]

    def __str__(self) -> str:
        """The table and the reasons."""
        cells = self.rows()
        sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, sizes)).rstrip() for row in cells]
        reasons = (f"{name}, {f.verdict}: {f.reason}" for name, f in zip(self.kappas, self.findings, strict=True))
        return "\n".join([*lines, "", "relative to the network without skips", *reasons])

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.diagnostics.pictures import draw_skips, write

        return write(draw_skips(self), path)


def unet_signal_report(
    apply: Callable[[Any, Any, Any], Any], params: Any, x: Any, kappas: Any, *, key: Any = 0, probes: int = 8
) -> SkipReport:
    """Outputs, input sensitivity and gradients of apply(params, x, kappas) as the scales of its skips grow. (S9)

    kappas: one `[n]`, as of `skip_scales`, or several by name; the verdict is that of the first.  All of one scheme
    are multiplied by t = 0, 1/4, ..., 1.
    In a linear U-Net whose blocks keep the variance, variance and sensitivity are 1 + t^2 sum kappa_i^2 times those
    at t = 0.  "large": more than 4 times; "lost skips": a scale below 0.01.
    Raises: ValueError if the network is 0 without skips, or scales of several lengths are given.

    >>> import jax.numpy as jnp
    >>> def apply(params, x, kappas):
    ...     return x @ params + x @ params[::-1] * kappas[0]
    >>> params = np.random.default_rng(0).normal(size=(64, 64)) / 8
    >>> unet_signal_report(apply, params, np.eye(64), skip_scales(1)).verdict
    'fine'
    """
    schemes = {
        str(k): np.asarray(v, float) for k, v in (kappas if isinstance(kappas, Mapping) else {"skips": kappas}).items()
    }
    sizes = {v.shape for v in schemes.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise ValueError(f"kappas is one scale a skip, [n], or several such of one length by name; got shapes {sizes}.")
    if probes < 1:
        raise ValueError(f"probes is the number of random directions, one or more; got {probes}.")
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    x = jnp.asarray(x)
    measured = [
        [_measured(jnp.asarray(t * scales, x.dtype), params, x, key, apply, probes) for t in LEVELS]
        for scales in schemes.values()
    ]
    parts = np.moveaxis(np.asarray(measured, np.float64), 2, 0)
    if not (parts[:, :, 0] > 0).all():
        raise ValueError(
            "the output or its derivatives are 0 without skips (kappas = 0): there is nothing to compare with."
        )
    ratios = parts[:2, :, -1] / parts[:2, :, 0]
    findings = [_finding(scales, *ratio) for scales, ratio in zip(schemes.values(), ratios.T, strict=True)]
    variance, sensitivity, gradient, largest = parts
    return SkipReport(schemes, LEVELS, variance, sensitivity, gradient, largest, tuple(findings))


class Measured(NamedTuple):
    """What one network does."""

    variance: Array
    sensitivity: Array
    gradient: Array
    largest: Array


@partial(jax.jit, static_argnames=("apply", "probes"))
def _measured(kappas: Array, params: Any, x: Array, key: Array, apply: Any, probes: int) -> Measured:
    y, pull = jax.vjp(lambda params, x: apply(params, x, kappas), params, x)

    def squares(v: Array) -> tuple[Array, Array]:
        in_params, in_x = pull(v)
        return sum(jnp.sum(g**2) for g in jax.tree.leaves(in_params)) / y.size, jnp.sum(in_x**2) / y.size

    of_params, of_x = jax.lax.map(squares, jax.random.normal(key, (probes, *y.shape), y.dtype))
    return Measured(jnp.mean(y**2), jnp.mean(of_x), jnp.sqrt(jnp.mean(of_params)), jnp.max(jnp.abs(y)))


def _finding(kappas: np.ndarray, variance: float, sensitivity: float) -> Finding:
    linear = 1 + np.sum(kappas**2)
    sizes = f"variance x {variance:.3g}, sensitivity x {sensitivity:.3g} by the skips, 1 + sum kappa^2 = {linear:.3g}"
    if min(variance, sensitivity) > WEAK * linear:
        return Finding("weak without skips", f"{sizes}. The layers between the skips do not keep the variance.")
    if not np.isfinite([variance, sensitivity]).all() or max(variance, sensitivity) > LARGE:
        return Finding("large", f"{sizes}. Scales that fall with depth, skip_scales(n), bound the sum.")
    if (kappas < LOST).any():
        return Finding("lost skips", f"{sizes}; {np.sum(kappas < LOST)} of {len(kappas)} scales are below {LOST}.")
    if abs(variance - 1) < ALIKE and abs(sensitivity - 1) < ALIKE and (kappas > LOST).any():
        return Finding("skips without effect", f"{sizes}: does apply use its kappas?")
    return Finding("fine", f"{sizes}.")
