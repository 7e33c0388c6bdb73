"""Exponents of the known parametrizations, against the tables of their papers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from widenet import parametrizations as wp

H = Fraction(1, 2)
FORMS = {  # yang2022, tables 3, 8 and 9, and mean field: b, and c of SGD, Adam, Muon
    "A": [(0, H, 1), (-1, 0, 1), (0, 1, 1), (-H, 0, H)],
    "B": [(0, H, 0), (-1, 0, -1), (0, 1, 0), (-H, 0, -H)],
    "C": [(H, H, H), (0, 0, 0), (H, 1, H), (0, 0, 0)],
    "D": [(0, 0, 0), (-1, -1, -1), (0, H, 0), (-H, -H, -H)],
}
OPTIMIZERS = [wp.sgd, wp.adam, wp.muon(), wp.shampoo(0.25), wp.shampoo(0.5), wp.kfac(), wp.kfac(with_multipliers=True)]
OWN = wp.abc((0, 1, 0), (0, -H, H), (1, 2, 3), (0, 0, 1))


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_mup_are_those_of_the_papers(form):
    made = wp.mup.to_form(form)
    assert [made.b, *(made.rates(o) for o in (wp.sgd, wp.adam, wp.muon()))] == FORMS[form]
    assert made.rates(wp.shampoo(0.25)) == made.rates(wp.muon())


@pytest.mark.parametrize(("e", "c"), [(0.25, (-H, 0, H)), (0.5, (0, 0, 0)), ("1/8", (-3 * H / 2, 0, 3 * H / 2))])
def test_shampoo_of_any_exponent(e, c):
    assert wp.mup.rates(wp.shampoo(e)) == c
    assert wp.mup.rates(wp.shampoo(e, e)) == c


def test_natural_gradients_need_no_scaling():
    assert wp.mup.rates(wp.kfac()) == (0, 0, 0)
    assert wp.mup.to_form("D").rates(wp.kfac(with_multipliers=True)) == (0, 0, 0)
    assert wp.mup.to_form("D").rates(wp.kfac()) == (0, -1, -2)  # factors behind the multiplier: as SGD


def test_ntk_parametrization():
    assert (wp.ntp.a, wp.ntp.b) == ((0, H, H), (0, 0, 0))
    assert wp.ntp.rates(wp.sgd) == (0, 0, 0)
    assert wp.ntp.rates(wp.adam) == (H, 1, H)
    assert wp.ntp.gradients(wp.adam) == (H, 1, H)  # yang2023adaptive: d
    plain = wp.ntp.to_form("A")
    assert (plain.rates(wp.sgd), plain.rates(wp.adam)) == ((0, 1, 1), (H, 3 * H, 1))


def test_epsilon_follows_gradients():
    assert wp.mup.gradients(wp.adam) == (1, 1, 0)
    assert wp.mup.to_form("B").gradients(wp.adam) == (1, 1, 1)
    assert wp.mup.to_form("C").gradients(wp.adam) == (H, 1, H)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("p", [wp.sp, wp.ntp, wp.mup, wp.uniform(0.25), OWN], ids=lambda p: p.name)
def test_there_and_back_is_nothing(p, optimizer):
    again = p.to_form("B").to_form((1, "1/3", -2)).to_form(p.a)
    assert (again.a, again.b, again.d, again.rates(optimizer)) == (p.a, p.b, p.d, p.rates(optimizer))
    found, wanted = (wp.check(q, optimizer) for q in (p.to_form("D"), p))
    assert (found.r_layers, found.regime, found.faithful) == (wanted.r_layers, wanted.regime, wanted.faithful)
    assert len(found.violated) == len(wanted.violated)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wp.mup.to_form("E"), "forms are A, B, C, D"),
        (lambda: wp.mup.to_form((0, 1)), "three numbers"),
        (lambda: wp.abc(0, "one", 0), "'one' is not a number"),
        (lambda: wp.uniform(0.7), "from s = 0"),
        (lambda: wp.muon("best"), "'keller', 'kimi', 'spectral'"),
    ],
)
def test_what_is_no_parametrization(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def published_r(a, b, c):
    """yang2021, section 3.3: one learning rate exponent, SGD."""
    return min(a[2] + b[2], 2 * a[2] + c) + c - 1 + min(2 * a[0] + 1, 2 * a[1])


def test_sgd_classes_are_those_of_the_theorems():
    """yang2021, theorems 3.3, 3.4 and 3.6, at draws half of which satisfy the first conditions."""
    rng, seen = np.random.default_rng(0), set()
    for _ in range(400):
        a = [Fraction(int(k), 4) for k in rng.integers(-4, 5, 3)]
        b = [-a[0], H - a[1], H - a[2] + Fraction(int(rng.integers(-1, 4)), 4)]
        c = Fraction(int(rng.integers(-4, 9)), 4)
        found, r = wp.check(wp.abc(a, b, (c, c, c)), wp.sgd), published_r(a, b, c)
        at_init = a[2] + b[2] >= H
        stable = at_init and r >= 0 and 2 * a[2] + c >= 1 and a[2] + b[2] + r >= 1
        nontrivial = 2 * a[2] + c == 1 or a[2] + b[2] + r == 1
        assert (found.r, found.stable_at_init, found.stable) == (r, at_init, stable)
        assert not stable or found.nontrivial == nontrivial
        assert bool(found.violated) == (not (stable and nontrivial))
        seen.add(found.regime)
    assert seen == {"unstable", "trivial", "kernel", "feature learning"}


def test_adam_classes_are_those_of_the_theorems():
    """yang2023adaptive, theorems 2.8.12 to 2.8.19."""
    rng, seen = np.random.default_rng(1), set()
    for _ in range(400):
        a = [Fraction(int(k), 2) for k in rng.integers(-2, 3, 3)]
        b = [-a[0], H - a[1], H - a[2] + Fraction(int(rng.integers(0, 3)), 4)]
        c = [Fraction(int(k), 4) - x for k, x in zip(rng.integers(0, 7, 3), a, strict=True)]
        r_layers = (c[0] + a[0], c[1] + a[1] - 1, c[2] + a[2] - 1)
        r = min(r_layers[:2])
        stable = min(r_layers) >= 0 and a[2] + b[2] + r >= 1
        found = wp.check(wp.abc(a, b, c), wp.adam)
        assert (found.r_layers, found.stable) == (r_layers, stable)
        if stable:
            assert found.nontrivial == (r_layers[2] == 0 or a[2] + b[2] + r == 1)
            assert found.regime == ("trivial" if not found.nontrivial else "feature learning" if r == 0 else "operator")
        seen.add(found.regime)
    assert seen == {"unstable", "trivial", "operator", "feature learning"}


def test_a_constant_epsilon_is_not_faithful():
    a, b, c = (0, 0, 0), (0, H, 1), (0, 1, 1)
    assert wp.check(wp.abc(a, b, c, d=(1, 1, 0)), wp.adam).faithful
    constant = wp.check(wp.abc(a, b, c, d=(0, 0, 0)), wp.adam)
    assert not constant.faithful
    assert "faithful, d = 1 of the input: 0" in constant.violated[0]


def test_zero_readouts_are_allowed():
    zero = wp.abc((0, 0, 0), (0, H, math.inf), (-1, 0, 1))
    assert wp.check(zero, wp.sgd).regime == "feature learning"


def test_standard_parametrization_breaks():
    """Numbers measured on networks: parametrizations of the reference, section 6."""
    assert wp.check(wp.sp, wp.sgd).r_layers == (0, -1, -1)
    once = wp.abc(0, (0, H, H), 1)
    assert wp.check(once, wp.sgd).regime == "kernel"
    assert "a + b + r >= 1 of the readout: 1/2" in wp.check(once, wp.adam).violated[0]


@pytest.mark.parametrize(
    ("scheme", "rates"),
    [  # of SGD, Adam, Muon, Shampoo 1/4 and 1/2: yang2023, table 1; dey2025, table 1
        (wp.depth_none, (0, 0, 0, 0, 0)),
        (wp.depth_sqrt, (0, -H, -H, -H, -1)),
        (wp.depth_linear, (1, 0, 0, 0, -1)),
        (wp.depth("3/4"), (H, -H / 2, -H / 2, -H / 2, -1)),
        (wp.depth(H, 0), (H, 0, 0, 0, -H)),
    ],
)
def test_depth(scheme, rates):
    optimizers = [wp.sgd, wp.adam, wp.muon(), wp.shampoo(0.25), wp.shampoo(0.5)]
    assert tuple(scheme.rate(o) for o in optimizers) == rates


def test_depth_classes():
    assert not wp.check(wp.depth_mup, wp.adam).violated
    assert "blocks of 2 layers" in wp.check(wp.depth_mup, wp.adam, block_depth=2).violated[0]
    assert not wp.check(wp.complete_p, wp.adam, block_depth=2).violated
    assert "stable in training" in wp.check(wp.mup.with_depth(wp.depth(H, 0)), wp.adam).violated[0]
    assert "alpha >= 1/2" in wp.check(wp.mup.with_depth(wp.depth(0)), wp.adam).violated[0]
    assert (wp.depth_sqrt.diversity, wp.depth_linear.diversity) == (H, 0)
    assert wp.depth_sqrt.linearizes
    assert not wp.depth_linear.linearizes
