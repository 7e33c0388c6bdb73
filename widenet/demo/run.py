"""`widenet demo`: the main job on scikit-learn's digits, in one or two minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import widenet as wn
from widenet import datasets
from widenet.demo.draw import draw
from widenet.demo.train import trained_accuracy
from widenet.predict import accuracy, centred_one_hot
from widenet.progress import progress

TRAIN, TEST = 1000, 500
NOISE = 1e-3  # of the targets, in units of their variance
ROWS = 6  # samples on which Monte Carlo is compared
WIDTHS = (32, 64, 128, 256, 512)
NETWORKS = 32  # random networks that a kernel is compared with


class Architecture(NamedTuple):
    """One row of the demonstration: what is computed for it."""

    title: str
    net: Any
    by_rows: bool  # an image is a sequence of its rows, rather than one vector


ARCHITECTURES = (
    Architecture("relu MLP, 3 hidden", wn.zoo.mlp(wn.relu, 3, sigma_b=0.1), False),
    Architecture("erf MLP, 3 hidden", wn.zoo.mlp(wn.erf, 3, sigma_w=1.5, sigma_b=0.1), False),
    Architecture("residual relu net, 6 blocks", wn.zoo.residual(wn.relu, 6, sigma_w=1.2, sigma_b=0.1), False),
    Architecture("tied RNN over the rows", wn.zoo.rnn(wn.erf, sigma_w=1.2, sigma_u=1.2, sigma_b=0.1), True),
)


class Digits(NamedTuple):
    """Images in both layouts, with labels, split."""

    vectors: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    def inputs(self, by_rows: bool) -> tuple[np.ndarray, np.ndarray]:
        """Training and test images, `[n, 64]` or `[n, 8, 8]`."""
        x = self.rows if by_rows else self.vectors
        return x[:TRAIN], x[TRAIN : TRAIN + TEST]


def load(seed: int) -> Digits:
    """The digits, shuffled and standardized by the mean and the scale of all pixels."""
    images, labels = datasets.digits()
    order = np.random.default_rng(seed).permutation(len(images))[: TRAIN + TEST]
    images = images.reshape(-1, 8, 8)[order]
    images = (images - images[:TRAIN].mean()) / images[:TRAIN].std()
    return Digits(images.reshape(-1, 64), images, labels[order])


def run(out: Path, seed: int = 0) -> dict[str, Any]:
    """Run the demonstration, print what it finds, and write `demo.png` and `kernels.npz` into `out`."""
    begin = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    digits = load(seed)
    print(f"scikit-learn's digits: {TRAIN} to train on, {TEST} to test on, 8 x 8 pixels\n")
    print(wn.show(ARCHITECTURES[0].net, (TRAIN, 64)), end="\n\n")
    rows = [report(architecture, digits, seed) for architecture in progress(ARCHITECTURES, "architectures")]
    rate = convergence(ARCHITECTURES[0], digits, seed)
    print(f"\nfinite width: the relative error of the NTK falls as width^{rate['slope']:.2f} (theory: -0.5 a network)")
    pictures = draw(out / "demo.png", rows, rate, digits)
    np.savez(out / "kernels.npz", **{f"{row['title']}/{k}": row[k] for row in rows for k in ("nngp", "ntk")})
    print(f"wrote {pictures} and {out / 'kernels.npz'} in {time.perf_counter() - begin:.0f} s")
    return {"rows": rows, "convergence": rate}


def report(architecture: Architecture, digits: Digits, seed: int) -> dict[str, Any]:
    """Kernels, their agreement with random networks, and the accuracy of their predictions."""
    title, net, by_rows = architecture
    x, x_test = digits.inputs(by_rows)
    begin = time.perf_counter()
    train, cross = wn.kernel(net)(x), wn.kernel(net)(x_test, x)
    seconds = time.perf_counter() - begin
    labels, answers = digits.labels[:TRAIN], digits.labels[TRAIN:]
    y = centred_one_hot(labels, 10)
    scores = {
        name: accuracy(predict(getattr(train, name), y, getattr(cross, name)), answers) for name in ("nngp", "ntk")
    }
    worst = monte_carlo_agreement(net, x[:ROWS], seed)
    scores["network"] = trained_accuracy(net, x, y, x_test, answers, seed=seed)
    print(
        f"{title:28} kernels in {seconds:4.1f} s   Monte Carlo within {worst:.1f} standard errors   "
        f"test accuracy: NNGP {scores['nngp']:.1%}, NTK {scores['ntk']:.1%}, trained network {scores['network']:.1%}"
    )
    return {"title": title, "scores": scores, "nngp": train.nngp, "ntk": train.ntk, "worst": worst, "labels": labels}


def predict(gram: np.ndarray, y: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """The mean of kernel regression with a little noise, scaled to the kernel."""
    return wn.predict.gp(gram, y, cross, noise=NOISE * np.trace(gram) / len(gram)).mean


def monte_carlo_agreement(net: Any, x: np.ndarray, seed: int) -> float:
    """The largest deviation of the mean of random networks from the limit, in standard errors."""
    exact = wn.nngp(net)(x)
    estimate = wn.monte_carlo_nngp(net, seed, 256, NETWORKS)(x)
    return float(np.max(np.abs(estimate.nngp - exact) / estimate.nngp_error))


def convergence(architecture: Architecture, digits: Digits, seed: int) -> dict[str, Any]:
    """The relative deviation of the NTK of one random network from the limit, at growing widths."""
    x = digits.inputs(architecture.by_rows)[0][:ROWS]
    exact = wn.ntk(architecture.net)(x)
    errors = []
    for width in WIDTHS:
        mc = wn.monte_carlo_ntk(architecture.net, seed, width, NETWORKS)(x)
        spread = mc.ntk_error * np.sqrt(mc.samples)  # of one network
        errors.append(float(np.linalg.norm(spread) / np.linalg.norm(exact)))
    slope = np.polyfit(np.log(WIDTHS), np.log(errors), 1)[0]
    return {"widths": WIDTHS, "errors": errors, "slope": float(slope)}
