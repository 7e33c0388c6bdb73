"""Tensor Programs V: tuning large neural networks via zero-shot hyperparameter transfer (Yang et al.; NeurIPS 2021).

Paper: yang2022
Figure: 1 and 3, loss over learning rate for several widths, standard parametrization and muP; 5, coordinate check
Claim: in muP the best learning rate of a narrow model is that of a wide one, and wider is better at every learning
    rate; in the standard parametrization the best learning rate falls with width, and updates of logits grow
Expected: drift of the best learning rate, in octaves per doubling of width: muP 0, standard -1 (the largest stable one)
Minutes: 8 (full, 4 idle cores; not measured), 0.7 (--quick, 2 cores)
Command: python paper_repro/tp5.py [--quick] [--out DIR] [--seed N]

As in the paper: a relu MLP trained by SGD, and a transformer trained by Adam; attention logits over d_head.
Not as in the paper: 5000 digits of MNIST, averaged to 7 x 7 pixels, instead of CIFAR-10, widths 64 to 512, 300 steps,
and the squared error of one-hot labels.  At these widths neither 784 pixels, whose layer sets the rate, nor cross
entropy, which recovers from steps that are too large, let the best rate of the standard parametrization fall yet;
a transformer of two pre-norm blocks, widths 32 to 128, on the characters of Python's documentation for 150 steps.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.  The text comes with Python.
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
from jax.ad_checkpoint import checkpoint_name
from matplotlib.ticker import NullFormatter

import widenet as wn
from widenet import parametrizations as wp
from widenet.datasets import mnist_or_digits, small
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save
from widenet.transfer import CheckReport, Sweep


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    mlp_widths: tuple[int, ...]
    mlp_steps: int
    images: int
    widths: tuple[int, ...]  # of the transformer
    steps: int
    seeds: int
    context: int
    checked: tuple[int, ...]  # widths of the coordinate check


FULL = Size((64, 128, 256, 512), 300, 5000, (32, 64, 128), 150, 2, 32, (32, 64, 128, 256))
QUICK = Size((32, 64, 128), 60, 1000, (16, 32), 30, 2, 12, (16, 32, 64))
MLP_RATES = 2.0 ** np.arange(-5, 1.5, 0.5)
RATES = 2.0 ** np.arange(-10, -2)
BATCH, HEADS = 16, 4
PARAMETRIZATIONS = {"standard": wp.sp, "muP": wp.mup}

MLP_FIXED = Claim("figure 3", "drift of the best rate of the MLP in muP, octaves per doubling", about(0.0, 0.4))
MLP_MOVES = Claim("figure 3", "the same in the standard parametrization", about(-1.0, 0.4))
FIXED = Claim("figure 1", "drift of the best rate of the transformer in muP, octaves per doubling", about(0.0, 0.5))
MOVES = Claim("figure 1", "drift in muP minus drift in the standard parametrization, transformer", at_least(0.3))
KEPT = Claim("figure 3", "share of the widest MLP's gain that the narrowest one's rate keeps, muP", at_least(0.95))
WIDER = Claim("figure 3", "share of rates up to the best where twice the width is no worse, MLP, muP", at_least(0.9))
LOGITS = Claim("figure 5", "exponent of the change of logits in width, transformer, standard", at_least(0.3))
ATTENTION = Claim("figure 5", "exponent of the change of attention logits, standard minus muP", at_least(0.3))
STABLE = Claim("figure 5", "largest exponent of a change in muP, transformer", at_most(0.2))


def main(run: Run) -> Iterator[Outcome]:
    """Sweeps of learning rates, then coordinate checks."""
    size = QUICK if run.quick else FULL
    yield from images(run, size)
    yield from text(run, size)


def images(run: Run, size: Size) -> Iterator[Outcome]:
    """Figure 3: the MLP."""
    split = mnist_or_digits(run.seed).drawn(size.images, seed=run.seed)
    x = small(np.asarray(split.x_train, np.float32))
    data = (x - x.mean()) / x.std(), wn.predict.centred_one_hot(split.y_train, 10).astype(np.float32)
    sweeps = {
        name: wn.lr_sweep(
            partial(mlp, data[0].shape[1]), size.mlp_widths, data, MLP_RATES, steps=size.mlp_steps, seeds=3,
            batch_size=64, key=run.seed, parametrization=p, optimizer=wp.sgd,
        )
        for name, p in PARAMETRIZATIONS.items()
    }  # fmt: skip
    draw_sweeps(run, sweeps, "fig3_mlp", "MLP, SGD")
    mup, standard = sweeps["muP"], sweeps["standard"]
    yield MLP_FIXED.check(mup.drift.value, split.name, f"95 %: {mup.drift}")
    yield MLP_MOVES.check(standard.drift.value, split.name, f"95 %: {standard.drift}")
    note = f"{standard.transfer_score:.3f} in the standard parametrization"
    yield KEPT.check(mup.transfer_score, split.name, note)
    yield WIDER.check(wider_is_better(mup), split.name, f"{wider_is_better(standard):.2f} in the standard one")


def text(run: Run, size: Size) -> Iterator[Outcome]:
    """Figures 1 and 5: the transformer."""
    tokens, vocabulary = characters()
    rng = np.random.default_rng(run.seed)
    starts = rng.integers(0, len(tokens) - size.context - 1, 2048)
    rows = tokens[starts[:, None] + np.arange(size.context + 1)]
    data = rows[:, :-1], rows[:, 1:]
    sweeps, checks = {}, {}
    for name, p in PARAMETRIZATIONS.items():
        model = partial(transformer, vocabulary, size.widths[0] if name == "muP" else None)
        sweeps[name] = wn.lr_sweep(
            model, size.widths, data, RATES, steps=size.steps, seeds=size.seeds, batch_size=BATCH, key=run.seed,
            test=(data[0][:256], data[1][:256]), parametrization=p, optimizer=wp.adam,
        )  # fmt: skip
        model = partial(transformer, vocabulary, size.checked[0] if name == "muP" else None)
        few = data[0][:8], data[1][:8]
        checks[name] = wn.coordinate_check(
            model, size.checked, few, learning_rate=2.0**-7, steps=3, seeds=size.seeds, key=run.seed, parametrization=p,
            optimizer=wp.adam,
        )  # fmt: skip
    draw_sweeps(run, sweeps, "fig1_transformer", "transformer, Adam")
    draw_checks(run, checks)
    mup, standard = sweeps["muP"], sweeps["standard"]
    yield FIXED.check(mup.drift.value, "text", f"95 %: {mup.drift}")
    yield MOVES.check(mup.drift.value - standard.drift.value, "text", f"standard: {standard.drift}")
    growth = {name: changes(check) for name, check in checks.items()}
    yield LOGITS.check(growth["standard"]["f"], "text", f"{growth['muP']['f']:.2f} in muP")
    both = [growth[name][ATTENDED] for name in ("standard", "muP")]
    yield ATTENTION.check(both[0] - both[1], "text", f"{both[0]:.2f} and {both[1]:.2f}")
    worst = max(growth["muP"], key=growth["muP"].__getitem__)
    yield STABLE.check(growth["muP"][worst], "text", worst)


def mlp(features: int, width: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two hidden layers of relu, He's law, ten outputs."""
    sizes = (features, width, width, 10)

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 3)
        law = jax.nn.initializers.he_normal()
        return {f"layer{i}": law(k, s, jnp.float32) for i, (k, s) in enumerate(zip(keys, pairwise(sizes), strict=True))}

    def apply(params: Any, x: Any) -> Any:
        h = jax.nn.relu(x @ params["layer0"])
        return jax.nn.relu(h @ params["layer1"]) @ params["layer2"]

    return init, apply


