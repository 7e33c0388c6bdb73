from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.optimizers.cores import after, gradients
from widenet import optimizers

GIVEN = [gradients(seed) for seed in range(3)]


def test_one_eps_is_optax():
    theirs = after(optax.scale_by_adam(0.8, 0.95, eps=1e-2), *GIVEN)
    for leaf, value in after(optimizers.scale_by_adam(0.8, 0.95, eps=1e-2), *GIVEN).items():
        np.testing.assert_allclose(value, theirs[leaf], rtol=1e-12)


@pytest.mark.parametrize("eps", [{"w": 1e-1, "c": 1e-4}, lambda name: {"w": 1e-1, "c": 1e-4}[name]])
def test_every_leaf_has_its_eps(eps):
    update = after(optimizers.scale_by_adam(eps=eps), *GIVEN)
    for leaf, value in (("w", 1e-1), ("c", 1e-4)):
        np.testing.assert_allclose(update[leaf], after(optax.scale_by_adam(eps=value), *GIVEN)[leaf], rtol=1e-12)


def test_without_eps_it_is_the_angle_of_the_two_averages():
    steps = np.array([given["w"] for given in GIVEN])
    weights = 0.9 ** np.arange(3)[::-1], 0.999 ** np.arange(3)[::-1]
    m, v = (np.einsum("s,sij->ij", w / w.sum(), part) for w, part in zip(weights, (steps, steps**2), strict=True))
    update = after(optimizers.scale_by_adam(), *GIVEN)["w"]
    np.testing.assert_allclose(update, 4 / np.pi * np.arctan2(m, np.sqrt(v)), rtol=1e-12)
    np.testing.assert_allclose(after(optimizers.scale_by_adam(), GIVEN[0])["w"], np.sign(GIVEN[0]["w"]), rtol=1e-12)


def test_a_bad_eps_is_told():
    with pytest.raises(ValueError, match="eps of the leaf 'w' is -1"):
        optimizers.scale_by_adam(eps={"w": -1.0}).init({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="eps has no value for the leaf 'v', but for 'w'"):
        optimizers.scale_by_adam(eps={"w": 1.0}).init({"v": jnp.ones(2)})
