"""Muon: the orthogonal factor of the momentum, without or with a factor of its shape. (O4)"""

from __future__ import annotations

import math
from typing import Any

from widenet.optimizers.adam import scale_by_adam
from widenet.optimizers.leaves import PerLeaf, by_matrix, routed
from widenet.optimizers.library import optax
from widenet.optimizers.orthogonal import Orthogonalize, accurate
from widenet.parametrizations.optimizers import MUON_SCALES, Scale, muon


def optax_muon_scale(consistent_rms: float | None = None) -> Scale:
    """What `optax.contrib.muon` with this argument multiplies its orthogonal factor by: divide by it to undo it. (O4)

    sqrt(max(1, fan_out / fan_in)), or consistent_rms sqrt(max(fan_in, fan_out)): both are wrong for some layers when
    one learning rate is to serve all widths.  `parametrizations.muon(optax_muon_scale())` is this optimizer as data,
    and `shape_factors(params, optax_muon_scale())` are the factors of all leaves.
    """
    if consistent_rms is None:
        return MUON_SCALES["keller"]
    return lambda fan_in, fan_out: consistent_rms * math.sqrt(max(fan_in, fan_out))


def scale_by_muon(
    momentum: float = 0.95,
    *,
    nesterov: bool = True,
    orthogonalize: Orthogonalize = accurate,
    scale: str | Scale | None = None,
    axes: PerLeaf = None,
    rest: Any = None,
) -> Any:
    """The orthogonal factor U V^T of the momentum of each matrix, times a `scale`, which is 1. (O3, O4)

    m <- momentum m + g;    G = g + momentum m, or m without `nesterov`;    update = scale U V^T.

    Shapes: any; `axes` says which leaves are matrices and how (see `fans_of`): by default all with two axes or
    more, the window of a convolution counting with its inputs.  What is no matrix gets `rest`: by default
    `scale_by_adam()`.
    Accuracy: that of `orthogonalize`: `accurate`, `standard`, `newton_schulz(...)` or `polar`.
    `scale` is that of `parametrizations.muon`: "keller", "kimi", "spectral", or a function (fan_in, fan_out) -> float.
    Raises: ValueError for another scale.
    Source: jordan2024.
    """
    own_scale = muon(scale).own_scale or (lambda *_: 1.0)

    def step(name: str, matrices: Any, state: tuple[()], count: Any) -> tuple[Any, tuple[()]]:
        return own_scale(*matrices.shape[1:]) * orthogonalize(matrices), state

    core = optax().chain(optax().trace(momentum, nesterov), by_matrix(lambda _: (), step, axes))
    return routed(core, axes, scale_by_adam() if rest is None else rest)
