"""The spectrum of a product of free factors, from the M-transforms of each. (J1)-(J4)

With m the unknown, M^{-1}(m) = (1 + m)/m prod_i (m zeta_i/(1 + m)) (1 + m)^g, zeta_i = M_i^{-1}(m), for factors i and
g Gaussian matrices, in units of the mean.  Nothing is inverted beforehand: m and all zeta_i are found by one Newton
iteration, continued from far away, where the factors are known, down to the real axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from widenet.spectra.slopes import SlopeLaw

FAR = 100.0  # times the mean and the number of factors: there m = 1/z to two digits
LEAST = 1e-9  # mass of an atom: less is rounding
SHRINK = 0.5  # of the distance to the axis in one step
LONGEST = 0.5  # step of a logarithm
ITERATIONS = 6  # of Newton in a step: two are enough far away
LAST = 40  # at the end
ROUNDING = 1e-14  # of logarithms, tens of units
ROUGH = 1e-3  # a Newton step on the way
CONVERGED = 1e-8  # a Newton step at the end is below it


@dataclass(frozen=True)
class FreeProduct:
    """W_L D_k ... D_1 W_1 scaled to mean 1: laws of D^2, each with how often it comes, and how many W are Gaussian."""

    laws: tuple[tuple[SlopeLaw, int], ...]
    gaussians: int

    @property
    def count(self) -> int:
        """How many D there are."""
        return sum(times for _, times in self.laws)

    @property
    def relative_variance(self) -> float:
        """Variance over squared mean: those of the factors add up. (J3)"""
        return self.gaussians + sum(times * law.relative_variance for law, times in self.laws)

    @property
    def atoms(self) -> dict[float, float]:
        """The masses of single points: zero, and without Gaussians perhaps one more. (J4)"""
        zero = max((law.mass(0.0) for law, _ in self.laws), default=0.0)
        top = 1 - sum(times * (1 - law.mass(law.mode)) for law, times in self.laws)
        place = float(np.prod([(law.mode / law.mean) ** times for law, times in self.laws]))
        found = {0.0: zero, place: 0.0 if self.gaussians else top}
        return {point: mass for point, mass in found.items() if mass > LEAST}

    def moments(self, count: int) -> np.ndarray:
        """E lambda^k in units of the mean, k = 1 to count, by reversion of series. (J3)"""
        one_plus = np.zeros(count)
        one_plus[:2] = 1.0, 1.0
        ratio = _power(one_plus[:count], self.gaussians + 1 - self.count, count)  # m M^{-1}(m)
        for law, times in self.laws:
            u = _reversed(law.moments(count) / law.mean ** np.arange(1, count + 1))
            ratio = _product(ratio, _power(u, -times, count), count)
        return np.array([_power(ratio, k, count)[k - 1] / k for k in range(1, count + 1)])

    def upper_edge(self) -> float:
        """The largest eigenvalue in units of the mean: the least M^{-1}(m), m > 0. (J4)"""
        m = np.geomspace(1e-6, 1e6, 1200)
        logs = (1 - self.count) * np.log1p(1 / m) + self.gaussians * np.log1p(m)
        for law, times in self.laws:
            logs += times * np.log(_inverse(law, m) / law.mean)
        return float(np.exp(logs.min()))

    def density(self, grid: np.ndarray, smoothing: float) -> np.ndarray:
        """The density at `grid` > 0, without atoms, in units of the mean, from `smoothing` times it above the axis.

        Raises: ValueError for a single D without Gaussians; ArithmeticError where Newton's method does not converge.
        """
        if not self.gaussians and self.count < 2:
            raise ValueError(
                "one activation between orthogonal matrices makes no free product: the eigenvalues are phi'(h)^2 "
                "themselves, h normal; draw these."
            )
        z, root = self._continued(grid, smoothing)
        whole = 1 + np.exp(root.log_m)
        rounding = (
            ROUNDING * (1 + self.count + self.gaussians) / np.abs(whole)
        )  # of log(1 + m): near zero, m is near -1
        places = grid[~(root.step < np.maximum(CONVERGED, rounding))]
        if len(places):
            raise ArithmeticError(
                f"the density at {len(places)} points from {places.min():.3g} to {places.max():.3g} times the mean "
                "was not found: take a larger smoothing, or a grid away from 0."
            )
        resolvent = whole / z - sum(mass / (z - point) for point, mass in self.atoms.items())
        return np.maximum(-resolvent.imag / np.pi, 0)  # a density: only rounding makes it negative

    def _continued(self, grid: np.ndarray, smoothing: float) -> tuple[np.ndarray, Root]:
        height = FAR * (1 + self.gaussians + self.count) * np.maximum(1, grid)
        z = grid + 1j * height
        far = -np.log(z)
        root = Root(far, tuple(far - np.log(law.mean) for law, _ in self.laws), np.zeros(len(grid)))
        while (height > smoothing * grid).any():
            root = self._newton(root, z, ITERATIONS, ROUGH)
            height = np.maximum(SHRINK * height, smoothing * grid)
            z = grid + 1j * height
        return z, self._newton(root, z, LAST, CONVERGED / 100)

    def _newton(self, root: Root, z: np.ndarray, iterations: int, tolerance: float) -> Root:
        for _ in range(iterations):
            root = self._step(root, z)
            if (root.step < tolerance).all():
                break
        return root

    def _step(self, root: Root, z: np.ndarray) -> Root:
        """One Newton step for log M^{-1}(m) = log z and log M_i(1/u_i) = log m, all at once, in log m and log u_i."""
        log_m, logs, _ = root
        m = np.exp(log_m)
        made = [law.log_transform(log_u) for (law, _), log_u in zip(self.laws, logs, strict=True)]
        behind = [_principal(log_m - value) for value, _ in made]
        residual = (1 - self.count) * (np.log1p(m) - log_m) + self.gaussians * np.log1p(m) - np.log(z)
        residual -= sum(times * (log_u + np.log(law.mean)) for (law, times), log_u in zip(self.laws, logs, strict=True))
        slope = (self.gaussians * m - (1 - self.count)) / (1 + m)
        for (_, times), (_, change), gap in zip(self.laws, made, behind, strict=True):
            residual -= times * gap / change
            slope -= times / change
        step = -_principal(residual) / slope
        steps = [(gap + step) / change for (_, change), gap in zip(made, behind, strict=True)]
        longest = np.max([np.abs(s) for s in (step, *steps)], axis=0)
        part = np.minimum(1, LONGEST / np.maximum(longest, LONGEST))
        return Root(log_m + part * step, tuple(u + part * s for u, s in zip(logs, steps, strict=True)), longest)


class Root(NamedTuple):
    """Where Newton's iteration stands, at every point of a grid."""

    log_m: np.ndarray
    logs: tuple[np.ndarray, ...]  # log u_i, u_i = 1/zeta_i
    step: np.ndarray  # the last change


