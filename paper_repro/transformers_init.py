"""Effective theory of transformers at initialization (Dinan, Yaida and Zhang; 2023).

Paper: dinan2023
Figure: none of the paper's: its theory checked on small transformers, and its learning rates tried on one
Claim: in a pre-norm transformer variances grow linearly with depth and gradients change by a power of it; the NTK of
    every group of parameters is of order one if learning rates scale by group, for SGD and for AdamW
Expected: exponents of width of a group's step at one rate, input, hidden, readout: 0, 1, 1 (SGD), 1/2, 3/2, 1 (AdamW)
Minutes: 6 (full, 4 cores), 1 (--quick, 2 cores)
Command: python paper_repro/transformers_init.py [--quick] [--out DIR] [--seed N]

As in the paper: stem, layer norm, multi-head attention, MLP and residual sums, every weight of variance C / fan_in,
learning rates by group from an NTK of order one.
Not read: the paper itself.  Its abstract says what it does; the exponents are derived, theory/parametrizations.md (U7),
so is the recursion, theory/mean_field.md (Q9), and the paper's own constants (C of each group, learning rates of each
group at its base width, its treatment of depth) are not used: here C = 1 and all constants are 1.
Not as in the paper: no ViT on ImageNet and no span denoising, but two pre-norm blocks with the characters of Python's
documentation, widths 32 and 128, for 80 steps; AdamW without weight decay, that is, Adam.
Orderings of trained networks are expectations of ours, from (U7); tolerances were chosen before the full run.
Three of these fail in the full run: with constants of 1, so that embeddings learn n times as fast as hidden layers, the
best loss is 12 % (SGD) and 2.5 % (AdamW) above that of one rate, and the best rate of SGD by group is not resolved.
Data: the text comes with Python.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import widenet as wn
from widenet import parametrizations as wp
from widenet.mean_field import group_ntk, pre_norm, unmarked
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save
from widenet.transfer import Sweep


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    depth: int  # of what is held against the limit
    wide: int
    networks: int
    blocks: int  # of what follows
    widths: tuple[int, ...]
    draws: int  # networks of each of these widths
    trained: tuple[int, int]  # widths
    steps: int
    context: int
    optimizers: tuple[str, ...]  # that train


FULL = Size(10, 128, 16, 2, (32, 64, 128, 256), 32, (32, 128), 80, 16, ("sgd", "adamw"))
QUICK = Size(3, 64, 16, 1, (32, 128), 32, (16, 32), 30, 12, ("adamw",))
HEADS, SEEDS = 4, 3
SHORT, SAMPLES, SEEN = 6, 2, 4  # positions, sequences and logits where gradients are measured
POINTS = 256  # of the integrals over attention
RATES = {"sgd": 2.0 ** np.arange(-8, 3, 2), "adamw": 2.0 ** np.arange(-13, -2, 2)}  # at one rate for all
GROUPS = {
    "embedding": "^embedding", "positions": "^positions", "query": "/q$", "key": "/k$", "value": "/v$", "out": "/o$",
    "up": "/up$", "down": "/down$", "norm": "(gain|shift)$", "bias": "bias$", "head": "^head$",
}  # fmt: skip
NAMES = list(GROUPS)
OPTIMIZERS = {"sgd": wp.sgd, "adamw": wp.adamw}
ROLES = {"input": ("embedding", "positions", "norm", "bias"), "hidden": ("query", "key", "value", "out", "up", "down")}

VARIANCE = Claim("theory", "largest |variance - limit| over 4 standard errors + 3 %, after each block", at_most(1.0))
LINEAR = Claim("theory", "exponent of depth in the growth of the variance, limit", about(1.0, 0.1))
PARTS = Claim("theory", "largest |NTK of a group in a block - limit| over 4 standard errors + 15 %", at_most(1.0))
POWER = Claim("theory", "misfit of a power of K to gradients of blocks, over that of an exponential", at_most(0.5))
ADDED = Claim("theory", "|sum of the parts - NTK| over the NTK, limit", at_most(1e-6))
GROWTH = {
    (name, role): Claim("groups", f"{name}, one rate: exponent of width, {role} layers", about(wanted, 0.15))
    for name, role, wanted in (
        ("sgd", "hidden", 1.0), ("sgd", "input", 0.0), ("adamw", "hidden", 1.5), ("adamw", "input", 0.5)
    )
}  # fmt: skip
SCALED, STAYS, MOVES, LOSS = (
    {name: Claim(where, f"{name}, {text}", expected) for name in OPTIMIZERS}
    for where, text, expected in (
        ("groups", "rates by group: largest |exponent of width| of a group", at_most(0.1)),
        ("training", "rates by group: drift of the best rate, octaves per doubling", about(0.0, 0.5)),
        ("training", "drift of the best rate, by group minus one rate", at_least(0.3)),
        ("training", "best loss with rates by group over best with one rate, wide", at_most(1.02)),
    )
)


def main(run: Run) -> Iterator[Outcome]:
    """Theory against transformers at initialization; steps of groups; training."""
    size = QUICK if run.quick else FULL
    text, vocabulary = characters()
    yield from signal(run, size, text, vocabulary)
    yield from groups(run, size, text, vocabulary)
    yield from training(run, size, text, vocabulary)


def characters() -> tuple[np.ndarray, int]:
    """The text of Python's documentation as small numbers, and how many there are."""
    from pydoc_data.topics import topics

    whole = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
    known, tokens = np.unique(np.frombuffer(whole, np.uint8), return_inverse=True)
    return tokens.astype(np.int32), len(known)


