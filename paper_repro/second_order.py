"""On the parameterization of second-order optimization effective towards the infinite width (Ishikawa, Karakida; 2024).

Paper: ishikawa2024
Figure: coordinate check of K-FAC and Shampoo; loss over learning rate and over damping for several widths
Claim: muP for second-order optimization keeps updates of features of order one, and with them the best learning rate;
    damping has to be relative to the traces of K-FAC's factors, and then its best value stays too
Expected: exponents of updates in width 0 in muP; features at n^-1/2 in the standard parametrization of K-FAC;
    updates that die as n^-0.65 with a constant damping
Minutes: 4 (full, 4 cores), 1 (--quick, 2 cores; not measured)
Command: python paper_repro/second_order.py [--quick] [--out DIR] [--seed N]

As in the paper: K-FAC with learning rates that do not depend on width, Shampoo with rates (fan_out / fan_in)^(1 - 2 e).
Not as in the paper: two hidden layers of tanh on MNIST, averaged to 7 x 7 pixels, or on scikit-learn's digits, widths
up to 256, not networks for CIFAR up to 16384.  Shampoo 1/2 inverts the small singular values of a gradient of few
samples: damped by 1e-6 of the largest eigenvalue, its readout's update grew as n^0.97; the damping here is 1e-3.
The exponents that are expected of wrong scalings were measured by a second implementation, in numpy; the paper's text,
from which tables are cited by others, could not be read.
Found: at widths 16 to 64 the best rate of K-FAC stays in the standard parametrization too.  The best constant damping
moves up with width; that it would move down had been written here before it was measured.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet import parametrizations as wp
from widenet.datasets import mnist_or_digits, small
from widenet.optimizers import constant, kfac, relative_to_largest, relative_to_trace, scale_by_shampoo
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save
from widenet.transfer import CheckReport, Sweep


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    checked: tuple[int, ...]  # widths of coordinate checks
    checked_seeds: int
    widths: tuple[int, ...]  # of sweeps
    images: int
    steps: int
    seeds: int


FULL = Size((64, 128, 256), 6, (16, 32, 64), 2000, 60, 3)
QUICK = Size((32, 64, 128), 3, (16, 32), 300, 10, 2)
OPTIMIZERS = {"K-FAC": wp.kfac(), "Shampoo 1/4": wp.shampoo(0.25), "Shampoo 1/2": wp.shampoo(0.5)}
CHECK_RATE = 0.03
RATES = 2.0 ** np.arange(-9, 1)
DAMPINGS = 10.0 ** np.arange(-3, 2)
RHO = 0.03  # Shampoo's factors are squares of gradients, and damped by its square
BATCH = 8  # less than the narrowest width, so that no factor of rank BATCH is a whole one
SAMPLES = 6  # of the coordinate checks: fewer than the width of the narrowest

KEPT = Claim("coordinate check", "largest exponent of an update in muP, absolute, {}", at_most(0.2))
LAZY = Claim(
    "coordinate check", "exponent of the change of features, standard parametrization, K-FAC", about(-0.44, 0.2)
)
DEAD = Claim(
    "coordinate check", "exponent of the first layer's update in muP, K-FAC with a constant damping", at_most(-0.4)
)
FIXED = Claim("learning rate", "drift of the best rate in muP, octaves per doubling, {}", about(0.0, 0.5))
SCORE = Claim(
    "learning rate", "share of the widest's gain that the narrowest's best rate keeps in muP, {}", at_least(0.95)
)
DAMPED = Claim("damping", "drift of the best damping relative to traces, octaves per doubling", about(0.0, 0.7))
UNDAMPED = Claim("damping", "drift of the best constant damping, absolute", at_least(0.3))


def main(run: Run) -> Iterator[Outcome]:
    """Coordinate checks, then sweeps of the learning rate and of the damping."""
    size = QUICK if run.quick else FULL
    split = mnist_or_digits(run.seed).drawn(size.images, seed=run.seed)
    x = small(np.asarray(split.x_train, np.float32))
    data = (x - x.mean()) / x.std(), split.y_train.astype(np.int32)
    model = partial(mlp, data[0].shape[1])
    yield from checked(run, size, model, data, split.name)
    yield from swept(run, size, model, data, split.name)
    if run.quick:
        yield from (claim.skip("needs the full run") for claim in (DAMPED, UNDAMPED))
    else:
        yield from damped(run, size, model, data, split.name)


def checked(run: Run, size: Size, model: Any, data: Any, name: str) -> Iterator[Outcome]:
    """Exponents of updates over width, of three optimizers and two that are scaled wrongly."""
    few = np.asarray(data[0][:SAMPLES], np.float64), data[1][:SAMPLES]
    check = partial(
        wn.coordinate_check, model, size.checked, few, learning_rate=CHECK_RATE, steps=2, seeds=size.checked_seeds,
        key=run.seed, drop=0,
    )  # fmt: skip
    traced = CORES["K-FAC"]
    made = {kind: check(optimizer=each, core=CORES[kind]) for kind, each in OPTIMIZERS.items()}
    first = OPTIMIZERS["K-FAC"]
    made["K-FAC, standard"] = check(optimizer=first, core=traced, parametrization=wp.sp)
    made["K-FAC, constant damping"] = check(optimizer=first, core=partial(natural, constant(RHO)))
    draw_checks(run, made)
    for kind in OPTIMIZERS:
        worst = max((f for f in made[kind].findings if f.quantity in UPDATES), key=lambda f: abs(f.slope.value))
        claim = Claim(KEPT.where, KEPT.text.format(kind), KEPT.expected)
        yield claim.check(abs(worst.slope.value), name, f"{worst.layer}: {worst.quantity}, {worst.slope}")
    yield LAZY.check(made["K-FAC, standard"].slope("layer2", "dx").value, name)
    yield DEAD.check(made["K-FAC, constant damping"].slope("layer0", "dW x").value, name)


UPDATES = ("dW x", "W0 dx", "df")


def swept(run: Run, size: Size, model: Any, data: Any, name: str) -> Iterator[Outcome]:
    """Loss over the learning rate, of K-FAC and Shampoo in both parametrizations."""
    kinds = ("K-FAC", "Shampoo 1/2")
    sweeps = {}
    for kind in kinds:
        core = CORES[kind]
        for p in (wp.sp, wp.mup):
            sweeps[kind, p.name] = wn.lr_sweep(
                model, size.widths, data, RATES, steps=size.steps, seeds=size.seeds, batch_size=BATCH, key=run.seed,
                parametrization=p, optimizer=OPTIMIZERS[kind], core=core,
            )  # fmt: skip
    draw_sweeps(run, sweeps, "learning_rate")
    for kind in kinds:
        mup, standard = sweeps[kind, "muP"], sweeps[kind, "SP"]
        fixed, score = (Claim(c.where, c.text.format(kind), c.expected) for c in (FIXED, SCORE))
        yield fixed.check(mup.drift.value, name, f"95 %: {mup.drift}; standard: {standard.drift}")
        yield score.check(mup.transfer_score, name, f"standard: {standard.transfer_score:.3f}")


def damped(run: Run, size: Size, model: Any, data: Any, name: str) -> Iterator[Outcome]:
    """Loss over the damping of K-FAC in muP, relative to traces and constant."""
    found = {}
    for kind, rule in {"relative to traces": relative_to_trace, "constant": constant}.items():
        parts = [
            wn.lr_sweep(
                model, size.widths, data, RATE_OF_DAMPING, steps=size.steps, seeds=size.seeds, batch_size=BATCH,
                key=run.seed, optimizer=OPTIMIZERS["K-FAC"], core=partial(natural, rule(float(rho))),
            )
            for rho in DAMPINGS
        ]  # fmt: skip
        losses = np.stack([part.loss[:, 1] for part in parts], axis=1)
        found[kind] = Sweep("width", size.widths, DAMPINGS, losses, parts[0].start)
    draw_sweeps(run, {(kind, "muP"): sweep for kind, sweep in found.items()}, "damping")
    relative, fixed = found["relative to traces"], found["constant"]
    yield DAMPED.check(relative.drift.value, name, f"95 %: {relative.drift}")
    yield UNDAMPED.check(abs(fixed.drift.value), name, f"95 %: {fixed.drift}")


def preconditioned(exponent: float, factors: Any) -> Any:
    """Shampoo, damped relative to the largest eigenvalue."""
    return scale_by_shampoo(exponent, damping=relative_to_largest(RHO**2), every=2)


RATE_OF_DAMPING = 0.05 * np.array([0.5, 1.0, 2.0])


def natural(damping: Any, factors: Any) -> Callable[..., Any]:
    """K-FAC with a damping; factors: of the parametrization, which K-FAC does not need."""
    return lambda apply, loss: kfac(apply, loss, damping=damping, every=2)


CORES = {
    "K-FAC": partial(natural, relative_to_trace(RHO)),
    "Shampoo 1/4": partial(preconditioned, 0.25),
    "Shampoo 1/2": partial(preconditioned, 0.5),
}


def mlp(features: int, width: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two hidden layers of tanh, LeCun's law, ten outputs."""
    sizes = (features, width, width, 10)

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 3)
        law = jax.nn.initializers.lecun_normal()
        return {f"layer{i}": law(k, s) for i, (k, s) in enumerate(zip(keys, pairwise(sizes), strict=True))}

    def apply(params: Any, x: Any) -> Any:
        h = jnp.tanh(x @ params["layer0"])
        return jnp.tanh(h @ params["layer1"]) @ params["layer2"]

    return init, apply


