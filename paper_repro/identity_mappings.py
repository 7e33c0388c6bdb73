"""Identity mappings in deep residual networks (He, Zhang, Ren, Sun; ECCV 2016).

Paper: he2016identity
Figure: 1, 2, 4 and tables 1, 2, in small
Claim: a shortcut that scales its signal by lambda multiplies gradients by lambda at every block, so that only the
    identity trains at great depth; and of all places for the activation, before the weights is the best
Expected: squared gradients through 20 shortcuts of 0.9 times 0.9^40 = 0.01478; test errors on CIFAR-10 at 110 layers
    of 6.61 % (identity), 12.35 % (0.5), 12.22 % (1 x 1 convolution), above 20 % (dropout), 6.37 % (full pre-activation)
Minutes: 5 (full, 2 cores), 0.6 (--quick, 2 cores)
Command: python paper_repro/identity_mappings.py [--quick] [--out DIR] [--seed N]

As in the paper: blocks of two weights with batch normalization, the shortcuts and the places of the activation of
figures 2 and 4, gradient descent with momentum 0.9, batches of 128, weight decay 1e-4; 110 layers (54 blocks) for the
places of the activation.
Not as in the paper: dense layers of width 32 in place of convolutions, digits in place of CIFAR-10, a few hundred steps
in place of 64000, at the better of two rates, which fall to 0 in a straight line, 56 layers for shortcuts, batch
statistics in the test too (the test set is one batch).  So its errors are not expected here, only their order, and that
of the training losses.  One order of table 2 is not seen in so few steps: relu before the sum, whose shortcut is an
identity, is then better than the original (training loss 0.77 to 0.89; errors of 7.84 to 6.61 % in the paper); it
is compared with full pre-activation (6.37 %) instead.
The law of gradients is (J, q) of `signal_report` against its theory: in expectation, a block lambda h + f(h) with a
branch of two He layers of relu multiplies q and squared gradients by lambda^2 + 1; a silent branch leaves lambda^2.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet import initializers as wi
from widenet.datasets import mnist_or_digits
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

LAMBDAS = (0.5, 0.9, 1.0)
BLOCKS = 20  # of the networks whose gradients are measured
HE = 2**0.5
WIDTH, BATCH, MOMENTUM, DECAY, EPS = 32, 128, 0.9, 1e-4, 1e-5
DROPOUT = 0.5
DIVERGED = 20.0  # losses above, and those that are no numbers, are drawn there


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    width: int  # of the networks whose gradients are measured
    networks: int  # of them
    blocks: int  # of those that are trained with other shortcuts
    depths: tuple[int, ...]  # blocks of those with other places of the activation
    steps: int
    seeds: int
    train: int
    rates: tuple[float, ...]


FULL = Size(256, 100, 27, (18, 54), 200, 3, 6000, (0.005, 0.03))
QUICK = Size(128, 30, 8, (8,), 60, 2, 1000, (0.05,))

SILENT = Claim("eq. 8", "squared gradient through 20 shortcuts of 0.9, branches silent", about(0.9**40, 1e-6))
BACKWARD = Claim("eq. 8", "squared gradient through 20 blocks to (lambda^2 + 1)^20, in standard errors", at_most(4.0))
FORWARD = Claim("eq. 6", "q after 20 blocks to (lambda^2 + 1)^20, in standard errors", at_most(4.0))
BLOCK = Claim("eq. 8", "theory of one block with shortcut 0.5, squared gradients", about(0.5**2 + 1, 1e-9))
HALF = Claim("table 1", "training loss of a shortcut of 0.5, over that of the identity", at_least(1.5))
BOTH = Claim("table 1", "training loss of both 0.5, over that of the identity", at_least(1.0))
GATED = Claim("table 1", "training loss of a gated shortcut, bias 0, over that of the identity", at_least(1.0))
PROJECTED = Claim("table 1", "training loss of a linear shortcut, over that of the identity", at_least(1.0))
DROPPED = Claim("table 1", "training loss of a shortcut with dropout, over that of the identity", at_least(1.5))
HALF_ERROR = Claim("table 1", "test error of a shortcut of 0.5 minus that of the identity, points", at_least(0.0))
PRE = Claim("table 3", "training loss of full pre-activation over the original, deepest", at_most(1.0))
AFTER = Claim("table 2", "training loss with batch norm after the sum over the original, deepest", at_least(1.0))
BEFORE = Claim("table 2", "training loss with relu before the sum over full pre-activation, deepest", at_least(1.0))

Block = Callable[[Any, Any, Any], Any]  # of parameters, what it is given, and a key


def main(run: Run) -> Iterator[Outcome]:
    """The law of gradients, then shortcuts and places of the activation in training."""
    size = QUICK if run.quick else FULL
    yield from law(run, size)
    data = Digits.load(run, size)
    yield from shortcuts(run, size, data)
    yield from places(run, size, data)


def scaled(shortcut: float, branch: float) -> Callable[[Any], Any]:
    """Blocks shortcut h + W relu(W relu(h)), the last weights of standard deviation `branch`."""

    def net(x: Any) -> Any:
        h = wn.dense(x)
        for _ in range(BLOCKS):
            h = shortcut * h + wn.dense(wn.relu(wn.dense(wn.relu(h), sigma_w=HE)), sigma_w=branch)
        return h

    return net


def law(run: Run, size: Size) -> Iterator[Outcome]:
    """q and squared gradients, block by block."""
    x = np.random.default_rng(run.seed).normal(size=(20, 64)).astype(np.float32)

    def report(net: Any) -> Any:
        return wn.signal_report(net, wn.init(net, run.seed, x.shape, width=size.width), x, run.seed)

    found = {shortcut: report(scaled(shortcut, HE)) for shortcut in progress(LAMBDAS, "gradients")}
    silent = report(scaled(0.9, 0.0))
    figure, axes = panels(3, width=4.4, height=3.6)
    at = np.arange(1, BLOCKS + 1)
    for colour, (shortcut, f) in zip(COLOURS, found.items(), strict=False):
        q, back = ([getattr(s, name) for s in (f.measured, f.theory)] for name in ("q", "jacobian"))
        for ax, (measured, theory), start in ((axes[0], q, 1), (axes[1], back, 2)):
            label = rf"$\lambda$ = {shortcut}"
            ax.semilogy(at, measured[start::2], "o", ms=4, color=colour, label=label)
            ax.semilogy(at, theory[start::2], "--", color=colour, label=f"{label}, theory")
    axes[2].semilogy(at, silent.measured.jacobian[2::2], "o", ms=4, color=COLOURS[1], label="measured")
    axes[2].semilogy(at, 0.9 ** (2 * (BLOCKS - at)), "k--", label=r"$0.9^{2(L-l)}$")
    axes[0].set(xlabel="block", ylabel="q in the branch", title="forwards")
    axes[1].set(xlabel="block", ylabel="squared gradient at its end", title="backwards")
    axes[2].set(xlabel="block", title=r"backwards, silent branches, $\lambda$ = 0.9")
    for ax in axes:
        ax.set_xticks([1, 5, 10, 15, 20])
        ax.legend(fontsize=8)
    save(figure, run, "law")
    data = f"width {size.width}, {BLOCKS} blocks"
    yield SILENT.check(silent.measured.jacobian[0] / silent.measured.jacobian[-1], f"width {size.width}")
    yield BLOCK.check(found[0.5].theory.jacobian[-3] / found[0.5].theory.jacobian[-1])
    many = {shortcut: factors(run, size, shortcut, x) for shortcut in progress(LAMBDAS, "many networks")}
    data = f"{size.networks} networks of width {size.width}"
    for claim, i in ((FORWARD, 0), (BACKWARD, 1)):
        means = [f[i].mean() for f in many.values()]
        errors = [f[i].std(ddof=1) / size.networks**0.5 for f in many.values()]
        off = [abs(m - 1) / e for m, e in zip(means, errors, strict=True)]
        yield claim.check(max(off), data, f"over theory {told(LAMBDAS, means)}")


def factors(run: Run, size: Size, shortcut: float, x: Any) -> np.ndarray:
    """q and squared gradient through all blocks, of many networks, over theory `[2, networks]`."""
    net, inputs = scaled(shortcut, HE), jnp.asarray(x)

    @jax.jit
    def one(key: Any) -> tuple[Any, Any]:
        drawn, direction = jax.random.split(key)
        p = wn.init(net, drawn, x.shape, width=size.width)
        out, pull = jax.vjp(lambda x: wn.apply(net, p, x), inputs)
        (gradient,) = pull(jax.random.normal(direction, out.shape))
        return jnp.mean(out**2) / jnp.mean(inputs**2), jnp.sum(gradient**2) / out.size

    found = np.array([one(key) for key in jax.random.split(jax.random.key(run.seed), size.networks)], np.float64)
    return found.T / (shortcut**2 + 1) ** BLOCKS


def told(names: Any, values: Any) -> str:
    """Numbers by name."""
    return ", ".join(f"{value:.3g} ({name})" for name, value in zip(names, values, strict=True))


@dataclass(frozen=True)
class Digits:
    """Flat images of mean zero, and labels."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any
    name: str

    @classmethod
    def load(cls, run: Run, size: Size) -> Digits:
        """A random part of the data."""
        split = mnist_or_digits(run.seed).drawn(size.train, 2000, run.seed)
        images = (part.reshape(len(part), -1) for part in (split.x_train, split.x_test))
        x, x_test = (jnp.asarray(2 * flat - 1, jnp.float32) for flat in images)
        return cls(x, jnp.asarray(split.y_train), x_test, jnp.asarray(split.y_test), split.name)


