"""Feature learning and generalization in deep networks with orthogonal weights (Day, Kahn, Roberts; 2023).

Paper: day2023
Figure: fluctuations and tangent-kernel correlators against depth, training of both ensembles; drawn anew
Claim: orthogonal tanh networks fluctuate independently of depth, their tangent-kernel correlators are constant from
    depth 20 on, Gaussian ones grow with depth; deep orthogonal networks train better where depth is of order width
Expected: V/K^2 -> -2 (orthogonal), + 2/3 a layer (Gaussian); F/(K Theta) -> -2/3, P/Theta^2 -> -1/3, B/Theta^2 -> 0
Minutes: 6 (full, 4 cores), 0.7 (--quick, 2 cores)
Command: python paper_repro/orthogonal.py [--quick] [--out DIR] [--seed N]

Critical tanh networks of one width (sigma_w = 1, no biases).  The paper measures the tangent-kernel correlators; their
recursions for orthogonal weights are those of `wn.finite_width`, and networks are drawn beside them.  Where depth is
above the width, Gaussian networks are beyond the first order: A, which is small, is then far above its line.
The paper's widths, numbers of networks and rates of training were not available: width 64, full-batch gradient descent
on |f - y|^2 / (2 N) at the rate 1/lambda_1 of the kernel at infinite width, which is that of both ensembles.  The
comparison of training is reported with its error and held against the weakest form of the claim: in deep networks the
loss of Gaussian weights is not the lower one, in shallow ones there is no difference.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet.activations import Activation
from widenet.corrections import Estimate, draw_params
from widenet.datasets import Split, mnist_or_digits
from widenet.predict import accuracy
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

LAWS = {"Gaussian": "iid", "orthogonal": "orthogonal"}
GOLDEN = {  # of tanh and orthogonal weights at a layer
    2: {"V": -0.279513, "D": -0.0118099, "F": -0.108061, "A": 0.00721726, "B": 0.125839, "P": -0.0956855},
    5: {"V": -0.0293216, "D": -0.00320222, "F": -0.0440687, "A": 0.00392124, "B": 0.0911671, "P": -0.135629}
    | {"Q": -0.0131834, "R": -1.2045, "S": 1.07245, "T": 0.0140731, "U": 0.172277},
    20: {"V": -0.00141884, "F": -0.00962482, "B": 0.0273549, "P": -0.110847},
}
LIMITS = {"V": -2.0, "F": -2 / 3, "P": -1 / 3, "R": -1 / 3, "S": 1 / 3} | dict.fromkeys("DABQTU", 0.0)
GROWING = {"V": 2 / 3, "F": 1 / 4, "B": 1 / 3, "P": -1 / 12}  # a layer, Gaussian
SHOWN = "FABPS"
FAR = 1000


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    layers: int
    widths: tuple[int, ...]  # of the fluctuations
    networks: int
    depths: tuple[int, ...]
    narrow: tuple[int, ...]  # widths of the tangent-kernel correlators
    drawn: int
    width: int  # of trained networks
    trained: tuple[int, ...]  # their dense layers
    images: int
    steps: int
    seeds: int


FULL = Size(40, (32, 64), 1500, (3, 12, 40), (16, 32), 300, 64, (4, 16, 48), 150, 150, 5)
QUICK = Size(10, (16, 32), 300, (3, 10), (16,), 80, 32, (3, 24), 100, 100, 3)

SECOND = Claim("orthogonal", "largest relative error of the tensors of tanh", at_most(1e-5))
LIMIT = Claim("orthogonal", "largest distance of the tensors at depth 1000 from their limits", at_most(0.01))
SATURATED = Claim("orthogonal", "largest change of V, F, P from depth 20 to 40", at_most(0.05))
GROWTH = Claim("Gaussian", "largest relative error of the growth of V, F, B, P a layer", at_most(0.01))
LINEAR = Claim("orthogonal", "linear networks: largest of D, F, A, B, P, R, U over their units", at_most(1e-9))
RELU = Claim("orthogonal", "relu: growth of V/K^2 a layer, where Gaussian weights have 5", about(3.0, 1e-3))
MEASURED_V = Claim("networks", "orthogonal: worst V, extrapolated, minus theory, in standard errors", at_most(4.0))
DEEP_V = Claim("networks", "orthogonal, depth 40, width 64: V/K^2", about(-1.875, 0.225))
STEEP_V = Claim("networks", "Gaussian: V at depth 10, extrapolated, minus theory, in standard errors", at_most(4.0))
CORRELATORS = Claim("networks", "orthogonal, depth 40, width 32: relative error of F, P, R, S", at_most(0.25))
QUIETER = Claim("networks", "tangent kernel, B/Theta^2 of the deepest: orthogonal over Gaussian", at_most(0.1))
DEEP_LOSS = Claim("training", "deepest: training loss of Gaussian over orthogonal weights", at_least(1.0))
SHALLOW_LOSS = Claim("training", "shallowest: training loss of Gaussian over orthogonal weights", about(1.0, 0.2))
SPREAD = Claim("training", "deepest: spread of the loss between networks, Gaussian over orthogonal", at_least(1.0))


def main(run: Run) -> Iterator[Outcome]:
    """Recursions, fluctuations, tangent-kernel correlators, and training."""
    size = QUICK if run.quick else FULL
    yield from recursions()
    yield from fluctuations(run, size)
    yield from correlators(run, size)
    yield from training(run, size)


@cache
def theory(phi: Activation, ensemble: str, depth: int) -> Any:
    """The tensors of a critical network of `depth` dense layers."""
    return wn.finite_width(network(phi, depth), ensemble=ensemble)


def network(phi: Activation, depth: int) -> Any:
    """`depth` dense layers at criticality."""
    return wn.zoo.mlp(phi, depth - 1, sigma_w=wn.critical(phi).sigma_w)


def recursions() -> Iterator[Outcome]:
    """What the recursions say, against known numbers and limits."""
    ours, gaussian = (theory(wn.tanh, ensemble, FAR) for ensemble in ("orthogonal", "iid"))
    errors = [
        getattr(ours, name)[layer - 1] / value - 1 for layer, row in GOLDEN.items() for name, value in row.items()
    ]
    yield SECOND.check(np.max(np.abs(errors)), note=f"{len(errors)} numbers")
    ends = {name: float(ours.normalized[name][-1]) for name in LIMITS}
    note = ", ".join(f"{name} {value:.4f}" for name, value in ends.items())
    yield LIMIT.check(max(abs(ends[name] - value) for name, value in LIMITS.items()), note=note)
    changes = {name: ours.normalized[name][39] / ours.normalized[name][19] - 1 for name in "VFP"}
    note = ", ".join(f"{name} {change:+.3f}" for name, change in changes.items())
    yield SATURATED.check(max(map(abs, changes.values())), note=note)
    slopes = {name: np.diff(gaussian.normalized[name])[-1] for name in GROWING}
    note = ", ".join(f"{name} {slope:.4f}" for name, slope in slopes.items())
    yield GROWTH.check(max(abs(slopes[name] / value - 1) for name, value in GROWING.items()), note=note)
    linear = theory(wn.identity, "orthogonal", 40)
    yield LINEAR.check(max(np.abs(linear.normalized[name]).max() for name in "DFABPRU"))
    relu = theory(wn.relu, "orthogonal", 40)
    yield RELU.check(np.diff(relu.V / relu.K**2)[-1])


def fluctuations(run: Run, size: Size) -> Iterator[Outcome]:
    """V/K^2 against depth, beside networks."""
    found = {name: [drawn_v(run.seed, law, size, width) for width in size.widths] for name, law in LAWS.items()}
    limits = {name: wn.extrapolate_width(estimates) for name, estimates in found.items()}
    draw_fluctuations(run, size, found)
    ours, gaussian = (theory(wn.tanh, law, size.layers).V for law in ("orthogonal", "iid"))
    limit = limits["orthogonal"]
    scores = [abs(limit.value[i] - v) / limit.error[i] for i, v in enumerate(ours)]
    widths = f"widths {', '.join(map(str, size.widths))}, {size.networks} networks"
    yield MEASURED_V.check(max(scores), note=f"{len(scores)} layers, {widths}")
    widest, K = found["orthogonal"][-1], theory(wn.tanh, "orthogonal", size.layers).K
    value, error = (part[size.layers - 1] / K[-1] ** 2 for part in (widest.value, widest.error))
    yield DEEP_V.skip("needs the full run") if run.quick else DEEP_V.check(value, note=f"+- {error:.3f}")
    limit = limits["Gaussian"]
    yield STEEP_V.check(abs(limit.value[9] - gaussian[9]) / limit.error[9], note=widths)


def drawn_v(seed: int, law: str, size: Size, width: int) -> Any:
    """V of all layers of networks of one width, by the layer's place."""
    given = {"key": jax.random.fold_in(jax.random.key(seed), width), "width": width, "draws": size.networks}
    x = np.ones((1, width))
    made = wn.empirical_fluctuations(network(wn.tanh, size.layers), x, ensemble=law, **given)
    return Estimate(width, dict(enumerate(made.V)), dict(enumerate(made.V_error)))


