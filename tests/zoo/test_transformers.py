"""Transformers of the zoo: against their recursion in numpy, and random networks.  test_peer.py has more."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn

TOKENS = np.random.default_rng(0).integers(0, 5, size=(2, 4))
PATCHES = np.random.default_rng(1).normal(size=(2, 4, 4, 2))


def test_gpt_is_the_recursion_over_all_pairs_of_positions():
    sigma_qk, w, b, depth = 1.5, 1.2**2, 0.3**2, 3
    k = w * (TOKENS[:, :, None, None] == TOKENS[None, None]) + np.eye(4)[None, :, None]  # [sample, p, sample, q]
    for _ in range(depth):
        normal = normalized(k)
        scores = np.exp(sigma_qk * np.einsum("apaq->apq", normal)) * np.tri(4)
        attention = scores / scores.sum(-1, keepdims=True)
        k = k + w**2 * np.einsum("api,aibj,bqj->apbq", attention, normal, attention) + b
        hidden = w * normalized(k) + b
        q = 1 + 2 * np.einsum("apap->ap", hidden)
        k = k + w * 2 / np.pi * np.arcsin(2 * hidden / np.sqrt(q[:, :, None, None] * q)) + b
    expected = w * normalized(k)[:, -1, :, -1] + b
    net = wn.zoo.parse(f"gpt:erf:{depth}:vocabulary=5:sigma_qk={sigma_qk}:sigma_w=1.2:sigma_b=0.3")
    np.testing.assert_allclose(wn.nngp(net)(TOKENS), expected, rtol=1e-12)


def normalized(k):
    root = np.sqrt(np.einsum("apap->ap", k))
    return k / root[:, :, None, None] / root


def test_tokens_are_one_hot_vectors():
    net, one_hot = wn.zoo.gpt(wn.erf, 2, vocabulary=5), np.sqrt(5) * np.eye(5)[TOKENS]
    for ours, vectors in zip(wn.kernel(net)(TOKENS), wn.kernel(net)(one_hot), strict=True):
        np.testing.assert_allclose(ours, vectors, rtol=1e-12)


def test_a_token_outside_of_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="from 0 to 3, the vocabulary"):
        wn.nngp(wn.zoo.gpt(depth=1, vocabulary=4))(TOKENS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "x"),
    [
        ("vit:1:patch=2:scaling=sqrt:sigma_qk=1.5", PATCHES),
        ("gpt:2:scaling=sqrt:vocabulary=5:sigma_b=0.2", TOKENS),
        ("gpt:2:sigma_qk=1.5:vocabulary=5", TOKENS),
    ],
)
def test_kernels_agree_with_random_networks(spec, x):
    net, width = wn.zoo.parse(spec), 64
    k, mc = wn.kernel(net)(x), wn.monte_carlo(net, 0, width, 200)(x)
    for estimate, error, exact in ((mc.nngp, mc.nngp_error, k.nngp), (mc.ntk, mc.ntk_error, k.ntk)):
        allowed = 4 * error + 2 / width * np.abs(exact).max()  # the leading correction, 1 / n
        assert (np.abs(estimate - exact) < allowed).all(), (estimate, error, exact)