def _principal(x: np.ndarray) -> np.ndarray:
    """x up to multiples of 2 pi i: the branch of the logarithms does not matter."""
    return x - 2j * np.pi * np.round(x.imag / (2 * np.pi))


def _inverse(law: SlopeLaw, m: np.ndarray) -> np.ndarray:
    """zeta beyond the support with M(zeta) = m > 0, by bisection of a decreasing function."""
    top = law.values.max()
    low, high = np.full_like(m, np.log(top) - 40), np.full_like(m, np.log(top) + 40)
    for _ in range(60):
        middle = (low + high) / 2
        above = law.transform(top + np.exp(middle)) > m
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return top + np.exp(low)


def _product(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """The product of two series, `count` terms."""
    return np.convolve(a, b)[:count]


def _power(a: np.ndarray, exponent: int, count: int) -> np.ndarray:
    """a(x)^exponent for a(0) = 1, `count` terms, by x b' a = exponent x a' b."""
    b = np.zeros(count)
    b[0] = 1.0
    for k in range(1, count):
        b[k] = sum((exponent * j - (k - j)) * a[j] * b[k - j] for j in range(1, min(k, len(a) - 1) + 1)) / k
    return b


def _reversed(moments: np.ndarray) -> np.ndarray:
    """u(m)/m as a series, where m = sum_k moments[k - 1] u^k and moments[0] = 1 (Lagrange)."""
    count = len(moments)
    return np.array([_power(moments, -k, count)[k - 1] / k for k in range(1, count + 1)])