def norm(h: Any, p: Any) -> Any:
    """Batch normalization with a trained scale and shift."""
    return p["scale"] * (h - h.mean(0)) / jnp.sqrt(h.var(0) + EPS) + p["shift"]


def original(shortcut: Block) -> Block:
    """relu(shortcut + norm(W relu(norm(W h)))), figure 2(a) with any shortcut."""
    return lambda p, h, key: jax.nn.relu(shortcut(p, h, key) + branch(p, h))


def branch(p: Any, h: Any) -> Any:
    """norm(W relu(norm(W h)))."""
    return norm(jax.nn.relu(norm(h @ p["w1"], p["n1"])) @ p["w2"], p["n2"])


def both_halved(p: Any, h: Any, key: Any) -> Any:
    """relu(0.5 h + 0.5 branch)."""
    del key
    return jax.nn.relu(0.5 * h + 0.5 * branch(p, h))


def dropped(p: Any, h: Any, key: Any) -> Any:
    """h with dropout; all of it in the test, where there is no key."""
    del p
    return h if key is None else jnp.where(jax.random.bernoulli(key, 1 - DROPOUT, h.shape), h / (1 - DROPOUT), 0)


def norm_after(p: Any, h: Any, key: Any) -> Any:
    """Figure 4(b): relu(norm(h + W relu(norm(W h))))."""
    del key
    return jax.nn.relu(norm(h + jax.nn.relu(norm(h @ p["w1"], p["n1"])) @ p["w2"], p["n2"]))


