"""How gradients of residual networks grow with depth: as a power of it, or faster. (S8)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.diagnostics.dynamic_tanh import Propagation
from widenet.diagnostics.verdict import TOO_MUCH, Finding

SATURATED = 3.0  # alpha sqrt(q): tanh of a typical value is above 0.99
FIRST = 0.1  # of the depth: what the fits leave out, for laws are of large depth
LAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"power law": np.log, "stretched exponential": np.sqrt}
FORMULAS = {"power law": "J ~ l^{:.3g}", "stretched exponential": "J ~ exp({:.3g} sqrt(l))"}


class Fit(NamedTuple):
    """log J = offset + rate f(l), f = log or sqrt."""

    rate: float
    offset: float
    error: float  # root mean square of what is left of log J


def residual_growth(
    block: Callable[[Any, Array], Array], params: Any, x: Any, key: Any = 0, probes: int = 8
) -> Propagation:
    """q and log J of a real residual stream, h <- block(params_l, h) from h = x, measured in one forward pass. (S8)

    params: a pytree whose leaves have the layers as their first axis.  block: keeps the shape of h.
    J is the mean over random directions v of |dh_l/dh_0 v|^2 / |v|^2: the averaged partial Jacobian norm.
    dtype: that of x; tangents are rescaled in each layer, so that nothing overflows.
    Raises: ValueError for a block that changes the shape.
    """
    x = jnp.asarray(x)
    if probes < 1:
        raise ValueError(f"probes is the number of random directions, one or more; got {probes}.")
    one = jax.tree.map(lambda leaf: leaf[0], params)
    made = jax.eval_shape(block, one, x)
    if made.shape != x.shape:
        raise ValueError(f"a block of a residual stream keeps its shape, {x.shape}; this one makes {made.shape}.")
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    q, logs = _stream(params, x, jax.random.normal(key, (probes, *x.shape), x.dtype), block)
    start = float(jnp.mean(jnp.square(x)))
    return Propagation(np.append(start, q), np.append(0.0, logs))


@partial(jax.jit, static_argnames="block")
def _stream(params: Any, x: Array, tangents: Array, block: Callable[[Any, Array], Array]) -> tuple[Array, Array]:
    axes = tuple(range(1, tangents.ndim))

    def unit(v: Array) -> tuple[Array, Array]:
        length = jnp.sqrt(jnp.sum(v**2, axis=axes, keepdims=True))
        return v / length, 2 * jnp.log(length.ravel())

    def step(carry: Any, layer: Any) -> tuple[Any, Any]:
        h, v, logs = carry
        h, push = jax.linearize(partial(block, layer), h)
        v, more = unit(jax.vmap(push)(v))
        logs = logs + more
        return (h, v, logs), (jnp.mean(h**2), jax.nn.logsumexp(logs) - jnp.log(len(logs)))

    v, _ = unit(tangents)
    return jax.lax.scan(step, (x, v, jnp.zeros(len(v), x.dtype)), params)[1]


@dataclass(frozen=True)
class GrowthReport:
    """The growth of gradients with depth, the laws fitted to it, and what is wrong."""

    found: Propagation
    theory: Propagation | None
    fits: dict[str, Fit]
    findings: tuple[Finding, ...]

    @property
    def law(self) -> str:
        """The law that fits better: "power law" or "stretched exponential"."""
        return min(self.fits, key=lambda name: self.fits[name].error)

    @property
    def verdict(self) -> str:
        """The first finding: a law of growth, "no growth" or "saturated"."""
        return self.findings[0].verdict

    @property
    def reason(self) -> str:
        """The numbers that the verdict stands on."""
        return self.findings[0].reason

    def __str__(self) -> str:
        """Some of the layers, both fits, and what was found."""
        depth = len(self.found.q) - 1
        shown = np.unique(np.geomspace(1, depth, 8).round().astype(int))
        lines = ["layer     q         log J" + ("" if self.theory is None else "     theory q  theory log J")]
        for at in shown:
            lines.append(f"{at:<8}  {self.found.q[at]:<8.3g}  {self.found.log_apjn[at]:<8.4g}")
            if self.theory is not None:
                lines[-1] += f"  {self.theory.q[at]:<8.3g}  {self.theory.log_apjn[at]:.4g}"
        fits = [f"{told(name, fit)}: log J is off by {fit.error:.2g}" for name, fit in self.fits.items()]
        return "\n".join([*lines, "", *fits, *(f"{f.verdict}: {f.reason}" for f in self.findings)])

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.diagnostics.pictures import draw_growth, write

        return write(draw_growth(self), path)


def told(name: str, fit: Fit) -> str:
    """A law with its number."""
    return FORMULAS[name].format(fit.rate)


def growth_report(found: Propagation, *, theory: Propagation | None = None, alpha: float | None = None) -> GrowthReport:
    """Do gradients grow as a power of depth, or as a stretched exponential?  Which fits log J better. (S8)

    log J = a + b log l   against   log J = a + b sqrt(l),   by least squares over the last nine tenths of the layers

    found: of `residual_growth`, `dyt_propagation` or `layer_norm_propagation`.  theory: what to set beside it.
    alpha: of dynamic tanh, if that is what normalizes: it is saturated where alpha sqrt(q) > 3.
    Raises: ValueError for less than 10 layers, or values that are not finite.

    >>> import widenet as wn
    >>> growth_report(wn.dyt_propagation(2000), alpha=0.5).law
    'stretched exponential'
    """
    depth = len(found.q) - 1
    if depth < 10:
        raise ValueError(f"two laws are told apart over 10 layers or more; got {depth}.")
    if theory is not None and len(theory.q) != depth + 1:
        raise ValueError(f"theory has {len(theory.q) - 1} layers, but {depth} were measured: use the same depth.")
    if not all(np.isfinite(part).all() for part in found):
        raise ValueError("q or log J is not finite in some layer: compute in float64, or scale the weights down.")
    fits = {name: _fit(law, found.log_apjn) for name, law in LAWS.items()}
    return GrowthReport(found, theory, fits, _findings(found, fits, alpha))


def _fit(law: Callable[[np.ndarray], np.ndarray], log_apjn: np.ndarray) -> Fit:
    at = np.arange(max(1, round(FIRST * len(log_apjn))), len(log_apjn))
    rate, offset = np.polyfit(law(at), log_apjn[at], 1)
    return Fit(rate, offset, float(np.sqrt(np.mean((offset + rate * law(at) - log_apjn[at]) ** 2))))


def _findings(found: Propagation, fits: dict[str, Fit], alpha: float | None) -> tuple[Finding, ...]:
    better, worse = sorted(fits, key=lambda name: fits[name].error)
    total, depth = found.log_apjn[-1], len(found.q) - 1
    text = (
        f"over {depth} layers squared gradients are multiplied by exp({total:.3g}), {told(better, fits[better])}; "
        f"log J is off by {fits[better].error:.2g}, by {fits[worse].error:.2g} as a {worse}."
    )
    small = abs(total) < np.log(2)
    growth = Finding("no growth", f"squared gradients are multiplied by {np.exp(total):.3g} over {depth} layers.")
    made = [growth if small else Finding(better, text)]
    if total > np.log(TOO_MUCH):
        made.append(Finding("exploding", f"exp({total:.3g}) is more than a learning rate makes up for."))
    steep = None if alpha is None else alpha * np.sqrt(found.q)
    if steep is not None and steep[-1] > SATURATED:
        first = int(np.argmax(steep > SATURATED))
        text = (
            f"alpha sqrt(q) is above {SATURATED:g} from layer {first} on, {steep[-1]:.3g} at the end: of most values "
        )
        made.append(Finding("saturated", f"{text}tanh keeps little more than the sign; a smaller alpha keeps more."))
    return tuple(made)
