from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.optimizers.cores import after, gradients
from widenet import optimizers

GIVEN = gradients(0) | {"b": np.arange(4.0)}
SCALES = {"w": 0.5, "c": 2.0, "b": 3.0}


def test_the_scaled_norm_is_the_threshold():
    norm = np.sqrt(sum(float(jnp.sum((SCALES[name] * g) ** 2)) for name, g in GIVEN.items()))
    clipped = after(optimizers.clip_by_scaled_norm(2.0, SCALES), GIVEN)
    for name, g in GIVEN.items():
        np.testing.assert_allclose(clipped[name], 2 / norm * g)
    kept = after(optimizers.clip_by_scaled_norm(1.01 * norm, SCALES), GIVEN)
    assert all(np.array_equal(kept[name], g) for name, g in GIVEN.items())


def test_scales_of_one_are_optax():
    theirs = after(optax.clip_by_global_norm(1.5), GIVEN)
    for name, value in after(optimizers.clip_by_scaled_norm(1.5, 1.0), GIVEN).items():
        np.testing.assert_allclose(value, theirs[name])


def test_each_leaf_has_its_norm():
    clipped = after(optimizers.clip_leaves_by_scaled_norm(2.0, SCALES), GIVEN)
    for name, g in GIVEN.items():
        assert SCALES[name] * np.linalg.norm(g) > 2
        np.testing.assert_allclose(SCALES[name] * np.linalg.norm(clipped[name]), 2)


def test_shapes_give_the_scales():
    expected = {"w": np.sqrt(7 / 5), "c": np.sqrt(4 / 18), "b": np.sqrt(4)}
    shaped = after(optimizers.clip_by_scaled_norm(0.1), GIVEN)
    for name, value in after(optimizers.clip_by_scaled_norm(0.1, expected), GIVEN).items():
        np.testing.assert_allclose(shaped[name], value)


def norms(width):
    """The norms of all gradients of a network in muP, as they are and with the scales of the shapes."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 8)), rng.normal(size=(6, 4))
    stds = [((8, width), 8**-0.5), ((width, width), width**-0.5), ((width, 4), 1 / width)]
    params = [std * rng.normal(size=shape) for shape, std in stds]
    grads = jax.jit(jax.grad(lambda p: jnp.mean((jnp.tanh(jnp.tanh(x @ p[0]) @ p[1]) @ p[2] - y) ** 2)))(params)
    return [
        float(max_norm / jnp.linalg.norm(after(clip, grads)[2]) * jnp.linalg.norm(grads[2]))
        for max_norm, clip in ((1e-3, optimizers.clip_by_scaled_norm(1e-3, s)) for s in (1.0, None))
    ]


@pytest.mark.slow
def test_in_mup_the_scaled_norm_does_not_grow():
    plain, scaled = (np.log2(b / a) / 2 for a, b in zip(norms(256), norms(1024), strict=True))
    assert abs(plain - 0.5) < 0.1
    assert abs(scaled) < 0.1


def test_bad_thresholds_are_told_and_zero_is_safe():
    with pytest.raises(ValueError, match="max_norm is 0: give a positive number"):
        optimizers.clip_by_scaled_norm(0)
    zeros = jax.tree.map(jnp.zeros_like, GIVEN)
    assert all(np.all(leaf == 0) for leaf in after(optimizers.clip_by_scaled_norm(1.0), zeros).values())