def relu_before(p: Any, h: Any, key: Any) -> Any:
    """Figure 4(c): h + relu(branch), which never falls."""
    del key
    return h + jax.nn.relu(branch(p, h))


def pre(p: Any, h: Any, key: Any) -> Any:
    """Figure 4(e): h + W relu(norm(W relu(norm(h))))."""
    del key
    return h + jax.nn.relu(norm(jax.nn.relu(norm(h, p["n1"])) @ p["w1"], p["n2"])) @ p["w2"]


IDENTITY = original(lambda p, h, key: h)  # noqa: ARG005
SHORTCUTS: dict[str, Block] = {
    "identity": IDENTITY,
    "0.5 h": original(lambda p, h, key: 0.5 * h),  # noqa: ARG005
    "0.5 h + 0.5 branch": both_halved,
    "gated, bias 0": original(lambda p, h, key: (1 - jax.nn.sigmoid(h @ p["w3"] + p["b3"])) * h),  # noqa: ARG005
    "linear": original(lambda p, h, key: h @ p["w3"]),  # noqa: ARG005
    "dropout 0.5": original(dropped),
}
PLACES: dict[str, Block] = {
    "original": IDENTITY,
    "norm after the sum": norm_after,
    "relu before the sum": relu_before,
    "full pre-activation": pre,
}