def pieces(text: np.ndarray, seed: int, count: int, length: int) -> np.ndarray:
    """Sequences from anywhere in the text, `[count, length]`."""
    starts = np.random.default_rng(seed).integers(0, len(text) - length, count)
    return text[starts[:, None] + np.arange(length)]


def draw(vocabulary: int, context: int, depth: int, width: int, key: Any) -> Any:
    """Parameters: embeddings and positions standard normal, matrices of variance 1 / fan_in, gains 1, biases 0."""
    block = dict.fromkeys("qkvo", (width, width)) | {"up": (width, 4 * width), "down": (4 * width, width)}
    shapes = {"embedding": (vocabulary, width), "positions": (context, width), "head": (width, vocabulary)}
    shapes |= {f"block{i}/{name}": shape for i in range(1, depth + 1) for name, shape in block.items()}
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = zip(shapes.items(), jnp.split(jax.random.normal(key, ends[-1:]), ends[:-1]), strict=True)
    made = {n: part.reshape(s) * (1.0 if n in ("embedding", "positions") else s[0] ** -0.5) for (n, s), part in parts}
    norm = {"gain": jnp.ones(width), "shift": jnp.zeros(width)}
    params: dict[str, Any] = {name: made[name] for name in ("embedding", "positions", "head")} | {"last": norm}
    vectors = {f"{name}_bias": jnp.zeros(shape[1]) for name, shape in block.items()}
    vectors |= {f"{at}_{name}": start for at in ("first", "second") for name, start in norm.items()}
    for i in range(1, depth + 1):
        params[f"block{i}"] = {name: made[f"block{i}/{name}"] for name in block} | vectors
    return params


def stream(params: Any, tokens: Any) -> Any:
    """The residual stream before the first and after every block, `[depth + 1, n, t, width]`."""
    h = params["embedding"][tokens] + params["positions"][: tokens.shape[-1]]
    mask = jnp.tril(jnp.ones((tokens.shape[-1],) * 2, bool))

    def block(h: Any, p: Any) -> tuple[Any, Any]:
        z = normalized(h, p["first_gain"], p["first_shift"])
        q, k, v = ((z @ p[name] + p[f"{name}_bias"]).reshape(*h.shape[:2], HEADS, -1) for name in "qkv")
        scores = jnp.einsum("nshd,nthd->nhst", q, k) / q.shape[-1] ** 0.5
        mixed = jnp.einsum("nhst,nthd->nshd", jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)), v)
        h = h + mixed.reshape(h.shape) @ p["o"] + p["o_bias"]
        z = normalized(h, p["second_gain"], p["second_shift"])
        h = h + jax.nn.gelu(z @ p["up"] + p["up_bias"], approximate=False) @ p["down"] + p["down_bias"]
        return h, h

    blocks = [params[f"block{i}"] for i in range(1, 1 + sum(name.startswith("block") for name in params))]
    later = jax.lax.scan(block, h, jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks))[1]
    return jnp.concatenate([h[None], later])


def normalized(x: Any, gain: Any, shift: Any) -> Any:
    """Layer norm."""
    x = x - x.mean(-1, keepdims=True)
    return gain * x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5) + shift


def logits(params: Any, tokens: Any) -> Any:
    """Of the next character, at every position."""
    return normalized(stream(params, tokens)[-1], **params["last"]) @ params["head"]


def few_logits(params: Any, tokens: Any) -> Any:
    """Some of those of the last position, whose gradients are measured."""
    return logits(params, tokens)[:, -1, :SEEN]


