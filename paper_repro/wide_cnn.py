"""What can be learnt with wide convolutional neural networks? (Cagnetta, Favero, Wyart; ICML 2023).

Paper: cagnetta2023
Figure: 2 (learning curves with teachers of several depths and of several dimensions); the spectra and their sectors
Claim: a network of non-overlapping patches learns a function of a meta-patch at a rate that is set by the effective
    dimension of this meta-patch; its own functions at random weights, of all inputs, stay cursed
Expected: eigenvalues rank^-(1 + 2 nu / d_eff), nu = 1/2 (NTK), 3/2 (NNGP), and k^-(2 nu + d_eff(l)) in sector l; test
    error n^-(1 / d_eff) if teacher and student are alike
Minutes: 5 (full, 4 cores), 0.4 (--quick, 2 cores)
Command: python paper_repro/wide_cnn.py [--quick] [--out DIR] [--seed N]

A network is its filter sizes (s_1, ..., s_L): convolutions whose stride is their window, relu after each, a dense
readout of what is left.  Every s_1-patch of the data is a uniform point on the sphere S^(s_1 - 1); a meta-patch of
layer l has d_eff(l) = (s_1 - 1) s_2 ... s_l dimensions.  Scales are such that each layer maps correlations c to
kappa_1(c) (sigma_w^2 = 2, and s_1 for the first, where a patch has norm 1).  Teachers are drawn from the Gaussian
process with the NTK of a network, students regress with the NTK, without a ridge.
Not as in the paper: at most 4096 training and 2048 test points, 4 draws (8192 and 8192); errors are relative to the
teacher's variance; sectors are read off the Fourier transform of the kernel on the torus (s_1 = 2), which is exact.
What is expected: the exponents of spectra and of teachers like their students are the paper's, asymptotic ones.  With a
teacher of depth l < L the ridgeless student learns the modes whose eigenvalues are above that of rank n, so the rate is
(1 + 2 nu / d_eff(L)) / (1 + 2 nu / d_eff(l)) / d_eff(l) (`rate`, derived here), slower than 1 / d_eff(l).  The dashed
curves of figure 2a have no free parameter: they follow from the eigenvalues of both kernels on the torus.  Tolerances:
0.25 in slopes of spectra, which at finite n are steeper than in the limit, 30 % in rates; a second implementation, in
numpy, stayed within.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from scipy.optimize import brentq

import widenet as wn
from widenet.predict import gp
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

Filters = tuple[int, ...]

SMOOTHNESS = {"NTK": 0.5, "NNGP": 1.5}  # nu of relu
SPECTRA: tuple[Filters, ...] = ((2,), (3,), (2, 2), (2, 2, 2), (3, 2))
TORUS: Filters = (2, 2)
STUDENT: Filters = (2, 2, 2)
TEACHERS: tuple[Filters, ...] = ((2,), (2, 2), (2, 2, 2))
MATCHED: tuple[Filters, ...] = ((2,), (3,), (2, 2), (3, 2))
FITTED_FROM = 256  # training points
FIRST_RANK, FIRST_WAVE = 30, 16  # where fits begin
JITTER = 1e-12  # of the variance, for the Cholesky factor from which teachers are drawn


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    networks: int  # whose spectra are computed
    spectrum: int  # points
    grid: int  # points of the torus of two patches along each axis
    grids: tuple[tuple[int, ...], ...]  # the same for the four patches of the student, by the teacher's layers
    train: tuple[int, ...]
    test: int
    draws: int


FINE = ((1024, 16, 16, 16), (128, 128, 16, 16), (32, 32, 32, 32))
COARSE = ((512, 8, 8, 8), (64, 64, 8, 8), (16, 16, 16, 16))
FULL = Size(5, 4096, 1024, FINE, (128, 256, 512, 1024, 2048, 4096), 2048, 4)
QUICK = Size(4, 1536, 512, COARSE, (128, 256, 512, 1024), 512, 2)

RECURSION = Claim("kernel", "largest difference of NNGP and NTK to the paper's recursion", at_most(1e-12))
ADAPTS = Claim("fig. 2a", "exponent with the teacher of one patch over that of all inputs", at_least(1.5))
THEORY = Claim("fig. 2a", "largest |ln(mean test error / its prediction from the eigenvalues)|", at_most(0.2))


def main(run: Run) -> Iterator[Outcome]:
    """Spectra, sectors, learning curves, and a verdict a claim."""
    size = QUICK if run.quick else FULL
    yield from spectra(run, size)
    yield from sectors(run, size)
    yield from learning_curves(run, size)


def network(filters: Filters) -> Any:
    """Non-overlapping convolutions, relu after each, a dense readout."""
    first, *others = filters
    layers = [wn.conv(first, sqrt(first), stride=first, padding="VALID"), wn.relu]
    for window in others:
        layers += [wn.conv(window, sqrt(2), stride=window, padding="VALID"), wn.relu]
    return wn.serial(*layers, wn.flatten, wn.dense(sqrt(2)))


def effective_dimension(filters: Filters) -> int:
    """Dimension of a meta-patch of the last layer."""
    return (filters[0] - 1) * prod(filters[1:])


def points(rng: np.random.Generator, n: int, patch: int, d: int) -> np.ndarray:
    """n draws of d / patch points on the sphere, `[n, d, 1]`."""
    x = rng.standard_normal((n, d // patch, patch))
    return (x / np.linalg.norm(x, axis=2, keepdims=True)).reshape(n, d, 1)


def recursion(filters: Filters, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Both kernels as the paper writes them, on inputs of the size of one meta-patch."""
    c = ntk = np.einsum("ipk,jpk->pij", *(z.reshape(len(z), -1, filters[0]) for z in (x, y)))
    for children in (*filters[1:], 1):
        angle = np.arccos(np.clip(c, -1.0, 1.0))  # beyond by rounding
        kappa_0, kappa_1 = 1 - angle / np.pi, (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
        c = mean_of_children(kappa_1, children)
        ntk = mean_of_children(kappa_0 * ntk, children) + c
    return {"NTK": ntk[0], "NNGP": c[0]}


def mean_of_children(k: np.ndarray, children: int) -> np.ndarray:
    """Kernels of patches `[patches, n1, n2]` to those of the patches of these."""
    return k.reshape(-1, children, *k.shape[1:]).mean(axis=1)


def spectra(run: Run, size: Size) -> Iterator[Outcome]:
    """Eigenvalues by rank."""
    figure, axes = panels(2, width=4.8, height=4.0)
    fitted = slice(FIRST_RANK, size.spectrum // 8)  # higher ranks are of the sample, not of the kernel
    ranks, errors = np.arange(1, size.spectrum + 1), []
    for colour, filters in zip(COLOURS, progress(SPECTRA[: size.networks], "spectra"), strict=False):
        x = points(np.random.default_rng(run.seed), size.spectrum, filters[0], prod(filters))
        written = recursion(filters, x[:50], x[50:100])
        for ax, (name, k) in zip(axes, kernels(filters, x).items(), strict=True):
            errors.append(np.max(np.abs(k[:50, 50:100] - written[name])))
            values = np.linalg.eigvalsh(k)[::-1] / len(x)
            expected = -1 - 2 * SMOOTHNESS[name] / effective_dimension(filters)
            ax.loglog(ranks[: fitted.stop], values[: fitted.stop], color=colour, label=str(list(filters)))
            draw_power(ax, ranks[fitted], values[fitted], expected)
            claim = Claim("spectra", f"exponent of rank in the {name} of filters {filters}", about(expected, 0.25))
            yield claim.check(slope(ranks[fitted], values[fitted]), f"{len(x)} points", f"ranks to {fitted.stop}")
    yield RECURSION.check(max(errors))
    for ax, name in zip(axes, SMOOTHNESS, strict=True):
        ax.set(title=f"{name}, {size.spectrum} points", xlabel="rank", ylabel="eigenvalue")
    axes[1].legend(title="filters")
    save(figure, run, "spectra")


def kernels(filters: Filters, x1: np.ndarray, x2: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Both kernels of a network, by name."""
    found = wn.kernel(network(filters))(x1, x2)
    return {"NTK": found.ntk, "NNGP": found.nngp}


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """The exponent of x in y, by least squares in logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw_power(ax: Axes, x: np.ndarray, y: np.ndarray, power: float) -> None:
    """A power of x above the points it is compared with."""
    middle = len(x) // 2
    ax.loglog(x, 1.6 * y[middle] * (x / x[middle]) ** power, "k--", lw=1)


def sectors(run: Run, size: Size) -> Iterator[Outcome]:
    """Eigenvalues on the torus by wave number: functions of one patch, and functions of both."""
    figure, axes = panels(2, width=4.8, height=4.0)
    waves = np.arange(2, size.grid // 16 + 1, 2)  # odd ones are smaller, beyond the grid folds back
    fitted = waves >= FIRST_WAVE
    for ax, (name, table) in zip(axes, torus_eigenvalues(TORUS, (size.grid, size.grid)).items(), strict=True):
        for layer, values, what in (
            (1, table[waves, 0], "one patch: (k, 0)"),
            (2, table[waves, waves], "both: (k, k)"),
        ):
            expected = -2 * SMOOTHNESS[name] - effective_dimension(TORUS[:layer])
            ax.loglog(waves, values, "o", ms=4, label=f"functions of {what}")
            draw_power(ax, waves, values, expected)
            claim = Claim("sectors", f"exponent of k in the {name}'s eigenvalues, sector {layer}", about(expected, 0.1))
            yield claim.check(slope(waves[fitted], values[fitted]), f"{size.grid} x {size.grid} points of a torus")
        ax.set(title=f"{name}, filters {list(TORUS)}", xlabel="wave number $k$", ylabel="eigenvalue")
        mark(ax, [2**i for i in range(1, 1 + int(np.log2(waves[-1])))])
    axes[1].legend()
    save(figure, run, "sectors")


def torus_eigenvalues(filters: Filters, grid: Sequence[int]) -> dict[str, np.ndarray]:
    """Eigenvalues of both kernels by wave vector, one component a patch of two inputs.

    The kernels depend on the absolute differences of angles: x1 runs through the first half of them, x2 the second.
    """
    half = len(grid) // 2
    x1, x2 = (torus_points(part) for part in ((*grid[:half], *[1] * half), (*[1] * half, *grid[half:])))
    return {name: np.fft.fftn(k.reshape(grid)).real / k.size for name, k in kernels(filters, x1, x2).items()}


def torus_points(grid: Sequence[int]) -> np.ndarray:
    """Points with equidistant angles, `[prod(grid), 2 len(grid), 1]`."""
    angles = np.meshgrid(*[2 * np.pi * np.arange(count) / count for count in grid], indexing="ij")
    angle = np.stack(angles, axis=-1).reshape(-1, len(grid))
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(len(angle), -1, 1)


def learning_curves(run: Run, size: Size) -> Iterator[Outcome]:
    """Test errors by training points: a student with several teachers, and students with teachers like them."""
    figure, (left, right) = panels(2, width=4.8, height=4.2)
    found = [errors.mean(axis=0) for errors in test_errors(run.seed, STUDENT, TEACHERS, size)]
    expected = [predicted_errors(teacher, size) for teacher in TEACHERS]
    for colour, teacher, errors, curve in zip(COLOURS, TEACHERS, found, expected, strict=False):
        left.loglog(size.train, errors, "o", color=colour, ms=5, label=described(teacher))
        left.loglog(size.train, curve, "--", color=colour, lw=1.2)
        yield rate_claim("fig. 2a", STUDENT, teacher).check(exponent(size.train, errors), f"{size.train[-1]} points")
    yield ADAPTS.check(exponent(size.train, found[0]) / exponent(size.train, found[-1]))
    yield THEORY.check(np.max(np.abs(np.log(np.divide(found, expected)))))
    for colour, filters in zip(COLOURS, MATCHED, strict=False):
        errors = test_errors(run.seed, filters, (filters,), size)[0].mean(axis=0)
        right.loglog(size.train, errors, "o-", color=colour, ms=5, label=described(filters))
        draw_power(right, np.array(size.train), errors, -rate(filters, filters))
        yield rate_claim("fig. 2b", filters, filters).check(exponent(size.train, errors), f"{size.train[-1]} points")
    right.set_ylim(top=3.0)
    left.set_ylim(top=1.0)
    left.set(title=f"student {list(STUDENT)}, dashed: theory", ylabel="test error / variance")
    right.set(title=r"teacher and student alike, dashed $n^{-1/d_{eff}}$")
    for ax in (left, right):
        ax.set_xlabel("training points")
        ax.legend(title="teacher", loc="upper right", ncols=2)
        mark(ax, size.train)
    save(figure, run, "fig2_learning_curves")


def mark(ax: Axes, ticks: Sequence[int]) -> None:
    """Ticks at these numbers alone."""
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(ticks, [str(tick) for tick in ticks])


def described(filters: Filters) -> str:
    """Filters and their dimension."""
    return f"{list(filters)}, $d_{{eff}}$ = {effective_dimension(filters)}"


def rate(student: Filters, teacher: Filters) -> float:
    """The exponent of n in 1 / test error, of NTKs.

    The student learns modes whose eigenvalue is above that of rank n, n^-(1 + 1/D) with D = d_eff of the student: in
    the sector of the teacher, of dimension d, wave numbers up to k with k^-(1 + d) = n^-(1 + 1/D).  The teacher's
    variance beyond is of the order of 1 / k.
    """
    return (1 + 1 / effective_dimension(student)) / (1 + effective_dimension(teacher))


def rate_claim(where: str, student: Filters, teacher: Filters) -> Claim:
    """The exponent that is measured is that rate."""
    value = rate(student, teacher)
    return Claim(where, f"exponent of n in 1 / error, student {student}, teacher {teacher}", about(value, 0.3 * value))


def predicted_errors(teacher: Filters, size: Size) -> np.ndarray:
    """Test errors of the student by training points, from the eigenvalues of both kernels (Bordelon et al. 2020).

    Of each mode a share a = lambda / (lambda + kappa) is learnt, sum a = n.  The error is the sum of the teacher's
    variance times (1 - a)^2 in each mode, over 1 - sum a^2 / n.  The teacher's own modes need a finer grid.
    """
    patches, copies = len(size.grids[0]), prod(STUDENT) // prod(teacher)
    own = tuple(slice(None) if axis < patches // copies else 0 for axis in range(patches))
    student = torus_eigenvalues(STUDENT, size.grids[-1])["NTK"]
    values, variances = (torus_eigenvalues(f, size.grids[len(teacher) - 1])["NTK"][own] for f in (STUDENT, teacher))
    variances.flat[1:] *= copies  # all meta-patches alike, which share the constant
    errors = []
    for n in size.train:
        kappa = brentq(lambda kappa, n=n: np.sum(student / (student + kappa)) - n, 0.0, np.sum(student) / n)
        missed = np.sum(variances * (kappa / (values + kappa)) ** 2) / np.sum(variances)
        errors.append(missed / (1 - np.sum((student / (student + kappa)) ** 2) / n))
    return np.array(errors)


def exponent(train: Sequence[int], errors: np.ndarray) -> float:
    """The power of 1 / n in the error."""
    n = np.array(train)
    fitted = n >= FITTED_FROM
    return -slope(n[fitted], errors[fitted])


def test_errors(seed: int, student: Filters, teachers: Sequence[Filters], size: Size) -> np.ndarray:
    """Mean squared error of NTK regression relative to the teacher's variance, `[teachers, draws, train]`."""
    found = [
        draw_of_errors(seed, draw, student, teachers, size)
        for draw in progress(range(size.draws), f"student {student}")
    ]
    return np.array(found).transpose(2, 0, 1)


def draw_of_errors(seed: int, draw: int, student: Filters, teachers: Sequence[Filters], size: Size) -> list[np.ndarray]:
    """Errors on one draw of points and teachers, an array `[teachers]` a number of training points."""
    rng, most = np.random.default_rng((seed, draw)), size.train[-1]
    x = points(rng, most + size.test, student[0], prod(student))
    k = {filters: wn.ntk(network(filters))(x) for filters in {student, *teachers}}
    y = np.stack([sample(rng, k[teacher]) for teacher in teachers], axis=1)
    means = (gp(k[student][:n, :n], y[:n], k[student][most:, :n]).mean for n in size.train)
    return [np.mean((mean - y[most:]) ** 2, axis=0) for mean in means]


def sample(rng: np.random.Generator, covariance: np.ndarray) -> np.ndarray:
    """A draw of the Gaussian process, scaled to variance 1."""
    variance = np.mean(np.diag(covariance))
    root = np.linalg.cholesky(covariance / variance + JITTER * np.eye(len(covariance)))
    return root @ rng.standard_normal(len(covariance))


if __name__ == "__main__":
    sys.exit(run(main, __file__))
