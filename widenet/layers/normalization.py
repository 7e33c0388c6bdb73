"""Normalization layers, without learned scales and shifts: scale with a dense layer where one is wanted."""

from __future__ import annotations

from widenet.layers.layer import layer
from widenet.program.ops import BatchNorm, Normalize
from widenet.program.var import Var


@layer
def layer_norm(x: Var, *, positions: bool = False, eps: float = 0.0) -> Var:
    """Layer normalization over channels, or over channels and all positions (N1).

    z = (x - mean x) / sqrt(var x + eps).  In the limit mean and variance are deterministic, so a Gaussian x stays
    Gaussian, and the mean matters after an activation only.  A sample of variance zero stays zero if eps = 0.
    Source: ba2016, eq. (4); yang2019, app. B.
    """
    return _normalize(x, Normalize(True, _over_positions(x, positions), _checked(eps, x)))


@layer
def rms_norm(x: Var, *, positions: bool = False, eps: float = 0.0) -> Var:
    """Root-mean-square normalization, x / sqrt(mean x^2 + eps), over channels or channels and positions (N1).

    Source: zhang2019, eq. (4).
    """
    return _normalize(x, Normalize(False, _over_positions(x, positions), _checked(eps, x)))


@layer
def batch_norm(x: Var, *, eps: float = 0.0) -> Var:
    """Batch normalization: every channel centred and scaled over the batch and all positions (B1).

    It couples the samples, so `kernel` refuses it and `batch_kernel` reads it; x must be Gaussian.
    Source: ioffe2015, alg. 1; yang2019bn.
    """
    return Var(BatchNorm(_checked(eps, x)), (x,), x.positions, x.channels)


def _normalize(x: Var, op: Normalize) -> Var:
    return Var(op, (x,), x.positions, x.channels)


def _over_positions(x: Var, positions: bool) -> bool:
    if positions and not x.positions:
        raise ValueError(f"normalization of {x} over positions: there are none; leave out positions=True.")
    return positions


def _checked(eps: float, x: Var) -> float:
    if not eps >= 0:
        raise ValueError(f"normalization of {x}: eps is added to a variance and must be >= 0; got {eps}.")
    return float(eps)