def limit(vocabulary: int, depth: int, x: Any, mark: Any) -> Any:
    """The stream of the same transformer at infinite width."""
    h = mark("embedding", wn.embed(x, vocabulary))
    return pre_norm(depth, causal=True)(h + mark("positions", wn.position_table(h)), mark)


def limit_logits(vocabulary: int, depth: int, x: Any, mark: Any) -> Any:
    """A logit of it at the last position."""
    h = wn.select(wn.layer_norm(limit(vocabulary, depth, x, mark)), position=-1)
    return mark("head", wn.dense(h, width=1))


def signal(run: Run, size: Size, text: np.ndarray, vocabulary: int) -> Iterator[Outcome]:
    """Variances and parts of the NTK by depth, against the limit."""
    tokens = pieces(text, run.seed, SAMPLES, SHORT)
    blocks = range(size.depth + 1)
    K = np.array([limit_variance(vocabulary, block, tokens) for block in progress(blocks, "limit, blocks")])
    net = partial(limit_logits, vocabulary, size.depth)
    parts = {name: np.diag(part).mean() for name, part in group_ntk(net, points=POINTS)(tokens).items()}
    whole = np.diag(wn.ntk(lambda x: net(x, unmarked), points=POINTS)(tokens.astype(float))).mean()
    variances, steps = measured(run.seed, size, tokens, vocabulary)
    found = {name: together(name, size, steps) for name in parts}
    draw_signal(run, size, K, variances, parts, found)
    off, allowed = np.abs(variances.mean(0) - K), 4 * variances.std(0, ddof=1) / len(variances) ** 0.5 + 0.03 * K
    yield VARIANCE.check(np.max(off / allowed), "text", f"width {size.wide}; at most {np.max(off / K):.1%} of it")
    grown = np.log(np.arange(1, size.depth + 1)), np.log(K[1:] - K[0])
    yield LINEAR.check(np.polyfit(*grown, 1)[0], "text", f"K from {K[0]:.3g} to {K[-1]:.3g} in {size.depth} blocks")
    apart = {n: abs(v.mean() - parts[n]) / (4 * error(v) + 0.15 * parts[n]) for n, v in found.items()}
    worst = max(apart, key=apart.__getitem__)
    ratio = found[worst].mean() / parts[worst]
    yield PARTS.check(apart[worst], "text", f"{worst}: {ratio:.3f} of the limit; {len(parts)} groups of weights")
    ups = np.log([parts[f"up {block}"] for block in blocks[1:]])
    slope = np.polyfit(np.log(K[:-1]), ups, 1)[0]
    yield POWER.check(misfit(np.log(K[:-1]), ups) / misfit(np.arange(size.depth), ups), "text", f"K^{slope:.2f}")
    yield ADDED.check(abs(sum(parts.values()) / whole - 1), "text")


def limit_variance(vocabulary: int, depth: int, tokens: np.ndarray) -> float:
    """Variance of the stream after so many blocks, mean over positions and samples."""
    made = wn.nngp(lambda x: limit(vocabulary, depth, x, unmarked), positions="equal", points=POINTS)
    return float(np.mean(np.einsum("iip->ip", made(tokens.astype(float)))))