def draw_fluctuations(run: Run, size: Size, found: dict[str, list[Any]]) -> None:
    """Both ensembles, and orthogonal weights alone with other activations."""
    figure, axes = panels(2, width=5.0, height=3.9)
    layers = np.arange(1, size.layers + 1)
    for colour, (name, law) in zip(COLOURS, LAWS.items(), strict=False):
        c = theory(wn.tanh, law, size.layers)
        for ax in axes[: 1 if law == "iid" else 2]:
            ax.plot(layers, c.V / c.K**2, color=colour, label=f"{name}, tanh")
            for estimate, marker in zip(found[name], "so", strict=True):
                values, errors = (np.array(list(part.values())) / c.K**2 for part in (estimate.value, estimate.error))
                some = slice(None, None, 1 if size.layers < 20 else 3)
                style = {"fmt": marker, "ms": 4, "color": colour, "fillstyle": "none", "lw": 1}
                ax.errorbar(layers[some], values[some], 2 * errors[some], **style)
    for ax in axes:
        for width, marker in zip(size.widths, "so", strict=True):
            style = {"fmt": marker, "ms": 4, "color": "0.4", "fillstyle": "none"}
            ax.errorbar([], [], [], label=f"networks, n = {width}, 2 s.e.", **style)
    linear = theory(wn.identity, "orthogonal", size.layers)
    axes[1].plot(layers, linear.V / linear.K**2, "--", color=COLOURS[2], label="orthogonal, linear")
    relu = theory(wn.relu, "orthogonal", size.layers)
    axes[0].plot(layers[:10], (relu.V / relu.K**2)[:10], "--", color=COLOURS[3], label="orthogonal, relu")
    axes[0].set(xlabel="layer", ylabel=r"$V/K^2$", title="Fluctuations over networks", ylim=(-5, 1.6 * size.layers))
    axes[1].set(xlabel="layer", title="The same, nearer", ylim=(-2.8, 0.2))
    for ax in axes:
        ax.legend(loc="upper left")
    save(figure, run, "fluctuations")