def fresh(key: Any, inputs: int, blocks: int) -> Any:
    """Parameters: He's law in branches, LeCun's in shortcuts and readout."""
    keys = jax.random.split(key, 5)
    he, lecun = wi.normal(HE, batch_axis=0), wi.normal(batch_axis=0)
    square = (blocks, WIDTH, WIDTH)

    def flat(*copies: int) -> Any:
        return {"scale": jnp.ones((*copies, WIDTH)), "shift": jnp.zeros((*copies, WIDTH))}

    stacked = {"w1": he(keys[0], square), "w2": he(keys[1], square), "w3": lecun(keys[2], square)}
    stacked |= {"n1": flat(blocks), "n2": flat(blocks), "b3": jnp.zeros((blocks, WIDTH))}
    stem, readout = wi.normal(HE)(keys[3], (inputs, WIDTH)), wi.normal()(keys[4], (WIDTH, 10))
    return {"stem": stem, "first": flat(), "blocks": stacked, "last": flat(), "readout": readout}


def logits(block: Block, p: Any, x: Any, key: Any) -> Any:
    """Stem, blocks, and a readout of the normalized stream."""

    def step(h: Any, own: Any) -> tuple[Any, None]:
        parameters, number = own
        return block(parameters, h, None if key is None else jax.random.fold_in(key, number)), None

    h = jax.nn.relu(norm(x @ p["stem"], p["first"]))
    h, _ = jax.lax.scan(step, h, (p["blocks"], jnp.arange(len(p["blocks"]["w1"]))))
    h = jax.nn.relu(norm(h, p["last"])) if block is pre else h
    return h @ p["readout"]


@partial(jax.jit, static_argnames=("block", "blocks", "steps"))
def trained(block: Block, rate: Any, keys: Any, data: Any, *, blocks: int, steps: int) -> tuple[Any, Any]:
    """Losses `[keys, steps]` and test errors `[keys]`, in percent, of one network a key."""
    x, y, x_test, y_test = data

    def loss(p: Any, rows: Any, key: Any) -> Any:
        chances = jax.nn.log_softmax(logits(block, p, x[rows], key))
        weights = sum(jnp.sum(w**2) for w in jax.tree.leaves(p))
        return -jnp.mean(jnp.take_along_axis(chances, y[rows][:, None], 1)) + DECAY / 2 * weights

    def one(key: Any) -> tuple[Any, Any]:
        start = fresh(key, x.shape[1], blocks)

        def step(state: Any, number: Any) -> tuple[Any, Any]:
            p, velocity = state
            own = jax.random.fold_in(key, number)
            rows = jax.random.randint(own, (BATCH,), 0, len(x))
            value, gradient = jax.value_and_grad(loss)(p, rows, own)
            now = rate * (1 - number / steps)
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v - now * g, velocity, gradient)
            penalty = DECAY / 2 * sum(jnp.sum(w**2) for w in jax.tree.leaves(p))
            return (jax.tree.map(jnp.add, p, velocity), velocity), value - penalty

        (p, _), losses = jax.lax.scan(step, (start, jax.tree.map(jnp.zeros_like, start)), jnp.arange(steps))
        wrong = jnp.argmax(logits(block, p, x_test, None), 1) != y_test
        return losses, 100 * jnp.mean(wrong)

    return jax.lax.map(one, keys)


