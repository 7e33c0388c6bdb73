"""What a network reads beside vectors: tokens, and the places where they stand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from widenet.layers.dense import weight_of
from widenet.layers.layer import layer
from widenet.program.ops import Embed, Input, Table, Weight
from widenet.program.var import Var


@layer
def embed(
    x: Var, vocabulary: int, sigma_w: Any = 1.0, *, width: int | None = None, weight: Weight | None = None
) -> Var:
    """Token embeddings: the features of the data are token ids, and become positions `[n, t]` to `[n, t, width]`.

    h[t] = sigma_w E[x_t], rows of E standard normal; cov(h[s], h'[t]) = sigma_w^2 if x_s = x'_t, else 0        (E1)

    That is a dense layer on one-hot data (times the root of their number of features), without forming them.
    Raises: ValueError for anything but data, and, when the kernel is computed, for ids outside of the vocabulary.
    """
    if not isinstance(x.op, Input):
        raise ValueError(f"embed reads token ids, the data themselves, but was given {x}: make it the first layer.")
    if vocabulary < 1:
        raise ValueError(f"embed: the vocabulary must have at least one token; got {vocabulary}.")
    weight, channels = weight_of("embed", x, sigma_w, 0.0, width, weight)
    positions = (*x.positions, x.channels.count(0))
    return Var(Embed(weight, vocabulary, sigma_w), (x,), positions, channels)


@layer
def position_table(
    x: Var, sigma_w: Any = 1.0, *, covariance: Any = None, width: int | None = None, weight: Weight | None = None
) -> Var:
    """Positional encodings: a random vector for each position of x, the same in every sample (E2).

    h[p] = sigma_w (root E)[p], rows of E standard normal, root root^T = C: cov(h[p], h[q]) = sigma_w^2 C_pq

    covariance: C over flattened positions, `[P, P]`, or a function of the distances |p - q|, such as
    `lambda r: np.exp(-r**2)`, that gives nearby positions similar encodings; None for independent (learned) ones.
    Add it to x, or concatenate them.
    Raises: ValueError unless C is symmetric and positive semidefinite.
    Source: hron2020, sec. 5.
    """
    count = math.prod(x.positions)
    if covariance is None:
        matrix = np.eye(count)
    else:
        matrix = np.asarray(covariance(_distances(x.positions)) if callable(covariance) else covariance, float)
    if matrix.shape != (count, count):
        raise ValueError(f"position_table for {x} needs a covariance of shape {(count, count)}; got {matrix.shape}.")
    weight, channels = weight_of("position_table", x, sigma_w, 0.0, width, weight)
    return Var(Table(weight, _root(matrix), sigma_w), (), x.positions, channels)


def _distances(positions: tuple[int, ...]) -> np.ndarray:
    places = np.stack(np.meshgrid(*map(np.arange, positions), indexing="ij"), -1).reshape(-1, len(positions))
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    if values.min() < -1e-9 * max(values.max(), 1.0) or not np.allclose(matrix, matrix.T):
        raise ValueError("position_table: the covariance of positions must be symmetric and positive semidefinite.")
    return vectors * np.sqrt(np.maximum(values, 0))
