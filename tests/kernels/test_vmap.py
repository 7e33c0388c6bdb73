"""Kernels inside jax's own transformations of functions, in the precision of the data."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import widenet as wn

NETS = {
    "relu": wn.zoo.mlp(wn.relu, 3, sigma_b=0.1),
    "erf": wn.zoo.mlp(wn.erf, 3, sigma_b=0.1),
    "convolution": wn.serial(wn.conv(window=3), wn.relu, wn.flatten(), wn.dense()),
}


def data(name, dtype):
    shape = (4, 5, 5, 2) if name == "convolution" else (4, 6)
    return (np.random.default_rng(seed).normal(size=shape).astype(dtype) for seed in (0, 1))


@pytest.mark.float32
@pytest.mark.parametrize("name", NETS)
def test_pairs_mapped_one_by_one_are_the_diagonal_of_the_kernel(name):
    ntk = wn.ntk(NETS[name])
    a, b = data(name, np.float32)
    mapped = jax.vmap(lambda x, y: ntk(x[None], y[None])[0, 0])(a, b)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, np.diag(ntk(a, b)), rtol=1e-5)


@pytest.mark.float32
@pytest.mark.parametrize("name", NETS)
def test_mapped_batches_are_the_kernels_of_each(name):
    ntk = wn.ntk(NETS[name])
    batches = np.stack(list(data(name, np.float32)))
    mapped = jax.vmap(ntk)(batches)
    assert mapped.dtype == np.float32
    for made, x in zip(mapped, batches, strict=True):
        np.testing.assert_allclose(made, ntk(x), rtol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_mapped_kernels_of_double_precision_stay_double(name):
    ntk = wn.ntk(NETS[name])
    a, b = data(name, np.float64)
    mapped = jax.vmap(lambda x, y: ntk(x[None], y[None])[0, 0])(a, b)
    assert mapped.dtype == np.float64
    np.testing.assert_allclose(mapped, np.diag(ntk(a, b)), rtol=1e-12)