ATTENDED = "attention logits"


def transformer(vocabulary: int, base: int | None, width: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two pre-norm blocks; base: the width whose heads keep 1 / sqrt(d), None for 1 / sqrt(d) at every width."""
    d = width // HEADS
    scale = d**-0.5 if base is None else wp.attention_scale(d, base // HEADS)
    block = {"qkv": (width, 3 * width), "out": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}
    shapes = {"embed": (vocabulary, width), "place": (64, width), "head": (width, vocabulary)}
    shapes |= {f"block{i}/{name}": shape for i in range(2) for name, shape in block.items()}

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(shapes))
        return {
            name: jax.random.normal(k, s) * (1.0 if name in ("embed", "place") else s[0] ** -0.5)
            for k, (name, s) in zip(keys, shapes.items(), strict=True)
        }

    def apply(params: Any, tokens: Any) -> Any:
        x = params["embed"][tokens] + params["place"][: tokens.shape[-1]]
        mask = jnp.tril(jnp.ones((tokens.shape[-1],) * 2, bool))
        for i in range(2):
            p = {name: params[f"block{i}/{name}"] for name in block}
            q, k, v = (
                part.reshape(*x.shape[:-1], HEADS, d) for part in jnp.split(normalized(x) @ p["qkv"], 3, axis=-1)
            )
            logits = checkpoint_name(jnp.einsum("nshd,nthd->nhst", q, k) * scale, ATTENDED)
            mixed = jnp.einsum("nhst,nthd->nshd", jax.nn.softmax(jnp.where(mask, logits, -jnp.inf)), v)
            x = x + mixed.reshape(x.shape) @ p["out"]
            x = x + jax.nn.gelu(normalized(x) @ p["up"]) @ p["down"]
        return normalized(x) @ params["head"]

    return init, apply


def normalized(x: Any) -> Any:
    """Layer norm without gain and bias."""
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5)


def characters() -> tuple[np.ndarray, int]:
    """The text of Python's documentation as small numbers, and how many there are."""
    from pydoc_data.topics import topics

    whole = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
    known, tokens = np.unique(np.frombuffer(whole, np.uint8), return_inverse=True)
    return tokens.astype(np.int32), len(known)


def wider_is_better(sweep: Sweep) -> float:
    """The share of neighbouring widths and rates, up to the best rate, where the wider is no worse than by 1 %."""
    mean = sweep.loss.mean(-1)
    upto = int(np.argmin(mean[-1])) + 1
    return float(np.mean(mean[1:, :upto] <= 1.01 * mean[:-1, :upto]))


def changes(check: CheckReport) -> dict[str, float]:
    """Exponents in width of how much activations, attention logits (the larger one) and outputs changed."""
    found: dict[str, float] = {}
    for finding in check.findings:
        if finding.quantity in ("dx", "change", "df"):
            name = (
                ATTENDED if finding.layer.startswith(ATTENDED) else "f" if finding.quantity == "df" else finding.layer
            )
            found[name] = max(found.get(name, -np.inf), finding.slope.value)
    return found


def draw_sweeps(run: Run, sweeps: dict[str, Sweep], name: str, title: str) -> None:
    """Loss over learning rate, a line a width, both parametrizations side by side."""
    figure, axes = panels(2, sharey=True)
    for ax, (kind, sweep) in zip(axes, sweeps.items(), strict=True):
        for colour, width, loss, best in zip(COLOURS, sweep.sizes, sweep.loss, sweep.optimum, strict=False):
            mean, spread = loss.mean(-1), loss.std(-1)
            ax.plot(sweep.learning_rates, mean, ".-", color=colour, label=f"width {width}")
            ax.fill_between(sweep.learning_rates, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
            ax.axvline(best, color=colour, ls=":", lw=1)
        ax.set(title=f"{title}: {kind}", xlabel="learning rate of the narrowest", xscale="log")
    for ax in axes:
        ax.xaxis.set_minor_formatter(NullFormatter())
    seen = np.concatenate([sweep.loss[np.isfinite(sweep.loss)] for sweep in sweeps.values()])
    top = min(seen.max(), *(np.median(sweep.start) for sweep in sweeps.values()))
    axes[0].set(ylabel="training loss (dotted: best rate)", ylim=(0.9 * seen.min(), 1.1 * top))
    axes[0].legend()
    save(figure, run, name)


def draw_checks(run: Run, checks: dict[str, CheckReport]) -> None:
    """Root mean squares over width of what three steps changed."""
    figure, axes = panels(2, sharey=True)
    for ax, (kind, check) in zip(axes, checks.items(), strict=True):
        shown = [f for f in check.findings if f.quantity in ("change", "df")]
        for colour, finding in zip(COLOURS, shown, strict=False):
            values = check.values[finding.layer, finding.quantity][..., -1].mean(-1)
            label = "logits" if finding.quantity == "df" else finding.layer
            ax.loglog(check.sizes, values, "o-", color=colour, label=f"{label}: {finding.slope.value:+.2f}")
        ax.set(title=kind, xlabel="width", xticks=check.sizes, xticklabels=check.sizes)
        ax.minorticks_off()
        ax.legend(title="change after 3 steps, exponent")
    axes[0].set_ylabel("root mean square")
    save(figure, run, "fig5_coordinates")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
