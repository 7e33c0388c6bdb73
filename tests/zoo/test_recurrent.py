"""Recurrent networks: against their equations in numpy, closed forms and random networks."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn

X = np.random.default_rng(0).normal(size=(2, 4, 3))
MASK = np.array([[True, False, True, False], [True, True, True, True]])
SPECS = ("rnn:sigma_b=0.2", "gru:sigma_w=1.3:sigma_b=0.2", "lstm:sigma_w=1.3:sigma_b=0.2")


def drawn(spec, x, width=6):
    """A network, and parameters drawn for it, as plain arrays in the NTK parametrization."""
    net = wn.zoo.parse(spec)
    params = wn.init(net, 0, x.shape, width)
    return net, params, {name: {key: np.asarray(value) for key, value in p.items()} for name, p in params.items()}


def gate(p, name, x, s, sigma_w=1.3, sigma_b=0.2):
    h = x @ p[f"U{name}"]["w"] / np.sqrt(x.shape[-1]) + sigma_b * p[f"U{name}"]["b"]
    return h + sigma_w * s @ p[f"W{name}"]["w"] / np.sqrt(s.shape[-1])


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


def test_the_gru_is_that_of_the_paper():
    net, params, p = drawn(SPECS[1], X)
    s = np.zeros((2, 6))
    for x in X.swapaxes(0, 1):
        z, r = (sigmoid(gate(p, name, x, s)) for name in "zr")
        s = (1 - z) * s + z * np.tanh(gate(p, "m", x, r * s))
    np.testing.assert_allclose(wn.apply(net, params, X), s @ p["dense1"]["w"] / np.sqrt(6), rtol=1e-12)


def test_the_lstm_is_that_of_the_paper():
    net, params, p = drawn(SPECS[2], X)
    s, c = np.zeros((2, 2, 6))
    for x in X.swapaxes(0, 1):
        f, i, o = (sigmoid(gate(p, name, x, s)) for name in "fio")
        c = f * c + i * np.tanh(gate(p, "m", x, s))
        s = o * np.tanh(c)
    np.testing.assert_allclose(wn.apply(net, params, X), s @ p["dense1"]["w"] / np.sqrt(6), rtol=1e-12)


def test_the_kernel_of_an_elman_network_is_the_recursion_over_pairs_of_steps():
    sigma_w, sigma_u, sigma_b, steps = 1.3, 0.8, 0.3, X.shape[1]
    drive = sigma_u**2 * np.einsum("atd,bsd->tsab", X, X) / X.shape[2] + sigma_b**2
    states = np.zeros((2, steps + 1, steps + 1, 2, 2))  # K and Theta of s_t at one sample and s_u at the other
    q = np.zeros((steps, 2))  # the variances of the Gaussian at each step
    for t in range(steps):
        for u in range(t, -1, -1):
            k = drive[t, u] + sigma_w**2 * states[0, t, u]
            theta = k + sigma_w**2 * states[1, t, u]  # of U, W, b, and of what is before
            if u == t:
                q[t] = np.diag(k)
            scale = np.sqrt(np.outer(1 + 2 * q[t], 1 + 2 * q[u]))
            slope = 4 / np.pi / np.sqrt(scale**2 - 4 * k**2)
            states[:, t + 1, u + 1] = 2 / np.pi * np.arcsin(2 * k / scale), slope * theta
            states[:, u + 1, t + 1] = states[:, t + 1, u + 1].swapaxes(1, 2)
    k = wn.kernel(wn.zoo.rnn(wn.erf, sigma_w=sigma_w, sigma_u=sigma_u, sigma_b=sigma_b))(X)
    np.testing.assert_allclose(k.nngp, states[0, -1, -1], rtol=1e-12)
    np.testing.assert_allclose(k.ntk, states[:, -1, -1].sum(0), rtol=1e-12)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("more", ["", ":bidirectional"])
def test_steps_outside_of_the_mask_are_as_if_they_were_left_out(spec, more):
    net, params, _ = drawn(spec + more, X)
    masked = wn.apply(wn.zoo.parse(spec + more + ":masked"), params, wn.samples(X, mask=MASK))
    short = wn.apply(net, params, X[:1, MASK[0]])
    np.testing.assert_allclose(masked, np.concatenate([short, wn.apply(net, params, X[1:])]), rtol=1e-12)


def test_the_masked_kernel_is_that_of_the_steps_that_exist():
    net, masked = (wn.zoo.rnn(sigma_b=0.2, masked=m) for m in (False, True))
    both = wn.samples(X, mask=np.repeat(MASK[:1], 2, 0))
    for ours, short in zip(wn.kernel(masked)(both), wn.kernel(net)(X[:, MASK[0]]), strict=True):
        np.testing.assert_allclose(ours, short, rtol=1e-12)


@pytest.mark.parametrize(("spec", "steps"), [("rnn:tanh:sigma_b=0.3", 4), ("gru:tied=no", 2)])
def test_a_bidirectional_kernel_is_the_mean_over_both_directions(spec, steps):
    both = wn.kernel(wn.zoo.parse(f"{spec}:bidirectional"))(X[:, :steps])
    there, back = (wn.kernel(wn.zoo.parse(spec))(x) for x in (X[:, :steps], X[:, :steps][:, ::-1]))
    for mean, one, other in zip(both, there, back, strict=True):
        np.testing.assert_allclose(mean, (one + other) / 2, rtol=1e-10)


def test_tied_and_untied_gates_differ_and_agree_where_there_is_one_step():
    tied, untied = (wn.zoo.gru(sigma_b=0.2, tied=t) for t in (True, False))
    one, other = (wn.nngp(net)(X[:, :1]) for net in (tied, untied))
    np.testing.assert_allclose(one, other, rtol=1e-12)
    one, other = (wn.nngp(net)(X[:, :2]) for net in (tied, untied))
    assert np.abs(one - other).max() > 0.05 * other.max()


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("rnn:tanh:masked:bidirectional:sigma_w=1.3:sigma_b=0.2", marks=pytest.mark.slow),
        "gru:masked:sigma_w=1.3:sigma_b=0.2",
        pytest.param("gru:sigma_w=1.3:sigma_b=0.2", marks=pytest.mark.slow),
        pytest.param("lstm:sigma_w=1.3:sigma_b=0.2", marks=pytest.mark.slow),
        pytest.param("lstm:masked:bidirectional:sigma_w=1.3:sigma_b=0.2", marks=pytest.mark.slow),
    ],
)
def test_kernels_agree_with_random_networks(spec):
    net, width, steps = wn.zoo.parse(spec), 128, slice(1, 3)
    x = wn.samples(X[:, steps], mask=MASK[:, steps]) if "masked" in spec else X[:, steps]
    k, mc = wn.kernel(net)(x), wn.monte_carlo(net, 0, width, 200)(x)
    for estimate, error, exact in ((mc.nngp, mc.nngp_error, k.nngp), (mc.ntk, mc.ntk_error, k.ntk)):
        allowed = 4 * error + 2 / width * np.abs(exact).max()  # the leading correction, 1 / n
        assert (np.abs(estimate - exact) < allowed).all(), (estimate, error, exact)


@pytest.mark.parametrize("spec", ["rnn", "gru", "lstm"])
def test_data_without_time_are_refused(spec):
    with pytest.raises(ValueError, match=f"{spec} needs a time axis"):
        wn.show(wn.zoo.parse(spec), (2, 3))
    with pytest.raises(ValueError, match="with a mask reads data"):
        wn.show(wn.zoo.parse(f"{spec}:masked"), (2, 3, 4, 5))
