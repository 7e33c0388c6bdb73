"""How branches of residual networks are scaled with depth. (U6)"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from widenet.parametrizations.exponents import Power, power
from widenet.parametrizations.optimizers import Optimizer


@dataclass(frozen=True)
class Depth:
    """x <- x + L^-alpha block(x), where steps change the block's weights by L^-gamma."""

    alpha: Power
    gamma: Power

    def rate(self, optimizer: Optimizer) -> Power:
        """The power of L in the learning rate inside of branches: alpha p - gamma."""
        return self.alpha * optimizer.degree - self.gamma

    def decay(self, optimizer: Optimizer) -> Power:
        """The power of L in the weight decay there, so that a step of decay is as large as an update."""
        return -self.alpha * optimizer.degree

    def epsilon(self) -> Power:
        """The power of L in the size of gradients there."""
        return -self.alpha

    @property
    def diversity(self) -> Power:
        """kappa: x at depths s and s + eps differ by eps^(1 - kappa). (tp6, Claims 7.4 and 7.5)"""
        return Fraction(1, 2) if self.alpha == Fraction(1, 2) else Fraction(0)

    @property
    def linearizes(self) -> bool:
        """Does every block become linear in its own weights as L grows? (tp6, Claim 7.6)"""
        return Fraction(1, 2) <= self.alpha < 1

    def violated(self, block_depth: int = 1) -> tuple[str, ...]:
        """The conditions of a good limit of depth that do not hold, in words."""
        a, g = self.alpha, self.gamma
        conditions = {
            f"stable at initialization: alpha >= 1/2, but alpha = {a}": a >= Fraction(1, 2),
            f"stable in training: alpha + gamma >= 1, but it is {a + g}": a + g >= 1,
            f"nontrivial: alpha + gamma <= 1, but it is {a + g}": a + g <= 1,
            f"faithful: alpha <= 1, but alpha = {a}": a <= 1,
            f"blocks of {block_depth} layers learn features within: alpha >= 1, but alpha = {a}": block_depth == 1
            or a >= 1,
        }
        return tuple(text for text, holds in conditions.items() if not holds)


def depth(alpha: float | Fraction | str, gamma: float | Fraction | str | None = None) -> Depth:
    """A scheme with branches L^-alpha; gamma = 1 - alpha, the largest stable updates, if None.

    Source: yang2023, section 7; dey2025 (any alpha between 1/2 and 1).
    """
    a = power(alpha, "alpha")
    return Depth(a, 1 - a if gamma is None else power(gamma, "gamma"))


depth_none = Depth(Fraction(0), Fraction(0))  # nothing depends on depth
depth_sqrt = depth(Fraction(1, 2))  # Depth-muP: best for blocks of one layer
depth_linear = depth(1)  # for blocks of two layers or more
