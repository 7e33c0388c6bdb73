"""What a kernel will take, said before it runs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import widenet as wn
from widenet import memory

IMAGES = (6, 8, 8, 3)
TOWER = (wn.conv(3), wn.relu, wn.conv(3, padding="VALID"), wn.relu)


def formed(net, *shapes, **options):
    """Where each covariance is formed."""
    return {row.name: row.formed for row in wn.describe(net, *shapes, **options).rows}


def test_a_net_that_ends_in_flatten_forms_equal_positions_only():
    at = formed(wn.serial(*TOWER, wn.flatten(), wn.dense()), IMAGES)
    assert at["h1"] == at["z1"] == "64 equal positions"
    assert at["h2"] == "36 equal positions"


def test_a_net_that_pools_forms_pairs_below_the_pool_only():
    at = formed(wn.serial(*TOWER, wn.position_mean(), wn.dense()), IMAGES)
    assert at["h1"] == "all 4096 pairs"
    assert at["h2"] == "all 1296 pairs"
    local = formed(wn.serial(*TOWER, wn.average_pool(2), wn.conv(3), wn.erf, wn.flatten(), wn.dense()), IMAGES)
    assert local["h3"] == local["z4"] == "9 equal positions"
    # a pooled position needs the pairs within its window of 2 x 2: offsets -1, 0, 1 on 6 places an axis, in threes
    assert local["h2"] == f"{(3 * 4) ** 2} of 1296 pairs"


def test_a_block_inside_a_repeat_is_listed_below_it():
    net = wn.serial(wn.conv(3), wn.repeat(wn.serial(wn.erf, wn.conv(3)), 5), wn.flatten(), wn.dense())
    rows = wn.describe(net, IMAGES).rows
    assert [row.name for row in rows if row.name.startswith(" ")] == ["  x", "  z1", "  h1"]


def test_the_table_is_readable():
    text = str(wn.describe(wn.serial(*TOWER, wn.position_mean(), wn.dense()), IMAGES, (100, 8, 8, 3)))
    assert "all 4096 pairs" in text
    assert "for 6 x 100" in text
    assert "may be used" in text


@pytest.mark.parametrize("tail", [(wn.flatten(),), (wn.position_mean(),)])
def test_predicted_numbers_are_those_that_are_held(tail):
    """Live arrays at the end of every step of an eager run, counted, against the prediction."""
    import jax

    from widenet.kernels import kernel
    from widenet.kernels.estimate import cost
    from widenet.kernels.schedule import Mode

    net, n = wn.serial(*TOWER, *tail, wn.dense()), 5
    program = kernel.program_of(net, IMAGES)
    mode = Mode(True, True)
    plan = kernel.plan_of(program, mode)
    seen = []

    def spied(step):
        def compute(*args):
            out = step.compute(*args)
            jax.block_until_ready(out)
            seen.append(sum(array.size for array in jax.live_arrays()) - before)
            return out

        return step._replace(compute=compute)

    plan = plan._replace(stages=tuple(stage._replace(step=spied(stage.step)) for stage in plan.stages))
    x = jax.numpy.ones((n, 8, 8, 3), "float32")
    before = sum(array.size for array in jax.live_arrays())
    kernel.covariance(program, x, x, mode, plan, None)
    predicted = cost(plan, mode, n, n, 8 * 8 * 3).numbers
    assert max(seen) <= predicted <= 4 * max(seen)


def test_a_result_that_does_not_fit_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "1MB")
    net = wn.serial(wn.dense(), wn.relu, wn.dense())
    tracemalloc.start()
    with pytest.raises(
        MemoryError, match=r"1000 x 1000 samples .* 1 MB may be used: compute it in parts.*float32 takes half"
    ):
        wn.kernel(net)(np.ones((1000, 3)))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    wn.kernel(net)(np.ones((30, 3)))


def test_a_tile_that_does_not_fit_says_what_is_formed(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "1MB")
    net = wn.serial(wn.conv(3), wn.relu, wn.position_mean(), wn.dense())
    with pytest.raises(MemoryError, match=r"tiles of 1 x 1.*pool or stride earlier"):
        wn.kernel(net)(np.ones((1, 32, 32, 3)))


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8e9), ("500 mb", 5e8), ("2.5G", None), ("123", 123), ("lots", None)]
)
def test_the_budget_is_a_size(text, size, monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, text)
    if size is None:
        with pytest.raises(ValueError, match='such as "8GB"'):
            memory.budget()
    else:
        assert memory.budget() == size


def test_without_a_wish_the_budget_is_most_of_the_machine(monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    assert 1e8 < memory.budget() < 1e15
