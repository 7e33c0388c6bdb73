"""Networks with batch normalization, without their readout: name -> (network, data)."""

from __future__ import annotations

import numpy as np

import widenet as wn
from tests.batches.finite import READOUT

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(6, 9)) * np.linspace(0.5, 1.5, 6)[:, None] + 0.3
REPEATED = ROWS[[0, 1, 2, 3, 4, 0]]
IMAGES = RNG.normal(size=(4, 5, 3)) + 0.2


def normalized(phi, eps=0.0):
    """phi of the batch-normalized variable."""
    return wn.serial(wn.batch_norm(eps=eps), phi)


def dense(sigma_w=1.3, sigma_b=0.4):
    return wn.dense(sigma_w=sigma_w, sigma_b=sigma_b)


def twice(phi, eps=0.0):
    return wn.serial(dense(), normalized(phi, eps), dense(), normalized(phi, eps))


def stack(phi, eps=0.0):
    return wn.serial(twice(phi, eps), READOUT)


def correlated(x):
    """Features of one variable, of two dependent ones, of independent ones, and a Gaussian variable, in one sum."""
    h = dense()(x)
    g = h + dense(0.8, 0.1)(normalized(wn.relu)(h))
    features = normalized(wn.relu)(h) + 0.5 * normalized(wn.tanh, 0.2)(g) + 0.3 * wn.relu(g)
    return features + 0.7 * h + 0.4 * normalized(wn.relu)(dense()(x))


def tied(x):
    weight = wn.Weight()
    a = normalized(wn.relu, 0.3)(dense()(x))
    h = wn.dense(a, 1.2, 0.3, weight=weight)
    h = wn.dense(normalized(wn.relu, 0.3)(h), 1.1, 0.2, weight=weight)
    return normalized(wn.relu, 0.3)(h) + a


def convolutional(x):
    h = wn.conv(3, sigma_w=1.3, sigma_b=0.3, padding="SAME")(x)
    h = wn.conv(2, sigma_w=1.2, sigma_b=0.2)(normalized(wn.relu)(h))
    return wn.position_mean(normalized(wn.tanh)(h))


def flattened(x):
    return wn.flatten(normalized(wn.relu, 0.1)(wn.average_pool(2)(dense()(x))))


NETS = {
    "linear": (wn.serial(dense(), wn.batch_norm(), dense(), wn.batch_norm(eps=0.2)), ROWS),
    "relu": (twice(wn.relu), ROWS),
    "tanh_eps": (twice(wn.tanh, 0.5), ROWS),
    "step": (wn.serial(dense(), normalized(wn.step), dense(), normalized(wn.tanh, 0.3)), ROWS),
    "repeated_samples": (twice(wn.relu), REPEATED),
    "three_samples_eps": (twice(wn.relu, 0.3), ROWS[:3]),
    "correlated": (correlated, ROWS),
    "tied": (tied, ROWS),
    "convolutional": (convolutional, IMAGES),
    "flattened": (flattened, IMAGES),
}