def correlators(run: Run, size: Size) -> Iterator[Outcome]:
    """The tangent-kernel correlators against depth, beside networks."""
    found = {
        (law, width, depth): wn.empirical_finite_width(
            network(wn.tanh, depth),
            np.ones((1, width)),
            key=jax.random.fold_in(jax.random.fold_in(jax.random.key(run.seed), width), depth),
            width=width,
            draws=size.drawn,
            ensemble=law,
        )
        for law in LAWS.values()
        for width in progress(size.narrow, f"correlators, {law}")
        for depth in size.depths
    }
    draw_correlators(run, size, found)
    width, depth = size.narrow[-1], size.depths[-1]
    ours = found["orthogonal", width, depth]
    c = theory(wn.tanh, "orthogonal", depth)
    errors = {name: ours.value[name] / float(getattr(c, name)[-1]) - 1 for name in "FPRS"}
    note = ", ".join(
        f"{name} {error:+.3f} +- {abs(ours.error[name] / float(getattr(c, name)[-1])):.3f}"
        for name, error in errors.items()
    )
    worst = max(map(abs, errors.values()))
    yield CORRELATORS.skip("needs the full run") if run.quick else CORRELATORS.check(worst, note=note)
    other = found["iid", width, depth].value["B"] / theory(wn.tanh, "iid", depth).Theta[-1] ** 2
    mine = ours.value["B"] / c.Theta[-1] ** 2
    yield QUIETER.check(mine / other, note=f"{mine:.3f} and {other:.3f}, depth {depth}, width {width}")


