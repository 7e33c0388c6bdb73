"""What holds for all cores."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.optimizers.cores import CORES, EACH, after, gradients
from widenet import optimizers

GIVEN = [gradients(seed) for seed in range(3)]
SQUARE = np.random.default_rng(0).normal(size=(3, 6, 6))
each = pytest.mark.parametrize("name", EACH)


@each
def test_the_update_has_the_degree_that_is_stated(name):
    degree, update, scale = CORES[name][1], after(name, *SQUARE), 2.0**-30
    scaled = after(name, *(scale * SQUARE))
    np.testing.assert_allclose(scaled, scale**degree * update, rtol=1e-6, atol=1e-9 * scale**degree)


@each
def test_the_update_of_a_transposed_weight_is_transposed(name):
    if name != "shampoo 0.3, 0.1, sum":
        turned = after(name, *(gradient.T for gradient in SQUARE))
        np.testing.assert_allclose(turned.T, after(name, *SQUARE), rtol=1e-6, atol=1e-9)


@each
def test_zero_gradients_give_zero_updates(name):
    assert np.all(after(name, np.zeros((6, 6)), np.zeros((6, 6))) == 0)


@each
def test_a_scan_in_float32_gives_what_the_loop_in_float64_gives(name):
    core, given = CORES[name][0](), SQUARE.astype(np.float32)

    def step(state, gradient):
        update, state = core.update(gradient, state)
        return state, update

    start = core.init(given[0])
    updates = jax.jit(lambda start, given: jax.lax.scan(step, start, given)[1])(start, given)
    assert updates.dtype == np.float32
    slow = after(name, *SQUARE)
    np.testing.assert_allclose(updates[-1], slow, atol=2e-3 * np.abs(slow).max())


OTHERS = [
    pytest.param(core, marks=pytest.mark.slow) for core in (optimizers.scale_by_shampoo, optimizers.scale_by_soap)
]


@pytest.mark.parametrize("core", [optimizers.scale_by_muon, *OTHERS])
def test_copies_and_windows_are_as_the_axes_say(core):
    """Stacked weights are updated one by one; the window of a convolution is part of its inputs."""
    stacked = np.stack([given["w"] for given in GIVEN])
    alone = after(core(), {"w": stacked[1]})["w"]
    together = after(core(axes=optimizers.Axes.of(-2, -1, 0)), {"w": stacked})["w"]
    np.testing.assert_allclose(together[1], alone, atol=1e-9)
    flat = after(core(), {"w": GIVEN[0]["c"].reshape(18, 4)})["w"]
    np.testing.assert_allclose(after(core(), GIVEN[0])["c"].reshape(18, 4), flat, atol=1e-9)
    turned = after(core(axes={"w": optimizers.Axes.of(1, 0)}), {"w": GIVEN[0]["w"].T})["w"]
    np.testing.assert_allclose(turned.T, after(core(), GIVEN[0])["w"], atol=1e-9)


def test_what_is_no_matrix_gets_the_rest():
    given = {"layer": {"w": GIVEN[0]["w"], "b": np.arange(1.0, 4)}, "table": GIVEN[0]["w"]}
    adam = after(optimizers.scale_by_adam(), given)
    axes = {"layer": {"w": optimizers.Axes(), "b": None}, "table": None}
    for choice in (axes, lambda name: optimizers.Axes() if name == "layer/w" else None):
        update = after(optimizers.scale_by_muon(axes=choice), given)
        np.testing.assert_allclose(update["layer"]["b"], adam["layer"]["b"])
        np.testing.assert_allclose(update["table"], adam["table"])
        np.testing.assert_allclose(jnp.linalg.svd(update["layer"]["w"])[1], 1)


def test_mistakes_are_told_with_their_remedy():
    with pytest.raises(TypeError, match=r"give Axes.of\(in_axis, out_axis\)"):
        after(optimizers.scale_by_muon(axes=lambda _: 3), GIVEN[0])
    for core in (optimizers.scale_by_shampoo, optimizers.scale_by_soap):
        with pytest.raises(ValueError, match="every is 0; give a number of updates"):
            core(every=0)
    with pytest.raises(ValueError, match=r"beta is 1\.5; give the rate of an average"):
        optimizers.scale_by_shampoo(beta=1.5)
    with pytest.raises(ValueError, match="block_size is 0; give a size of 1 or more"):
        optimizers.scale_by_shampoo(block_size=0)
    with pytest.raises(ValueError, match="the damping is -1"):
        optimizers.relative_to_largest(-1)


def test_without_optax_the_way_to_get_it_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optax", None)
    with pytest.raises(ImportError, match=r"pip install widenet\[training\]"):
        optimizers.scale_by_adam()
