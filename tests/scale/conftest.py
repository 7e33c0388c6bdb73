"""A network, data, and their kernel by the reading that the rest of the tests trust."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn

NET = wn.serial(wn.dense(sigma_b=0.1), wn.erf, wn.dense(sigma_w=1.3))
SIDE = 50  # does not divide the 230 rows


@pytest.fixture
def net():
    return NET


@pytest.fixture(scope="session")
def x():
    return np.random.default_rng(0).normal(size=(230, 8))


@pytest.fixture(scope="session")
def expected(x):
    return wn.kernel(NET)(x)


@pytest.fixture
def partial(net, x, tmp_path):
    """A store of which seven tiles of fifteen are done."""

    def seven(job, tiles):
        return map(job.compute, tiles[:7])

    return wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, engine=seven)