def draw_correlators(run: Run, size: Size, found: dict[tuple[str, int, int], Any]) -> None:
    """A panel a tensor."""
    figure, axes = panels(len(SHOWN), width=3.3, height=3.6)
    layers = np.arange(1, size.depths[-1] + 1)
    units = {"F": r"(K \Theta)", "S": r"(\Theta^3/K)"}
    for ax, name in zip(axes, SHOWN, strict=True):
        for colour, (label, law) in zip(COLOURS, LAWS.items(), strict=False):
            c = theory(wn.tanh, law, len(layers))
            unit = getattr(c, name)[1:] / c.normalized[name][1:]
            ax.plot(layers, c.normalized[name], color=colour, label=label)
            for width, marker, shift in zip(size.narrow, "so", (-0.5, 0.5), strict=False):
                made = [found[law, width, depth] for depth in size.depths]
                scale = np.array([abs(unit[depth - 2]) for depth in size.depths])
                values, errors = (
                    np.array([part[name] for part in parts]) / scale
                    for parts in zip(*((m.value, m.error) for m in made), strict=True)
                )
                style = {"fmt": marker, "ms": 4, "color": colour, "fillstyle": "none", "lw": 1, "capsize": 2}
                ax.errorbar(np.array(size.depths) + shift, values, 2 * errors, **style)
        top = np.abs(theory(wn.tanh, "iid", len(layers)).normalized[name]).max()
        ax.set(xlabel="layer", title=f"${name}/{units.get(name, chr(92) + 'Theta^2')}$")
        ax.set_yscale("symlog", linthresh=max(0.1, top / 20))
    for width, marker in zip(size.narrow, "so", strict=False):
        style = {"fmt": marker, "ms": 4, "color": "0.4", "fillstyle": "none"}
        axes[0].errorbar([], [], [], label=f"n = {width}, 2 s.e.", **style)
    axes[0].legend(loc="best")
    save(figure, run, "tensors")


