"""Feature learning in infinite-width neural networks, its two tasks: few shots and word embeddings.

Paper: yang2021
Figure: accuracy of MAML by width; accuracy and principal components of Word2Vec
Claim: where features must be learned, wider networks in muP are better and the infinitely wide one is best, and the NTK
    and Gaussian processes are far behind: they do not learn from other tasks, and their word embeddings are random
Expected: MAML 66.4 % at infinite width and at 8192, 55.3 % at width 2, 47.8 % of the NTK, 47.6 % of the Gaussian
    process; Word2Vec 43 % and 56 % at infinite width, 0 % of the NTK
Minutes: 4 (full, 4 cores), 0.5 (--quick, 2 cores)
Command: python paper_repro/tp4_tasks.py [--quick] [--out DIR] [--seed N]

As in the paper: first-order MAML of linear networks with one hidden layer, 5 ways, 1 shot, cross-entropy, inner rate
0.4 and one inner step in training, sigma_v = 1/32; continuous bags of words with negative samples, readouts from zero.
Not as in the paper: Omniglot is replaced by Gaussian classes whose means lie in an unknown space of 5 of 32 dimensions,
text8 by bags of words of one topic among ten, with words of others; nothing is clipped; 5 inner steps in tests.
Analogies need a large vocabulary: what is counted is words whose nearest neighbour, by cosine, is of their topic.
What is expected: the orderings and their least sizes are the paper's, in rounded numbers; its accuracies are those of
other data.  A kernel has no parameters to meta-learn, so its accuracy after training is about that before.
Data: synthetic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet.limits import LinearNet, exact_limit, linear_mup
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

DIMENSIONS, SIGNAL, SPREAD, SCALE = 32, 5, 0.3, 0.5  # of the inputs, of class means; of samples about them
WAYS, QUERIES, PER_CLASS, CLASSES = 5, 4, 20, (64, 32)  # classes to train and to test on
INNER, META, TASKS, TEST_TASKS, TEST_STEPS = 0.4, 0.3, 8, 400, 5
SHOT, QUERY = np.arange(WAYS), np.repeat(np.arange(WAYS), QUERIES)  # labels
TOPICS, EACH, WINDOW, NEGATIVES, OTHERS = 10, 50, 8, 5, 0.6  # OTHERS: share of words from any topic
WORDS, TOPIC = TOPICS * EACH, np.repeat(np.arange(TOPICS), EACH)
BAGS, BAG_RATE = 256, 10.0
SIGNS = np.array([1.0] + [-1.0] * NEGATIVES)


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    widths: tuple[int, ...]
    meta_steps: int
    word_widths: tuple[int, ...]
    word_steps: int
    seeds: int


FULL = Size((2, 8, 32, 128, 512, 2048), 200, (4, 16, 64, 256, 1024, 2048), 400, 4)
QUICK = Size((2, 16, 128), 100, (4, 64, 1024), 300, 2)

ABOVE = Claim("MAML", "infinite muP over the best kernel, in points", at_least(15.0))
WIDE = Claim("MAML", "infinite muP minus the widest network, in points", about(0.0, 2.0))
NARROW = Claim("MAML", "infinite muP minus the narrowest network, in points", at_least(10.0))
WIDER = Claim("MAML", "smallest gain from one width to the next, in points", at_least(-1.0))
KERNELS = Claim("MAML", "largest gain of a kernel by meta-training, in points", at_most(2.0))
EMBEDDED = Claim("Word2Vec", "infinite muP over the NTK, in points", at_least(40.0))
WIDER_WORDS = Claim("Word2Vec", "smallest gain from one width to the next, in points", at_least(-1.0))
WIDE_WORDS = Claim("Word2Vec", "infinite muP minus the widest network, over minus the narrowest", at_most(0.3))
CHANCE = Claim(
    "Word2Vec", "networks in the NTK parametrization, widest, in %", about(100 * (EACH - 1) / (WORDS - 1), 4.0)
)


def main(run: Run) -> Iterator[Outcome]:
    """Few shots and word embeddings."""
    size = QUICK if run.quick else FULL
    yield from few_shots(run, size)
    yield from word_embeddings(run, size)


class Task(NamedTuple):
    """Inputs, and episodes as the places of their examples: `[steps, tasks, 5]` and `[steps, tasks, 20]`."""

    x: Any
    train: tuple[Any, Any]
    test: tuple[Any, Any]


def few_shot_task(seed: int, steps: int) -> Task:
    """Classes that differ in few directions, the same ones in training and test, among many noisy ones."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    means = np.repeat(rng.normal(size=(sum(CLASSES), SIGNAL)), PER_CLASS, axis=0)
    noise = rng.normal(size=(len(means), DIMENSIONS)) * np.r_[np.full(SIGNAL, SPREAD), np.ones(DIMENSIONS - SIGNAL)]
    noise[:, :SIGNAL] += means
    x = jnp.asarray(SCALE * noise @ turned.T, jnp.float32)
    test = episodes(rng, (1, TEST_TASKS), CLASSES[1])
    return Task(x, episodes(rng, (steps, TASKS), CLASSES[0]), tuple(part[0] + CLASSES[0] * PER_CLASS for part in test))


