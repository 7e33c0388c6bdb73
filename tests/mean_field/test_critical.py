"""Critical points and universality classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.mean_field.quadrature import mean
from widenet.activations import NAMED
from widenet.mean_field.kinks import described

GOLDEN = [  # sigma_b^2, then sigma_w^2, q, V'(q) of tanh and of erf on the edge of chaos
    (0.0025, (1.260094, 0.153692, 0.782196), (0.987412, 0.145146, 0.775019)),
    (0.01, (1.424205, 0.273301, 0.678191), (1.114280, 0.253210, 0.663826)),
    (0.05, (1.760955, 0.570048, 0.518186), (1.375839, 0.517177, 0.491557)),
    (0.1, (1.986073, 0.805799, 0.439453), (1.552118, 0.726359, 0.407711)),
    (0.2, (2.285152, 1.164496, 0.358688), (1.788180, 1.045933, 0.323429)),
    (0.3, (2.505127, 1.461169, 0.312085), (1.963071, 1.311824, 0.275965)),
    (0.5, (2.843167, 1.971031, 0.255726), (2.233660, 1.772061, 0.220065)),
    (1.0, (3.443211, 3.036396, 0.186371), (2.718381, 2.744891, 0.154088)),
]


@pytest.mark.parametrize("row", GOLDEN)
def test_the_edge_of_chaos_of_tanh_and_erf(row):
    b2, *expected = row
    for phi, values in zip((wn.tanh, wn.erf), expected, strict=True):
        point = wn.critical(phi, sigma_b=b2**0.5)
        np.testing.assert_allclose([point.sigma_w**2, point.q, point.chi_par], values, atol=1e-6)
        assert (point.universality, point.sigma_b) == ("edge of chaos", b2**0.5)


CLIPPED = ("hard_tanh", "relu6", "hard_sigmoid", "crelu", "cst", "shifted_relu", "soft_threshold")
SLOW = {*CLIPPED, "selu", "dyt", "mish"}  # seconds to compile
CLASSES = {  # class, sigma_w^2, sigma_b^2, q
    **{name: ("scale-invariant", w2, 0, 1) for name, w2 in (("identity", 1), ("relu", 2), ("absolute", 1))},
    "leaky_relu": ("scale-invariant", 2 / (1 + 0.01**2), 0, 1),
    "prelu": ("scale-invariant", 2 / (1 + 0.25**2), 0, 1),
    **{name: ("K*=0", 1, 0, 0) for name in ("tanh", "sin", "elu", "hard_tanh")},
    "erf": ("K*=0", np.pi / 4, 0, 0),
    "dyt": ("K*=0", 4, 0, 0),
    "relu6": ("K*=0", 2, 0, 0),
    "selu": ("K*=0", 2 / (1.0507009873554805**2 * (1 + 1.6732632423543772**2)), 0, 0),
    "gelu": ("half-stable", 1.98305826, 0.17292239, 3.56155281),
    "silu": ("half-stable", 1.98800468, 0.55514317, 14.32017362),
    "mish": ("half-stable", 2.01352407, 0.09452179, 1.67016913),
    "shifted_relu": ("half-stable", None, None, 1),
    "soft_threshold": ("half-stable", None, None, 1),
}
NONE = {
    **dict.fromkeys(("sigmoid", "softplus", "hard_sigmoid", "crelu", "cst"), "does not cross 1"),
    **dict.fromkeys(("cos", "rbf", "gaussian", "exponential"), "does not cross 1"),
    **dict.fromkeys(("step", "sign"), "jumps"),
}


def rows(names):
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]


def test_every_built_in_activation_is_here():
    assert {*CLASSES, *NONE} == set(NAMED)


@pytest.mark.parametrize("name", rows(CLASSES))
def test_every_class_has_its_critical_point(name):
    universality, w2, b2, q = CLASSES[name]
    point = wn.critical(NAMED[name])
    assert point.universality == universality
    if w2 is not None:
        np.testing.assert_allclose([point.sigma_w**2, point.sigma_b**2, point.q], [w2, b2, q], atol=2e-8)
    block = wn.maps(wn.serial(NAMED[name], wn.dense(sigma_w=point.sigma_w, sigma_b=point.sigma_b)))
    at = point.q or 1e-20
    slopes = float(block.chi_par(at)), float(block.chi_perp(at))
    np.testing.assert_allclose(slopes, 1, atol=1e-8)
    np.testing.assert_allclose(block.q(at) / at, 1, atol=1e-8)


@pytest.mark.parametrize("name", rows(NONE))
def test_what_has_no_critical_point_says_why(name):
    with pytest.raises(ValueError, match=f"{name} has no critical point: .*{NONE[name]}"):
        wn.critical(NAMED[name])


def test_any_function_has_a_class():
    assert wn.critical(jnp.tanh).universality == "K*=0"
    point = wn.critical(lambda u: 0.5 * u + jnp.sin(u))
    np.testing.assert_allclose(point.sigma_w, 1 / 1.5)


def test_kinks_of_a_function_are_found():
    phi = described(lambda u: jnp.clip(u, -0.7, 2.5) + jnp.abs(u - 1) / 3 + jnp.tanh(20 * u))
    np.testing.assert_allclose(phi.breakpoints, [-0.7, 1.0, 2.5], atol=1e-9)
    assert described(jnp.tanh).breakpoints == ()
    point = wn.critical(jax.nn.leaky_relu)
    np.testing.assert_allclose(point.sigma_w, wn.critical(wn.leaky_relu()).sigma_w, rtol=1e-10)
    with pytest.raises(ValueError, match="it jumps"):
        wn.critical(jnp.floor)


def test_a_sigmoid_has_an_edge_of_chaos_at_large_weights():
    point = wn.critical(wn.sigmoid, sigma_b=0.5)
    prime = mean(lambda u: (1 / (2 + 2 * np.cosh(u))) ** 2, point.q)
    square = mean(lambda u: 1 / (1 + np.exp(-u)) ** 2, point.q)
    np.testing.assert_allclose(point.sigma_w**2 * prime, 1)
    np.testing.assert_allclose(point.sigma_w**2 * square + 0.25, point.q)


@pytest.mark.parametrize(
    ("phi", "sigma_b", "error", "message"),
    [
        (wn.relu, 0.3, ValueError, "sigma_b = 0 only: it is scale-invariant"),
        (wn.gelu, 0.3, ValueError, "variances that are unstable, q = 1.425"),
        (wn.softplus, 0.3, ValueError, "not 1 at any fixed variance"),
        (wn.tanh, -1.0, ValueError, "sigma_b is a standard deviation"),
        (wn.tanh, np.nan, ValueError, "sigma_b is a standard deviation"),
        (jnp.log, None, ValueError, "log is NaN or infinite"),
        (lambda u: 0 * u + 1, None, ValueError, "constant"),
        (wn.elu, None, TypeError, r"call it, as in critical\(elu\(\)\)"),
        ("tanh", None, TypeError, "needs an activation or a function"),
    ],
)
def test_bad_input_names_the_remedy(phi, sigma_b, error, message):
    with pytest.raises(error, match=message):
        wn.critical(phi, sigma_b)
