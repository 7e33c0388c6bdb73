"""What can be learnt with wide convolutional neural networks? (Cagnetta, Favero, Wyart; ICML 2023).

Paper: cagnetta2023
Figure: 2 (learning curves with teachers of several depths and of several dimensions); the spectra and their sectors
Claim: a network of non-overlapping patches learns a function of a meta-patch at a rate that is set by the effective
    dimension of this meta-patch; its own functions at random weights, of all inputs, stay cursed
Expected: eigenvalues rank^-(1 + 2 nu / d_eff), nu = 1/2 (NTK), 3/2 (NNGP), and k^-(2 nu + d_eff(l)) in sector l; test
    error n^-(1 / d_eff) if teacher and student are alike
Minutes: 9 (full, 2 cores), 0.4 (--quick, 2 cores)
Command: python paper_repro/wide_cnn.py [--quick] [--out DIR] [--seed N]

A network is its filter sizes (s_1, ..., s_L): convolutions whose stride is their window, relu after each, a dense
readout of what is left.  Every s_1-patch of the data is a uniform point on the sphere S^(s_1 - 1); a meta-patch of
layer l has d_eff(l) = (s_1 - 1) s_2 ... s_l dimensions.  Scales are such that each layer maps correlations c to
kappa_1(c) (sigma_w^2 = 2, and s_1 for the first, where a patch has norm 1).  Teachers are drawn from the Gaussian
process with the NTK of a network, students regress with the NTK, without a ridge.
Not as in the paper: at most 4096 training and 2048 test points, 6 draws (8192 and 8192); errors are relative to the
teacher's variance; eigenvalues are those of the kernels themselves, by quadrature, not of matrices.
What is expected: the exponents of spectra and of teachers like their students are the paper's, asymptotic ones.  With a
teacher of depth l < L the ridgeless student learns the modes whose eigenvalues are above that of rank n, so the rate is
(1 + 2 nu / d_eff(L)) / (1 + 2 nu / d_eff(l)) / d_eff(l) (`rate`, derived here), slower than 1 / d_eff(l).  The dashed
curves of figure 2 have no free parameter: they follow from the eigenvalues.
Tolerances: spectra, half of what tells a meta-patch from one of twice its dimension; rates, 30 %, as at these n the
dashed curves are up to 27 % steeper than their limits; sectors 0.1 and errors a fifth, our own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from scipy.optimize import brentq
from scipy.special import comb, roots_legendre

import widenet as wn
from widenet.predict import gp
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

Filters = tuple[int, ...]

SMOOTHNESS = {"NTK": 0.5, "NNGP": 1.5}  # nu of relu
GAPS = 4 / 3  # what `predicted_errors` has to be multiplied with in one dimension
JITTER = 1e-12  # of the variance, for the Cholesky factor from which teachers are drawn

Degrees = dict[Filters, int]  # of harmonics of a patch, by network


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    student: Filters
    teachers: Degrees  # as deep as a meta-patch of the student, whose degrees these are
    spectra: Degrees
    matched: Degrees
    train: tuple[int, ...]
    test: int
    draws: int


FULL = Size(
    student=(2, 2, 2),
    teachers={(2,): 512, (2, 2): 128, (2, 2, 2): 33},
    spectra={(2,): 1000, (3,): 100, (2, 2): 400, (3, 2): 80},
    matched={(2,): 4096, (3,): 100, (2, 2): 400, (3, 2): 80},
    train=(128, 256, 512, 1024, 2048, 4096),
    test=2048,
    draws=6,
)
QUICK = Size((2, 2), {(2,): 128, (2, 2): 128}, {(3,): 100, (2, 2): 128}, {(3,): 100}, (64, 128, 256, 512), 256, 4)

RECURSION = Claim("kernel", "largest difference of NNGP and NTK to the paper's recursion", at_most(1e-12))
LOCAL = Claim("kernel", "the same to a network that shares no weights", at_most(1e-12))


def main(run: Run) -> Iterator[Outcome]:
    """Spectra, sectors, learning curves, and a verdict a claim."""
    size = QUICK if run.quick else FULL
    yield from spectra(run, size)
    yield from sectors(run, size)
    yield from learning_curves(run, size)


def network(filters: Filters, conv: Any = wn.conv) -> Any:
    """Non-overlapping convolutions, relu after each, a dense readout."""
    first, *others = filters
    layers = [conv(first, sqrt(first), stride=first, padding="VALID"), wn.relu]
    for window in others:
        layers += [conv(window, sqrt(2), stride=window, padding="VALID"), wn.relu]
    return wn.serial(*layers, wn.flatten, wn.dense(sqrt(2)))


def effective_dimension(filters: Filters) -> int:
    """Dimension of a meta-patch of the last layer."""
    return (filters[0] - 1) * patches(filters)


def patches(filters: Filters) -> int:
    """The number of patches in a meta-patch of the last layer."""
    return prod(filters[1:])


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
    figure, axes = panels(2, width=5.0, height=4.0)
    for colour, (filters, count) in zip(COLOURS, progress(list(size.spectra.items()), "spectra"), strict=False):
        degrees, d_eff = (count,) * patches(filters), effective_dimension(filters)
        multiplicity = multiplicities(filters[0], degrees)
        for ax, (name, table) in zip(axes, eigenvalues(filters, degrees).items(), strict=True):
            ranks, values = by_rank(table, multiplicity)
            fitted = ranks >= ranks[-1] / 10
            expected = -1 - 2 * SMOOTHNESS[name] / d_eff
            ax.loglog(ranks, values, color=colour, label=described(filters))
            draw_power(ax, ranks[fitted], values[fitted], expected)
            told = about(expected, SMOOTHNESS[name] / d_eff / 2)
            claim = Claim("spectra", f"exponent of rank in the {name} of filters {filters}", told)
            yield claim.check(slope(ranks[fitted], values[fitted]), "", f"ranks to {ranks[-1]}")
    for ax, name in zip(axes, SMOOTHNESS, strict=True):
        ax.set(title=name, xlabel="rank", ylabel="eigenvalue")
    axes[1].legend(title="filters", loc="lower left")
    save(figure, run, "spectra")
    for claim, other in ((RECURSION, recursion), (LOCAL, partial(kernels, conv=wn.conv_local))):
        yield claim.check(max(difference(filters, other, run.seed) for filters in {*size.spectra, size.student}))


def difference(filters: Filters, other: Any, seed: int) -> float:
    """The largest one of both kernels to those that `other` computes, on some points."""
    x, y = np.split(points(np.random.default_rng(seed), 20, filters[0], prod(filters)), 2)
    found, expected = kernels(filters, x, y), other(filters, x, y)
    return max(float(np.max(np.abs(found[name] - expected[name]))) for name in SMOOTHNESS)


def kernels(filters: Filters, x: np.ndarray, y: np.ndarray, conv: Any = wn.conv) -> dict[str, np.ndarray]:
    """Both kernels of a network, by name."""
    found = wn.kernel(network(filters, conv))(x, y)
    return {"NTK": found.ntk, "NNGP": found.nngp}


@lru_cache
def eigenvalues(filters: Filters, degrees: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Eigenvalues of both kernels by the degree in each patch, an axis a patch: with Funk and Hecke,

    Lambda_k = int K(angles) prod_p b_(k_p)(angle_p) d angles, over the uniform measure, by Gauss quadrature.

    K depends on the angles between patches: x runs through the first half of them, y through the second.
    """
    angles, transforms = zip(*(harmonics(filters[0], count) for count in degrees), strict=True)
    half, nothing = len(degrees) // 2, np.zeros(1)
    x = inputs([*angles[:half], *[nothing] * (len(degrees) - half)], filters[0])
    y = inputs([*[nothing] * half, *angles[half:]], filters[0])
    found = {}
    for name, k in kernels(filters, x, y).items():
        table = k.reshape([len(angle) for angle in angles])
        for transform in transforms:  # each takes the first axis and adds the last
            table = np.tensordot(table, transform, axes=(0, 1))
        found[name] = table
    return found