def episodes(rng: Any, shape: tuple[int, int], classes: int) -> tuple[Any, Any]:
    """Examples to learn from and to be asked about, of five random classes each."""
    count = shape[0] * shape[1]
    chosen = np.argsort(rng.random((count, classes)))[:, :WAYS]
    examples = np.argsort(rng.random((count, PER_CLASS)))[:, : 1 + QUERIES]
    places = chosen[:, :, None] * PER_CLASS + examples[:, None]
    return places[..., 0].reshape(*shape, WAYS), places[..., 1:].reshape(*shape, WAYS * QUERIES)


class Learner(NamedTuple):
    """What MAML needs of a model: outputs at some inputs, the gradient of the loss there, where it starts."""

    outputs: Callable[[Any, Any], Any]
    gradient: Callable[[Any, Any, Any], Any]
    start: Any


def network(net: LinearNet, start: Any, x: Any) -> Learner:
    """A network, finite or the limit."""

    def loss(params: Any, places: Any, y: Any) -> Any:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(net.apply(params, x[places])), y[:, None], axis=1)
        return -jnp.mean(chosen)

    return Learner(lambda params, places: net.apply(params, x[places]), jax.grad(loss), start)


def kernel_machine(k: Any) -> Learner:
    """A function in the span of a kernel, as its values at all inputs; the gradient is k(., places) dloss/df."""

    def gradient(values: Any, places: Any, y: Any) -> Any:
        return k[:, places] @ ((jax.nn.softmax(values[places]) - jax.nn.one_hot(y, WAYS)) / len(y))

    return Learner(lambda values, places: values[places], gradient, jnp.zeros((len(k), WAYS)))


def moved(state: Any, gradient: Any, rate: float) -> Any:
    """A step of gradient descent."""
    return jax.tree.map(lambda w, g: w - rate * g, state, gradient)


def maml(learner: Learner, task: Task) -> tuple[float, float]:
    """Accuracy in new tasks, in %, before and after first-order MAML."""

    def adapted(state: Any, shots: Any, steps: int) -> Any:
        for _ in range(steps):
            state = moved(state, learner.gradient(state, shots, SHOT), INNER)
        return state

    def step(state: Any, batch: tuple[Any, Any]) -> tuple[Any, None]:
        found = jax.vmap(lambda shots, asked: learner.gradient(adapted(state, shots, 1), asked, QUERY))(*batch)
        return moved(state, jax.tree.map(lambda g: g.mean(0), found), META), None

    def accuracy(state: Any) -> Any:
        def one(places: tuple[Any, Any]) -> Any:
            return jnp.mean(jnp.argmax(learner.outputs(adapted(state, places[0], TEST_STEPS), places[1]), 1) == QUERY)

        return 100 * jnp.mean(jax.lax.map(one, task.test))

    @jax.jit
    def both(state: Any) -> tuple[Any, Any]:
        return accuracy(state), accuracy(jax.lax.scan(step, state, task.train)[0])

    before, after = both(learner.start)
    return float(before), float(after)