class Task(NamedTuple):
    """Images as vectors and one-hot labels; images and labels to test on."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    labels: np.ndarray
    name: str

    @classmethod
    def of(cls, split: Split, n: int, seed: int) -> Task:
        """A random part of the data, each image of mean square one."""
        split = split.drawn(n, 1000, seed)
        x, x_test = (part.reshape(len(part), -1) for part in (split.x_train, split.x_test))
        x, x_test = (part / np.sqrt(np.mean(part**2, axis=1, keepdims=True)) for part in (x, x_test))
        return cls(x, np.eye(10)[split.y_train], x_test, split.y_test, split.name)


class Trained(NamedTuple):
    """Networks of one ensemble, `[seeds, ...]`."""

    losses: np.ndarray  # after every step
    points: np.ndarray  # accuracy on the test images, of 100
    change: np.ndarray  # of the tangent kernel, |end - start|/|start|


def training(run: Run, size: Size) -> Iterator[Outcome]:
    """Full-batch gradient descent on digits, both ensembles, several depths."""
    task = Task.of(mnist_or_digits(run.seed), size.images, run.seed)
    found = {
        (depth, name): trained(run.seed, task, size, depth, law)
        for depth in progress(size.trained, "training")
        for name, law in LAWS.items()
    }
    draw_training(run, size, task, found)
    for depth, claim in ((size.trained[-1], DEEP_LOSS), (size.trained[0], SHALLOW_LOSS)):
        gaussian, ours = (found[depth, name].losses[:, -1] for name in LAWS)
        told = "; ".join(f"{name} {described(found[depth, name])}" for name in LAWS)
        yield claim.check(gaussian.mean() / ours.mean(), task.name, f"{depth} layers, width {size.width}: {told}")
    gaussian, ours = (found[size.trained[-1], name].losses[:, -1].std(ddof=1) for name in LAWS)
    note = f"{gaussian:.2g} and {ours:.2g}, {size.seeds} seeds"
    yield SPREAD.skip("needs the full run") if run.quick else SPREAD.check(gaussian / ours, task.name, note)


def described(t: Trained) -> str:
    """Loss, accuracy and change of the kernel, with standard errors."""
    parts = (("loss", t.losses[:, -1], ".4f"), ("accuracy", t.points, ".1f"), ("kernel changed by", t.change, ".2f"))
    return ", ".join(f"{name} {v.mean():{form}} +- {v.std(ddof=1) / np.sqrt(len(v)):{form}}" for name, v, form in parts)


def trained(seed: int, task: Task, size: Size, depth: int, law: str) -> Trained:
    """Networks of one depth and ensemble."""
    net = wn.serial(network(wn.tanh, depth - 1), wn.tanh, wn.dense(sigma_w=1.0, width=10))
    x, y, x_test = (jnp.asarray(part, jnp.float32) for part in (task.x, task.y, task.x_test))
    rate = len(x) / float(np.linalg.eigvalsh(wn.ntk(net)(task.x))[-1])
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), depth), size.seeds)
    start = jax.vmap(lambda key: draw_params(net, key, x.shape, size.width, law))(keys)
    end, losses = descend(net, start, x, y, rate, size.steps)
    outputs = np.asarray(jax.vmap(lambda p: wn.apply(net, p, x_test))(end))
    points = [100 * accuracy(f, task.labels) for f in outputs]
    before, after = (kernels(net, params, x[:10], size.seeds) for params in (start, end))
    change = np.linalg.norm(after - before, axis=(1, 2)) / np.linalg.norm(before, axis=(1, 2))
    return Trained(np.asarray(losses, float), np.array(points), change)


@partial(jax.jit, static_argnames=("net", "steps"))
def descend(net: Any, params: Any, x: Any, y: Any, rate: float, steps: int) -> tuple[Any, Any]:
    """Gradient descent on |f - y|^2 / (2 N) of several networks: their last parameters, and losses `[seeds, steps]`."""

    def loss(p: Any) -> Any:
        return jnp.sum((wn.apply(net, p, x) - y) ** 2) / (2 * len(x))

    def step(p: Any, _: Any) -> tuple[Any, Any]:
        value, slope = jax.value_and_grad(loss)(p)
        return jax.tree.map(lambda w, g: w - rate * g, p, slope), value

    return jax.vmap(lambda p: jax.lax.scan(step, p, length=steps))(params)


def kernels(net: Any, params: Any, x: Any, seeds: int) -> np.ndarray:
    """The tangent kernels of several networks, `[seeds, n, n]`."""
    each = [jax.tree.map(lambda w, i=i: w[i], params) for i in range(seeds)]
    return np.array([wn.empirical_ntk(net, p)(x) for p in each])


def draw_training(run: Run, size: Size, task: Task, found: dict[tuple[int, str], Trained]) -> None:
    """Losses by steps, a panel a depth; and accuracies by depth."""
    figure, axes = panels(len(size.trained) + 1, width=3.7, height=3.6)
    for ax, depth in zip(axes, size.trained, strict=False):
        for colour, name in zip(COLOURS, LAWS, strict=False):
            losses = found[depth, name].losses
            steps, mean = np.arange(losses.shape[1]), losses.mean(0)
            error = losses.std(0, ddof=1) / np.sqrt(len(losses))
            ax.plot(steps, mean, color=colour, label=name)
            ax.fill_between(steps, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, lw=0)
        ax.set(xlabel="steps", title=f"{depth} layers, width {size.width}", ylim=(0, None))
    axes[0].set_ylabel(f"training loss ({task.name}), 2 s.e.")
    axes[0].legend(loc="upper right")
    for colour, name in zip(COLOURS, LAWS, strict=False):
        points = np.array([found[depth, name].points for depth in size.trained])
        error = points.std(1, ddof=1) / np.sqrt(size.seeds)
        axes[-1].errorbar(size.trained, points.mean(1), 2 * error, fmt="o-", ms=4, capsize=3, color=colour, label=name)
    axes[-1].set(xlabel="layers", ylabel="test accuracy (%), 2 s.e.", title=f"{size.seeds} networks each")
    axes[-1].legend(loc="best")
    save(figure, run, "training")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
