"""Runs of equal layers, and what programs share compiled code."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn
from widenet.program.ops import Repeat, Weight
from widenet.program.runs import find_runs
from widenet.program.structure import Structure, numbers_of
from widenet.program.trace import trace

X = np.random.default_rng(0).normal(size=(3, 4))
TIED = Weight()


def chain(times, sigma_w=1.3, weight=None):
    return wn.serial(wn.dense(), *[wn.relu, wn.dense(sigma_w=sigma_w, weight=weight)] * times)


def with_skip(x):
    h = wn.dense(x)
    return wn.dense(wn.relu(chain(4)(x)) + wn.relu(h)) + chain(5)(h)


@pytest.mark.parametrize(
    ("net", "times"),
    [
        (chain(5), [5]),
        (chain(2), []),
        (chain(5, weight=TIED), []),
        (wn.serial(chain(4), wn.relu, wn.dense(sigma_w=0.7)), [4]),
        (wn.serial(chain(4), *[wn.erf, wn.dense()] * 3), [4, 3]),
        (wn.serial(wn.dense(), *[wn.residual(wn.serial(wn.erf, wn.dense()))] * 4), [4]),
    ],
)
def test_equal_blocks_in_a_chain_are_found(net, times):
    found = find_runs(trace(net, X.shape))
    assert [var.op.times for var in found.variables if isinstance(var.op, Repeat)] == times


def test_a_program_with_skips_around_runs_keeps_its_kernel():
    for one, other in zip(wn.kernel(with_skip)(X), wn.kernel(lambda x: 1.0 * with_skip(x))(X), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_programs_that_differ_in_numbers_share_a_structure_and_nothing_else():
    one, other, biased = (
        trace(net, X.shape) for net in (chain(2, 1.3), chain(2, 1.4), wn.serial(wn.dense(sigma_b=1.0)))
    )
    assert Structure(one) == Structure(other) != Structure(biased)
    assert numbers_of(one) != numbers_of(other)
    filled = Structure(one).program(numbers_of(other))
    assert numbers_of(filled) == numbers_of(other)
    narrow, wide = (wn.nngp(chain(2, sigma_w))(X) for sigma_w in (1.3, 1.4))
    np.testing.assert_allclose(wide, narrow * (1.4 / 1.3) ** 4, rtol=1e-12)
