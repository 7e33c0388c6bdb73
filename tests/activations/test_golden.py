"""Functions without closed form against golden.json (mpmath, 25 digits, made by make_golden.py)."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import widenet.activations as acts
from tests.activations.rows import both
from widenet.activations import derivative, elu, stated_error
from widenet.activations import dual as duals
from widenet.activations.activation import with_dtype

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
FUNCTIONS = dict(acts.NAMED) | {"elu": elu(1.0)}
FLOOR = {np.float64: 1e-13, np.float32: 2e-6}
names = pytest.mark.parametrize("name", sorted({row["name"] for row in GOLDEN}))


def cases(name):
    rows = [row for row in GOLDEN if row["name"] == name]
    q1, q2, c, dual, slope = (np.array([float(row[key]) for row in rows]) for key in ("q1", "q2", "c", "dual", "slope"))
    return q1, q2, c * np.sqrt(q1 * q2), dual, slope


@names
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_are_those_stated(name, dtype):
    phi = with_dtype(FUNCTIONS[name], dtype)
    q1, q2, k, dual, slope = cases(name)
    got = both(phi, *(jnp.asarray(x, dtype) for x in (q1, q2, k)))
    stated = {q: [stated_error(f, q, dtype) for f in (phi, derivative(phi))] for q in {*q1, *q2}}
    for part, exact in ((0, dual), (1, slope)):
        bound = [np.sqrt(stated[a][part] * stated[b][part]) + FLOOR[dtype] for a, b in zip(q1, q2, strict=True)]
        assert (np.abs(got[part] - exact) <= bound).all(), np.abs(got[part] - exact) / bound


@names
def test_double_precision_is_exact_at_usual_variances(name):
    q1, q2, k, dual, slope = cases(name)
    got = both(with_dtype(FUNCTIONS[name], jnp.float64), *map(jnp.asarray, (q1, q2, k)))
    usual = (q1 <= 1.7) & (np.abs(k) < np.sqrt(q1 * q2) * (1 - 1e-9)) | (q1 == 1)
    np.testing.assert_allclose(got[0][usual], dual[usual], rtol=1e-12, atol=2e-14)
    np.testing.assert_allclose(got[1][usual], slope[usual], rtol=1e-12, atol=2e-13)


def test_cross_duals_of_smooth_and_kinked_functions_meet():
    """gelu by its closed form, by the series and by the split rule with breakpoints that are none."""
    q1, q2, k = jnp.asarray([(1.7, 0.6, 0.55), (1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (0.4, 2.0, 0.0)]).T
    series = acts.activation(acts.gelu.fn, name="series")
    split = acts.activation(acts.gelu.fn, name="split", breakpoints=(0.3,))
    exact = duals.dual(acts.gelu, q1, q2, k)
    for phi in (series, split):
        np.testing.assert_allclose(duals.dual(phi, q1, q2, k), exact, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(duals.cross_dual(series, split, q1, q2, k), exact, rtol=1e-12, atol=1e-14)