def few_shots(run: Run, size: Size) -> Iterator[Outcome]:
    """Accuracy by width, of the limit and of kernels."""
    found: dict[Any, list[Any]] = {}
    for seed in progress(range(run.seed, run.seed + size.seeds), "few shots, seeds"):
        task = few_shot_task(seed, size.meta_steps)
        for name, learner in learners(task.x, size.widths, seed):
            found.setdefault(name, []).append(maml(learner, task))
    before, after = ({name: np.array(pairs)[:, i] for name, pairs in found.items()} for i in (0, 1))
    figure, axes = panels(1, width=5.6, height=4.0)
    finite = np.array([after[width] for width in size.widths])
    axes[0].errorbar(size.widths, finite.mean(1), finite.std(1, ddof=1), fmt="o-", capsize=3, label="muP, finite width")
    lines = [name for name in after if isinstance(name, str)]
    for colour, style, name in zip(("k", *COLOURS[1:4]), ("-", "--", "-.", ":"), lines, strict=True):
        axes[0].axhline(after[name].mean(), color=colour, ls=style, label=name)
    axes[0].axhline(100 / WAYS, color="0.6", lw=0.8, label="chance")
    axes[0].set(xscale="log", xlabel="width", ylabel="accuracy in new tasks (%)", ylim=(0, 100))
    axes[0].set_title(f"first-order MAML, 5 ways, 1 shot; {size.seeds} seeds")
    axes[0].legend(loc="lower right", ncols=2)
    save(figure, run, "maml")
    limit, kernels = after[lines[0]].mean(), lines[1:]
    means, note = finite.mean(1), f"{limit:.1f} % at infinite width, {size.seeds} seeds"
    best = max(kernels, key=lambda name: after[name].mean())
    yield ABOVE.check(limit - after[best].mean(), note=f"{note}; {best}: {after[best].mean():.1f} %")
    yield WIDE.check(limit - means[-1], note=f"{means[-1]:.1f} % at width {size.widths[-1]}")
    yield NARROW.check(limit - means[0], note=f"{means[0]:.1f} % at width {size.widths[0]}")
    yield WIDER.check(np.diff(means).min())
    yield KERNELS.check(max((after[name] - before[name]).mean() for name in kernels))


def learners(x: Any, widths: tuple[int, ...], seed: int) -> Iterator[tuple[Any, Learner]]:
    """Networks by width, the limit, and kernels whose mean diagonal is that of the linear one."""
    net = linear_mup(DIMENSIONS, WAYS, sigma_v=1 / 32)
    for width in widths:
        yield width, network(net, net.init(jax.random.key(seed), width), x)
    yield "muP, infinite width", network(net, exact_limit(net), x)
    linear = x @ x.T
    yield "NTK or GP, linear", kernel_machine(linear)
    relu = wn.kernel(wn.serial(wn.dense(), wn.relu, wn.dense()))(x)
    for name, k in (("NTK, relu", relu.ntk), ("GP, relu", relu.nngp)):
        yield name, kernel_machine(k * (jnp.trace(linear) / jnp.trace(k)))