def harmonics(patch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles, and zonal harmonics of `count` degrees there, 1 at angle 0, times weights: cosines, Legendre's."""
    nodes, weights = roots_legendre(count + count // 8 + 16)
    angles = (nodes + 1) * np.pi / 2
    density, c = weights * np.sin(angles) ** (patch - 2), np.cos(angles)
    rows = [np.ones_like(c), c]
    for k in range(1, count - 1):
        rows.append(((2 * k + patch - 2) * c * rows[k] - k * rows[k - 1]) / (k + patch - 2))
    return angles, np.stack(rows[:count]) * density / density.sum()


def inputs(angles: Sequence[np.ndarray], patch: int) -> np.ndarray:
    """Points whose patches have these angles to the first axis, `[all pairs, patch len(angles), 1]`."""
    angle = np.stack(np.meshgrid(*angles, indexing="ij"), axis=-1).reshape(-1, len(angles))
    x = np.zeros((*angle.shape, patch))
    x[..., 0], x[..., 1] = np.cos(angle), np.sin(angle)
    return x.reshape(len(x), -1, 1)


def multiplicities(patch: int, degrees: Sequence[int]) -> np.ndarray:
    """The number of harmonics by the degree in each patch."""
    each = [comb(np.arange(n) + patch - 1, patch - 1) - comb(np.arange(n) + patch - 3, patch - 1) for n in degrees]
    return reduce(np.multiply.outer, each)


def by_rank(table: np.ndarray, multiplicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks and eigenvalues in decreasing order, to the largest of a degree that is not in the table."""
    order = np.argsort(-table, axis=None)
    values, ranks = table.flat[order], np.cumsum(multiplicity.flat[order]).astype(int)
    complete = values > np.max(table[-2:].reshape(2, -1)[:, 0])  # even and odd degrees differ
    return ranks[complete], values[complete]


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """The exponent of x in y, by least squares in logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw_power(ax: Axes, x: np.ndarray, y: np.ndarray, power: float) -> None:
    """A power of x above the points it is compared with."""
    middle = len(x) // 2
    ax.loglog(x, 1.6 * y[middle] * (x / x[middle]) ** power, "k--", lw=1)


def sectors(run: Run, size: Size) -> Iterator[Outcome]:
    """Eigenvalues of the student by the degree k in all patches of one meta-patch of a layer."""
    figure, axes = panels(2, width=5.0, height=4.0)
    for filters, count in size.teachers.items():
        k, own, d_eff = np.arange(2, count, 2), patches(filters), effective_dimension(filters)  # odd k have less
        tables, fitted = eigenvalues(size.student, within(size.student, filters, count)), k >= count // 2
        for ax, (name, table) in zip(axes, tables.items(), strict=True):
            values = table[(*[k] * own, *[0] * (table.ndim - own))]
            expected = -2 * SMOOTHNESS[name] - d_eff
            ax.loglog(k, values, "o", ms=3, label=f"layer {len(filters)}, $d_{{eff}}$ = {d_eff}")
            draw_power(ax, k, values, expected)
            text = f"exponent of k in the {name}'s eigenvalues, sector {len(filters)}"
            claim = Claim("sectors", text, about(expected, 0.1))
            yield claim.check(slope(k[fitted], values[fitted]), "", f"degrees to {k[-1]}")
    for ax, name in zip(axes, SMOOTHNESS, strict=True):
        ax.set(title=f"{name}, filters {list(size.student)}", xlabel="degree $k$ in each patch", ylabel="eigenvalue")
    axes[1].legend(title="functions of a meta-patch of")
    save(figure, run, "sectors")


def within(student: Filters, filters: Filters, count: int) -> tuple[int, ...]:
    """`count` degrees in each patch of the student's first meta-patch that is as large as `filters`, 1 elsewhere."""
    return (count,) * patches(filters) + (1,) * (patches(student) - patches(filters))


def learning_curves(run: Run, size: Size) -> Iterator[Outcome]:
    """Test errors by training points: a student with several teachers, and students with teachers like them."""
    figure, axes = panels(2, width=4.8, height=4.2)
    adapted = list(curves(run, size, size.student, size.teachers))
    alike = size.matched.items()
    matched = [curve for filters, count in alike for curve in curves(run, size, filters, {filters: count})]
    titles = (f"student {list(size.student)}", "teacher and student alike")
    for ax, title, where, found in zip(axes, titles, ("fig. 2a", "fig. 2b"), (adapted, matched), strict=True):
        for colour, curve in zip(COLOURS, found, strict=False):
            ax.loglog(size.train, curve.errors, "o", color=colour, ms=5, label=described(curve.teacher))
            ax.loglog(size.train, curve.predicted, "--", color=colour, lw=1.2)
            yield rate_claim(where, curve).check(exponent(size.train, curve.errors), f"{size.train[-1]} points")
        theory = Claim(where, "largest |ln(mean test error / its prediction from the eigenvalues)|", at_most(0.2))
        yield theory.check(max(np.max(np.abs(np.log(curve.errors / curve.predicted))) for curve in found))
        ax.set(title=f"{title}, dashed: theory", xlabel="training points", ylabel="test error / variance")
        ax.set_ylim(top=3.0)
        ax.legend(title="teacher", loc="upper right", ncols=2)
        mark(ax, size.train)
    yield adapts(adapted, size)
    save(figure, run, "fig2_learning_curves")


class Curve(NamedTuple):
    """Test errors by training points, as measured and as they follow from eigenvalues."""

    student: Filters
    teacher: Filters
    errors: np.ndarray
    predicted: np.ndarray


def adapts(found: Sequence[Curve], size: Size) -> Outcome:
    """Are functions of one patch learnt faster than those of all patches, by half of what is expected or more?"""
    one, every = found[0], found[-1]
    least = (1 + rate(*one[:2]) / rate(*every[:2])) / 2
    claim = Claim("fig. 2a", "exponent with the teacher of one patch over that of all inputs", at_least(least))
    if size is QUICK:
        return claim.skip("needs the full run")
    return claim.check(exponent(size.train, one.errors) / exponent(size.train, every.errors))


def curves(run: Run, size: Size, student: Filters, teachers: Degrees) -> Iterator[Curve]:
    """A curve a teacher; of each is given how many degrees a patch its prediction needs."""
    found = test_errors(run.seed, student, tuple(teachers), size).mean(axis=1)
    whole = eigenvalues(student, within(student, student, teachers[student]))["NTK"]
    for errors, (teacher, count) in zip(found, teachers.items(), strict=True):
        predicted = predicted_errors(whole, student, teacher, within(student, teacher, count), size.train)
        yield Curve(student, teacher, errors, predicted * (GAPS if effective_dimension(student) == 1 else 1.0))


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


def rate_claim(where: str, curve: Curve) -> Claim:
    """The exponent that is measured is that rate."""
    text = f"exponent of n in 1 / error, student {curve.student}, teacher {curve.teacher}"
    return Claim(where, text, about(value := rate(*curve[:2]), 0.3 * value))


def predicted_errors(
    whole: np.ndarray, student: Filters, teacher: Filters, degrees: tuple[int, ...], train: Sequence[int]
) -> np.ndarray:
    """Test errors by training points, from the eigenvalues of both kernels (Bordelon et al. 2020).

    Of each mode a share a = lambda / (lambda + kappa) is learnt, sum a = n.  The error is the sum of the teacher's
    variance times (1 - a)^2 in each mode, over 1 - sum a^2 / n.  Modes whose degrees are beyond the tables are of
    a = lambda / kappa; those of the teacher's first meta-patch, of `degrees`, stand for the others.
    That takes modes for Gaussian.  With lambda = c / k^2 on the circle it is c pi^2 / n, but the error of interpolation
    between n random neighbours 4 / 3 of it: from the mean square of their gaps, 2 (2 pi / n)^2 (derived here).
    """
    values, variances = (eigenvalues(filters, degrees)["NTK"] for filters in (student, teacher))
    variances = variances * multiplicities(teacher[0], degrees)
    variances.flat[1:] *= patches(student) // patches(teacher)  # all meta-patches are alike and share the constant
    counts = multiplicities(student[0], whole.shape)
    rest = trace(student) - np.sum(counts * whole)
    errors = []
    for n in train:
        kappa = brentq(lambda kappa, n=n: np.sum(counts * whole / (whole + kappa)) + rest / kappa - n, 1e-12, 1e3)
        missed = trace(teacher) - np.sum(variances) + np.sum(variances * (kappa / (values + kappa)) ** 2)
        errors.append(missed / trace(teacher) / (1 - np.sum(counts * (whole / (whole + kappa)) ** 2) / n))
    return np.array(errors)


def trace(filters: Filters) -> float:
    """The NTK of equal inputs."""
    x = inputs([np.zeros(1)] * patches(filters), filters[0])
    return float(wn.ntk(network(filters))(x).item())


def exponent(train: Sequence[int], errors: np.ndarray) -> float:
    """The power of 1 / n in the error, without the fewest points."""
    return -slope(np.array(train[1:]), errors[1:])


def test_errors(seed: int, student: Filters, teachers: Sequence[Filters], size: Size) -> np.ndarray:
    """Mean squared error of NTK regression relative to the teacher's variance, `[teachers, draws, train]`."""
    draws = progress(range(size.draws), f"student {student}")
    found = [draw_of_errors(seed, draw, student, teachers, size) for draw in draws]
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
