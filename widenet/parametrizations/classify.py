"""What a parametrization does as width grows: stable or not, features or a kernel. (U4)"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from widenet.parametrizations.exponents import Exponents, Power
from widenet.parametrizations.optimizers import Optimizer, an_optimizer
from widenet.parametrizations.parametrization import HALF, Parametrization, a_parametrization


@dataclass(frozen=True)
class Classification:
    """A parametrization under one optimizer, in the limit of width (and depth).

    r: features change by n^-r; r_layers: by what each layer's own update adds, n^-r_l.
    regime: "feature learning", "kernel" (SGD), "operator" (a kernel that is not linear in the loss: Adam), "trivial" or
    "unstable".  violated: every inequality that does not hold, with its numbers.
    """

    stable_at_init: bool
    stable: bool
    faithful: bool
    nontrivial: bool
    r: Power
    r_layers: Exponents
    regime: str
    violated: tuple[str, ...]

    def __str__(self) -> str:
        """The regime, and what is violated."""
        lines = [f"{self.regime}, r = {self.r} (input, hidden, output: {self.r_layers})"]
        return "\n".join([*lines, *(f"violated: {text}" for text in self.violated)])


def check(parametrization: Parametrization, optimizer: Optimizer, *, block_depth: int = 1) -> Classification:
    """Is this parametrization stable, nontrivial and does it learn features under this optimizer? (U4)

    The inequalities of batch size and number of steps of order one, for smooth activations.
    block_depth: weight matrices in a residual branch; it counts where the parametrization scales with depth.
    Source: yang2021, theorems 3.3 to 3.8 (SGD); yang2023adaptive, theorems 2.8.12 to 2.8.19
    (Adam); yang2023, section 7 (depth).
    """
    weights, (layers, g) = a_parametrization(parametrization).weights, parametrization.sizes(an_optimizer(optimizer))
    r = min(layers.input, layers.hidden)
    moved = weights.output + r  # of the readout's initial weights by changed features
    at_init = {
        f"stable at initialization, a + b = 0 of the input: {weights.input}": weights.input == 0,
        f"stable at initialization, a + b = 1/2 of hidden layers: {weights.hidden}": weights.hidden == HALF,
        f"stable at initialization, a + b >= 1/2 of the readout: {weights.output}": weights.output >= HALF,
    }
    in_training = {
        f"stable in training, r >= 0 of the input: {layers.input}": layers.input >= 0,
        f"stable in training, r >= 0 of hidden layers: {layers.hidden}": layers.hidden >= 0,
        f"stable in training, r >= 0 of the readout: {layers.output}": layers.output >= 0,
        f"stable in training, a + b + r >= 1 of the readout: {moved}": moved >= 1,
    }
    kept = _faithful(parametrization, optimizer, g)
    moves = {
        f"nontrivial, r = 0 or a + b + r = 1 of the readout: {layers.output}, {moved}": 1 in (layers.output + 1, moved)
    }
    deep = (
        parametrization.depth.violated(block_depth)
        if parametrization.depth.alpha or parametrization.depth.gamma
        else ()
    )
    conditions = at_init | in_training | kept | moves
    stable_at_init = all(at_init.values())
    stable = stable_at_init and all(in_training.values())
    nontrivial = all(moves.values())
    return Classification(
        stable_at_init,
        stable,
        all(kept.values()),
        nontrivial,
        r,
        layers,
        _regime(stable, nontrivial, r, optimizer),
        (*(text for text, holds in conditions.items() if not holds), *deep),
    )


def _faithful(parametrization: Parametrization, optimizer: Optimizer, g: Power) -> dict[str, bool]:
    """Does the optimizer see gradients of order one?  It always does where d follows them."""
    if optimizer.degree or parametrization.d is None:
        return {}
    wanted = parametrization.gradients(optimizer)
    return {
        f"faithful, d = {size} of the {role}: {given}": given == size
        for role, given, size in zip(("input", "hidden layers", "readout"), parametrization.d, wanted, strict=True)
    }


def _regime(stable: bool, nontrivial: bool, r: Power, optimizer: Optimizer) -> str:
    if not stable:
        return "unstable"
    if not nontrivial:
        return "trivial"
    if r == Fraction(0):
        return "feature learning"
    return "kernel" if optimizer.degree == 1 else "operator"