def bags_of_words(seed: int, steps: int) -> tuple[Any, Any]:
    """Contexts `[steps, bags, window]`; targets `[steps, bags, 1 + negatives]`, the true one first."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, EACH + 1) ** 0.7
    shape = (steps, BAGS, 1 + WINDOW + NEGATIVES)
    rank = rng.choice(EACH, size=shape, p=frequency / frequency.sum())
    topic = np.where(
        rng.random(shape) < OTHERS, rng.integers(0, TOPICS, shape), rng.integers(0, TOPICS, (*shape[:2], 1))
    )
    topic[..., 1 + WINDOW :] = rng.integers(0, TOPICS, (*shape[:2], NEGATIVES))
    words = topic * EACH + rank
    return words[..., 1 : 1 + WINDOW], np.delete(words, np.s_[1 : 1 + WINDOW], axis=2)


@partial(jax.jit, static_argnames="multiplier")
def embedded(params: Any, corpus: tuple[Any, Any], multiplier: float = 1.0) -> Any:
    """The embedding of each word `[words, width]` after training on bags of words."""

    def loss(p: Any, context: Any, targets: Any) -> Any:
        inside = jnp.mean(p["u"].T[context], axis=1)
        scores = multiplier * jnp.einsum("bn,btn->bt", inside, p["v"].T[targets])
        return -jnp.mean(jnp.sum(jax.nn.log_sigmoid(SIGNS * scores), axis=1))

    def step(p: Any, batch: tuple[Any, Any]) -> tuple[Any, None]:
        return moved(p, jax.grad(loss)(p, *batch), BAG_RATE), None

    return jax.lax.scan(step, params, corpus)[0]["u"].T


def same_topic(embedding: Any) -> float:
    """Words whose nearest neighbour is of their topic, in %."""
    e = np.asarray(embedding, np.float64)
    cosines = (e / np.linalg.norm(e, axis=1, keepdims=True)) @ (e / np.linalg.norm(e, axis=1, keepdims=True)).T
    np.fill_diagonal(cosines, -np.inf)
    return float(100 * np.mean(TOPIC[np.argmax(cosines, axis=1)] == TOPIC))


def word_embeddings(run: Run, size: Size) -> Iterator[Outcome]:
    """Nearest neighbours by width, and what embeddings look like."""
    net, widest = LinearNet(d_in=WORDS, d_out=WORDS, sigma_v=0.0), size.word_widths[-1]
    scores: dict[str, list[Any]] = {"finite": [], "limit": [], "ntk": []}
    for seed in progress(range(run.seed, run.seed + size.seeds), "word embeddings, seeds"):
        corpus, keys = bags_of_words(seed, size.word_steps), jax.random.split(jax.random.key(seed), 3)
        finite = [embedded(net.init(keys[0], width), corpus) for width in size.word_widths]
        limit = embedded(exact_limit(net), corpus)
        start = {name: jax.random.normal(key, (widest, WORDS)) for name, key in zip("uv", keys[1:], strict=True)}
        ntk = embedded(start, corpus, widest**-0.5)
        scores["finite"].append([same_topic(found) for found in finite])
        scores["limit"].append(same_topic(limit))
        scores["ntk"].append(same_topic(ntk))
    draw_words(run, size, {name: np.array(values) for name, values in scores.items()}, (limit, finite[-1], ntk))
    means, limits, ntks = np.mean(scores["finite"], axis=0), np.mean(scores["limit"]), np.mean(scores["ntk"])
    note = f"{size.seeds} seeds"
    yield EMBEDDED.check(limits - ntks, note=f"{limits:.1f} % at infinite width, {note}")
    yield WIDER_WORDS.check(np.diff(means).min(), note=", ".join(f"{mean:.1f} %" for mean in means))
    left = (limits - means[-1]) / (limits - means[0])
    yield WIDE_WORDS.skip("needs the full run") if run.quick else WIDE_WORDS.check(left, note=f"width {widest}")
    yield CHANCE.check(ntks, note=f"width {widest}, {note}")


def draw_words(run: Run, size: Size, scores: dict[str, np.ndarray], shown: tuple[Any, Any, Any]) -> None:
    """Scores by width; the first two principal components of the words of three topics."""
    figure, axes = panels(4, width=3.6, height=3.4)
    finite = scores["finite"]
    axes[0].errorbar(size.word_widths, finite.mean(0), finite.std(0, ddof=1), fmt="o-", capsize=3, label="muP")
    axes[0].axhline(scores["limit"].mean(), color="k", label="muP, infinite")
    axes[0].axhline(scores["ntk"].mean(), color=COLOURS[1], ls="--", label="NTK")
    axes[0].set(xscale="log", xlabel="width", ylabel="neighbours of the same topic (%)", ylim=(0, 105))
    axes[0].legend(loc="upper left", bbox_to_anchor=(0.0, 0.92))
    titles = ("muP, infinite width", f"muP, width {size.word_widths[-1]}", f"NTK, width {size.word_widths[-1]}")
    for ax, title, embedding in zip(axes[1:], titles, shown, strict=True):
        rows = np.asarray(embedding)[TOPIC < 3]
        centred = rows - rows.mean(0)
        places = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        for topic, colour in enumerate(COLOURS[:3]):
            ax.plot(*places[TOPIC[TOPIC < 3] == topic].T, "o", ms=3, color=colour, label=f"topic {topic + 1}")
        ax.set(title=title, xlabel="1st principal component")
    axes[1].set_ylabel("2nd principal component")
    axes[1].legend()
    save(figure, run, "words")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
