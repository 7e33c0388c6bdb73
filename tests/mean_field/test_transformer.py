"""Parts of groups of weights in the NTK, against the whole, closed forms and finite transformers."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import widenet as wn
from widenet import parametrizations as wp
from widenet.mean_field import group_ntk, pre_norm, unmarked

TOKENS = np.random.default_rng(0).integers(0, 5, (2, 3)).astype(float)
DEPTH, WIDTH, HEADS, NETWORKS, POINTS = 2, 48, 8, 48, 512
BIAS = 0.1  # relative: some times 1/heads and depth/width


def transformer(x, mark):
    h = mark("embedding", wn.embed(x, 5, 1.3))
    h = h + mark("positions", wn.position_table(h, 0.7))
    h = pre_norm(DEPTH, wn.tanh, sigma_qk=1.5, sigma_w=1.2, causal=True, heads=HEADS)(h, mark)
    return mark("head", wn.dense(wn.select(wn.layer_norm(h), position=-1), 1.1, width=1))


@pytest.fixture(scope="module")
def parts():
    return group_ntk(transformer, points=POINTS)(TOKENS)


def test_parts_add_up_to_the_ntk(parts):
    whole = wn.ntk(lambda x: transformer(x, unmarked), points=POINTS)(TOKENS)
    np.testing.assert_allclose(sum(parts.values()), whole, rtol=1e-12)


def test_values_and_outputs_are_trained_alike(parts):
    """u = zeta V has the gradients of W_o behind it and those of W_v in it: both parts are K (A3)."""
    np.testing.assert_allclose(parts["key+value 1"] - parts["query 1"], parts["out 1"], rtol=1e-10)


def test_parts_are_those_of_finite_transformers(parts):
    net = lambda x: transformer(x, unmarked)  # noqa: E731
    f, shapes = wn.function_of(net), TOKENS.shape
    groups = {"embedding": "embed", "positions": "table", "head": "dense5"}
    for l in range(1, DEPTH + 1):  # noqa: E741
        attention, up, down = f"heads{l}/?", f"dense{2 * l - 1}/", f"dense{2 * l}/"
        groups |= {f"query {l}": f"{attention}query", f"key+value {l}": f"{attention}(key|value|$)"}
        groups |= {f"out {l}": f"{attention}out", f"up {l}": up, f"down {l}": down}
    x = TOKENS.astype(np.float32)
    draws = [wn.init(net, key, shapes, WIDTH) for key in range(NETWORKS)]
    found = [wp.group_steps(f, jax.tree.map(np.float32, params), x, groups) for params in draws]
    for name, part in parts.items():
        sample = np.array([steps[name] for steps in found])
        limit, error = np.diag(part).mean(), sample.std(ddof=1) / np.sqrt(NETWORKS)
        assert abs(sample.mean() - limit) < 4 * error + BIAS * limit, name


def test_a_chain_of_layers_has_its_closed_form():
    """Deep linear: every one of three matrices has the same part, K."""
    x = np.random.default_rng(1).normal(size=(3, 4))

    def net(x, mark):
        return mark("c", wn.dense(mark("b", wn.dense(mark("a", wn.dense(x, 1.5)), 0.5)), 2.0, 0.3))

    made = group_ntk(net)(x[:2], x[1:])
    wanted = (1.5 * 0.5 * 2.0) ** 2 * x[:2] @ x[1:].T / 4
    np.testing.assert_allclose(made["a"], wanted, rtol=1e-12)
    np.testing.assert_allclose(made["c"], wanted + 0.3**2, rtol=1e-12)  # with the bias: K of what is marked
    with pytest.raises(ValueError, match="marks no group"):
        group_ntk(lambda x, mark: wn.dense(x))(x)  # noqa: ARG005