def measured(seed: int, size: Size, tokens: np.ndarray, vocabulary: int) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Of networks: variances after each block `[networks, depth + 1]`, and what each array adds to the NTK."""

    @jax.jit
    def variances(params: Any) -> Any:
        return jnp.mean(stream(params, tokens) ** 2, axis=(1, 2, 3))

    found, steps = [], []
    make = jax.jit(partial(draw, vocabulary, SHORT, size.depth, size.wide))
    for key in progress(list(jax.random.split(jax.random.key(seed), size.networks)), "networks"):
        params = make(key)
        found.append(np.asarray(variances(params), np.float64))
        steps.append(wp.group_steps(few_logits, params, tokens))
    return np.array(found), steps


def together(mark: str, size: Size, steps: list[dict[str, float]]) -> np.ndarray:
    """What a marked group of the limit adds to the NTK of each network, at the rate 1 / fan_in."""
    word, _, block = mark.partition(" ")
    names = {"query": ("q",), "key+value": ("k", "v"), "out": ("o",)}.get(word, (word,))
    paths = [f"block{block}/{name}" for name in names] if block else [word]
    fan_in = {"down": 4 * size.wide, "embedding": 1, "positions": 1}.get(word, size.wide)
    return np.array([sum(step[path] for path in paths) / fan_in for step in steps])


def error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def misfit(x: np.ndarray, y: np.ndarray) -> float:
    """Root mean square of what a line leaves."""
    return float(np.sqrt(np.mean((np.polyval(np.polyfit(x, y, 1), x) - y) ** 2)))


def draw_signal(run: Run, size: Size, K: np.ndarray, variances: Any, parts: Any, found: Any) -> None:
    """Variance of the stream and parts of the NTK, over depth."""
    figure, (left, right) = panels(2, width=4.8)
    left.plot(np.arange(len(K)), K, "k--", label="limit")
    bars = 2 * variances.std(0, ddof=1) / np.sqrt(len(variances))
    label = f"{len(variances)} networks, width {size.wide} (2 s.e.)"
    left.errorbar(np.arange(len(K)), variances.mean(0), bars, fmt="o", ms=4, color=COLOURS[0], label=label)
    left.set(title="residual stream", xlabel="blocks", ylabel="variance K", ylim=(0, None), xticks=range(len(K)))
    left.legend()
    at = np.arange(1, size.depth + 1)
    for colour, word in zip(COLOURS, ("query", "key+value", "out", "up", "down"), strict=False):
        names = [f"{word} {block}" for block in at]
        right.plot(at, [parts[name] for name in names], "--", color=colour)
        means, bars = ([f(found[name]) for name in names] for f in (np.mean, error))
        right.errorbar(at, means, 2 * np.array(bars), fmt="o", ms=4, color=colour, label=word)
    right.set(title="NTK of the weights of a block (dashed: limit)", xlabel="block", yscale="log", xscale="log")
    right.set(ylabel="mean squared gradient / fan-in", xticks=at, xticklabels=at)
    right.minorticks_off()
    right.legend(ncols=2)
    save(figure, run, "signal")


def groups(run: Run, size: Size, text: np.ndarray, vocabulary: int) -> Iterator[Outcome]:
    """How a step of each group goes as a power of width, at one rate and with rates by group."""
    tokens = pieces(text, run.seed, SAMPLES, SHORT)
    steps = {
        name: np.array([steps_at(run.seed, size, tokens, vocabulary, optimizer, n) for n in size.widths])
        for name, optimizer in progress(OPTIMIZERS.items(), "groups of parameters")
    }
    logs = {name: np.log(found).reshape(len(size.widths), -1) for name, found in steps.items()}
    powers = {name: np.polyfit(np.log(size.widths), log, 1)[0].reshape(2, -1) for name, log in logs.items()}
    draw_groups(run, size, steps, powers)
    for name, (plain, scaled) in powers.items():
        for role in ("hidden", "input"):
            wanted = GROWTH[name, role].expected.value
            worst = max(map(NAMES.index, ROLES[role]), key=lambda g: abs(plain[g] - wanted))
            yield GROWTH[name, role].check(plain[worst], "text", f"{NAMES[worst]}, the furthest of them")
        worst = int(np.argmax(np.abs(scaled)))
        yield SCALED[name].check(abs(scaled[worst]), "text", f"{NAMES[worst]}; head {scaled[-1]:+.3f}")


def steps_at(
    seed: int, size: Size, tokens: Any, vocabulary: int, optimizer: wp.Optimizer, width: int
) -> list[list[float]]:
    """Mean steps of the groups at one width: at one rate, and with those of the NTK parametrization."""
    narrow, model = size.widths[0], partial(draw, vocabulary, SHORT, size.blocks)
    shapes = [partial(model, n, jax.random.key(0)) for n in (narrow, width, 2 * narrow)]
    rates = wp.factors(wp.infer(*shapes), wp.ntp.to_form("A"), optimizer).column("rate")
    draws = map(jax.jit(partial(model, width)), jax.random.split(jax.random.key(seed), size.draws))
    measure = partial(wp.group_steps, few_logits, x=tokens, groups=GROUPS, optimizer=optimizer)
    found = [[list(measure(params, rates=by).values()) for by in (None, rates)] for params in draws]
    return np.mean(found, axis=0).tolist()


def draw_groups(run: Run, size: Size, steps: dict[str, np.ndarray], powers: dict[str, np.ndarray]) -> None:
    """Steps of groups over width, a panel an optimizer and a choice of rates."""
    figure, axes = panels(4, width=3.9, height=4.2)
    kinds = [(name, scaled) for name in OPTIMIZERS for scaled in (0, 1)]
    styles = [(colour, mark) for mark in ("o-", "s--") for colour in COLOURS[:6]]
    for ax, (name, scaled) in zip(axes, kinds, strict=True):
        for g, (colour, mark) in enumerate(styles[: len(NAMES)]):
            label = f"{NAMES[g]}: {powers[name][scaled, g]:+.2f}"
            ax.loglog(size.widths, steps[name][:, scaled, g], mark, ms=4, color=colour, label=label)
        sums = "squared gradients" if name == "sgd" else "|gradients|"
        ax.set(title=f"{name}, {('one rate', 'rates by group')[scaled]}", ylabel=f"sum of {sums} x rate")
        ax.set(xlabel="width", xticks=size.widths, xticklabels=size.widths)
        ax.minorticks_off()
        ax.legend(title="exponent of width", ncols=2, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    save(figure, run, "groups")


def training(run: Run, size: Size, text: np.ndarray, vocabulary: int) -> Iterator[Outcome]:
    """Learning rates by group against one for all."""
    rows = pieces(text, run.seed, 1024, size.context + 1)
    data = rows[:, :-1], rows[:, 1:]
    sweeps: dict[tuple[str, bool], Sweep] = {}
    for name in size.optimizers:
        for grouped in (False, True):
            model = partial(trainable, vocabulary, size, name, grouped)
            sweeps[name, grouped] = wn.lr_sweep(
                model, size.trained, data, RATES[name], steps=size.steps, seeds=SEEDS, batch_size=16,
                key=run.seed, test=(data[0][:128], data[1][:128]),
            )  # fmt: skip
    draw_training(run, sweeps)
    for name in OPTIMIZERS:
        if name not in size.optimizers:
            yield from (claims[name].skip("needs the full run") for claims in (STAYS, MOVES, LOSS))
            continue
        one, many = (sweeps[name, grouped] for grouped in (False, True))
        yield STAYS[name].check(many.drift.value, "text", f"95 %: {many.drift}")
        yield MOVES[name].check(many.drift.value - one.drift.value, "text", f"one rate: {one.drift}")
        best = [lowest(sweep, 1) for sweep in (many, one)]
        note = ", ".join(f"{mean:.3f} +- {spread:.3f}" for mean, spread in best)
        narrow = ", ".join(f"{lowest(sweep, 0)[0]:.3f}" for sweep in (many, one))
        yield LOSS[name].check(best[0][0] / best[1][0], "text", f"{note}; narrow: {narrow}")


def trainable(
    vocabulary: int, size: Size, name: str, grouped: bool, width: int
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[[Any], Any]]:
    """A model of one width with its optimizer; the rate is that of hidden layers of the narrowest model."""
    exponents, base = wp.lr_exponents(OPTIMIZERS[name]), size.trained[0]
    unit = base ** float(exponents["up"])
    core = optax.trace(0.9) if name == "sgd" else optax.scale_by_adam()

    def scaled(updates: Any, _: Any) -> Any:
        def of_path(keys: Any, u: Any) -> Any:
            path = jax.tree_util.keystr(keys, simple=True, separator="/")
            group = next(name for name, pattern in GROUPS.items() if re.search(pattern, path))
            return u * unit * width ** -float(exponents[group])

        return jax.tree_util.tree_map_with_path(of_path, updates) if grouped else updates

    def optimizer(rate: Any) -> Any:
        return optax.chain(core, optax.stateless(scaled), optax.scale_by_learning_rate(rate))

    return partial(draw, vocabulary, size.context, size.blocks, width), logits, optimizer


def lowest(sweep: Sweep, at: int) -> tuple[float, float]:
    """Loss of one width at its best rate of the grid: mean over seeds, and standard error."""
    losses = sweep.loss[at, np.argmin(sweep.loss[at].mean(-1))]
    return float(losses.mean()), error(losses)


def draw_training(run: Run, sweeps: dict[tuple[str, bool], Sweep]) -> None:
    """Loss over learning rate, a panel an optimizer."""
    figure, axes = panels(len(sweeps) // 2, width=4.8, sharey=True)
    for ax, name in zip(axes, dict.fromkeys(name for name, _ in sweeps), strict=True):
        for grouped, style in ((False, "o--"), (True, "o-")):
            sweep = sweeps[name, grouped]
            for colour, width, loss in zip(COLOURS, sweep.sizes, sweep.loss, strict=False):
                label = f"width {width}, {'rates by group' if grouped else 'one rate'}"
                known = np.where(loss < 2 * sweep.start.max(), loss, np.nan)  # else it diverged
                bars = known.std(-1, ddof=1) / loss.shape[-1] ** 0.5
                ax.errorbar(sweep.learning_rates, known.mean(-1), bars, fmt=style, ms=4, color=colour, label=label)
        ax.set(title=name, xlabel="rate of hidden layers at the smaller width", xscale="log")
        ax.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    low, start = min(s.loss.min() for s in sweeps.values()), max(np.median(s.start) for s in sweeps.values())
    axes[0].set(ylabel="loss (bars: standard error)", ylim=(0.9 * low, 1.1 * start))
    save(figure, run, "training")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