def draw_checks(run: Run, checks: dict[str, CheckReport]) -> None:
    """What two steps change over width, a panel an optimizer."""
    figure, axes = panels(len(checks), width=3.2, height=4.4, sharey=True)
    for ax, (kind, check) in zip(axes, checks.items(), strict=True):
        shown = [f for f in check.findings if f.quantity in ("dW x", "df") or f[:2] == ("layer2", "W0 dx")]
        for colour, finding in zip(COLOURS, shown, strict=False):
            values = check.values[finding.layer, finding.quantity][..., -1].mean(-1)
            label = "f" if finding.quantity == "df" else f"{finding.layer}: {finding.quantity}"
            ax.loglog(check.sizes, values, "o-", color=colour, label=f"{label}, {finding.slope.value:+.2f}")
        ax.set(title=kind, xlabel="width", xticks=check.sizes, xticklabels=check.sizes)
        ax.minorticks_off()
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0].set_ylabel("change after 2 steps")
    save(figure, run, "coordinates")


def draw_sweeps(run: Run, sweeps: dict[tuple[str, str], Sweep], name: str) -> None:
    """Loss over learning rate or damping, a line a width."""
    figure, axes = panels(len(sweeps), width=3.4, sharey=True)
    for ax, ((kind, p), sweep) in zip(axes, sweeps.items(), strict=True):
        for colour, width, loss, best in zip(COLOURS, sweep.sizes, sweep.loss, sweep.optimum, strict=False):
            ax.plot(sweep.learning_rates, loss.mean(-1), ".-", color=colour, label=f"width {width}")
            ax.axvline(best, color=colour, ls=":", lw=1)
        ax.set(title=f"{kind}, {p}", xlabel=name.replace("_", " "), xscale="log")
    axes[0].set(ylabel="training loss (dotted: best)", yscale="log")
    axes[0].set_ylim(top=1.5 * max(np.median(s.start) for s in sweeps.values()))
    axes[0].legend()
    save(figure, run, name)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