@dataclass(frozen=True)
class Trained:
    """Networks of one kind: training losses `[seeds, steps]`, test errors `[seeds]` in percent."""

    losses: np.ndarray
    errors: np.ndarray
    rate: float

    @property
    def last(self) -> float:
        """The training loss, mean of the last tenth of all runs; that of guessing if one diverged."""
        tail = self.losses[:, -max(1, self.losses.shape[1] // 10) :]
        return float(np.mean(np.where(np.isfinite(tail), tail, np.log(10))))

    def __str__(self) -> str:
        return f"{np.mean(self.errors):.1f} +- {np.std(self.errors, ddof=1):.1f} % at rate {self.rate:g}"


def train(run: Run, size: Size, data: Digits, block: Block, blocks: int) -> Trained:
    """A network a seed, at the rate that has the smallest training loss."""
    keys = jax.random.split(jax.random.key(run.seed), size.seeds)
    arrays = data.x, data.y, data.x_test, data.y_test
    found = []
    for rate in size.rates:
        losses, errors = trained(block, rate, keys, arrays, blocks=blocks, steps=size.steps)
        found.append(Trained(np.asarray(losses, np.float64), np.asarray(errors, np.float64), rate))
    return min(found, key=lambda f: f.last)


def draw(run: Run, size: Size, data: Digits, found: dict[str, Trained], name: str, blocks: int) -> None:
    """Training losses by step, and test errors."""
    figure, axes = panels(2, width=5.2, height=3.8)
    window = max(1, size.steps // 30)
    for i, (colour, (label, f)) in enumerate(zip(COLOURS, found.items(), strict=False)):
        means = f.losses[:, : size.steps // window * window].reshape(len(f.losses), -1, window).mean(2)
        at = window * (np.arange(means.shape[1]) + 0.5)
        means = np.minimum(np.nan_to_num(means, nan=DIVERGED, posinf=DIVERGED), DIVERGED)
        axes[0].plot(at, means.mean(0), color=colour, label=label)
        axes[0].fill_between(at, means.min(0), means.max(0), color=colour, alpha=0.2, lw=0)
        axes[1].errorbar(np.mean(f.errors), i, xerr=np.std(f.errors, ddof=1), fmt="o", color=colour, capsize=3)
    axes[0].set(yscale="log", xlabel="step", ylabel="training loss", title=f"{2 * blocks + 2} layers, {data.name}")
    axes[1].set_yticks(range(len(found)), list(found))
    axes[1].set(xlabel="test error (%)", title=f"mean and deviation of {size.seeds} networks")
    axes[1].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(found), fontsize=8)
    save(figure, run, name)


def shortcuts(run: Run, size: Size, data: Digits) -> Iterator[Outcome]:
    """Table 1: what is on the shortcut."""
    kinds = progress(list(SHORTCUTS.items()), "shortcuts")
    found = {name: train(run, size, data, block, size.blocks) for name, block in kinds}
    draw(run, size, data, found, "shortcuts", size.blocks)
    first = found["identity"]
    note = f"{2 * size.blocks + 2} layers; identity: loss {first.last:.3g}, error {first}"
    for claim, name in zip((HALF, BOTH, GATED, PROJECTED, DROPPED), list(found)[1:], strict=True):
        yield claim.check(found[name].last / first.last, data.name, f"{note}; error {found[name]}")
    half = found["0.5 h"]
    yield HALF_ERROR.check(float(np.mean(half.errors) - np.mean(first.errors)), data.name, f"{half} and {first}")


def places(run: Run, size: Size, data: Digits) -> Iterator[Outcome]:
    """Tables 2 and 3: where the activation is."""
    pairs = [(depth, name) for depth in size.depths for name in PLACES]
    found = {pair: train(run, size, data, PLACES[pair[1]], pair[0]) for pair in progress(pairs, "places")}
    deepest = {name: found[size.depths[-1], name] for name in PLACES}
    draw(run, size, data, deepest, "places", size.depths[-1])
    first, best = deepest["original"], deepest["full pre-activation"]
    cases = (
        (AFTER, "norm after the sum", first),
        (BEFORE, "relu before the sum", best),
        (PRE, "full pre-activation", first),
    )
    for claim, name, other in cases:
        errors = ", ".join(f"{found[depth, name]} at {2 * depth + 2} layers" for depth in size.depths)
        note = f"error {errors}; original {first}; losses {deepest[name].last:.3g}, {first.last:.3g} (original)"
        known = not (run.quick and claim is not AFTER)
        yield claim.check(deepest[name].last / other.last, data.name, note) if known else claim.skip("needs depth")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
