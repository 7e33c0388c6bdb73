"""Modes of deep linear networks, against quadrature and against gradient flow of all weights."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

import widenet as wn


@pytest.mark.parametrize("matrices", [1, 2, 3, 7, 64])
@pytest.mark.parametrize(("target", "start", "end"), [(2.0, 0.01, 1.9), (0.7, 1.6, 0.75)])
def test_the_time_is_the_integral_of_the_inverse_speed(matrices, target, start, end):
    def slowness(u):
        return 1 / (matrices * u ** (2 - 2 / matrices) * (target - u))

    expected, error = quad(slowness, start, end, limit=500, epsabs=0, epsrel=1e-11)
    assert abs(error) < 1e-9 * expected
    found = wn.learning_time(target, start, end, matrices=matrices)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(wn.mode_curve(target, start, found, matrices=matrices), end, rtol=1e-9)


def test_one_hidden_layer_has_the_curve_of_the_paper():
    s, u0, t = np.array([[3.0], [1.0], [0.4]]), np.array([[0.01], [1.7], [0.4]]), np.linspace(0, 4, 9)
    expected = s * np.exp(2 * s * t) / (np.exp(2 * s * t) - 1 + s / u0)
    np.testing.assert_allclose(wn.mode_curve(s, u0, t, matrices=2), expected, rtol=1e-9)


@pytest.mark.parametrize("widths", [(5,), (6, 4, 7)])
def test_all_weights_under_gradient_flow_follow_the_curves(widths):
    """Modes that rise and one that falls, in layers of unequal widths; balance is kept."""
    rng = np.random.default_rng(0)
    teacher, start = rng.normal(size=(3, 5)), np.array([0.3, 2.5, 0.1])
    weights = wn.decoupled_weights(teacher, widths, start, key=1)
    shapes = [w.shape for w in weights.matrices]
    cuts = np.cumsum([w.size for w in weights.matrices])[:-1]

    def layers(flat):
        return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]

    def product(matrices, size):
        made = np.eye(size)
        for w in matrices:
            made = made @ w
        return made

    def flow(_, flat):
        w = layers(flat)
        error = teacher.T - product(w, 5)
        slopes = [product(w[:i], 5).T @ error @ product(w[i + 1 :], len(w[i].T)).T for i in range(len(w))]
        return np.concatenate([slope.ravel() for slope in slopes])

    u, target, vt = np.linalg.svd(teacher, full_matrices=False)
    np.testing.assert_allclose(weights.target, target)
    times = np.linspace(0, 1.5, 7)
    first = np.concatenate([w.ravel() for w in weights.matrices])
    found = solve_ivp(flow, (0, times[-1]), first, t_eval=times, rtol=1e-10, atol=1e-12).y.T
    modes = [np.diag(vt @ product(layers(flat), 5) @ u) for flat in found]
    expected = wn.mode_curve(target, start, times[:, None], matrices=len(shapes))
    np.testing.assert_allclose(modes, expected, rtol=1e-7)
    for before, after in zip(layers(found[-1])[:-1], layers(found[-1])[1:], strict=True):
        np.testing.assert_allclose(before.T @ before, after @ after.T, atol=1e-8)


def test_a_mode_at_its_target_stays_there():
    np.testing.assert_allclose(wn.mode_curve(0.5, 0.5, [0.0, 10.0], matrices=5), 0.5)
    np.testing.assert_allclose(wn.mode_curve(0.5, [0.1, 2.0], 1e6, matrices=5), 0.5)


def test_what_is_refused():
    with pytest.raises(ValueError, match="99 %"):
        wn.learning_time(1.0, 0.1, 1.0, matrices=3)
    with pytest.raises(ValueError, match="between them"):
        wn.learning_time(1.0, 0.5, 0.4, matrices=3)
    with pytest.raises(ValueError, match="positive"):
        wn.mode_curve(1.0, 0.0, 1.0, matrices=2)
    with pytest.raises(ValueError, match="one or more"):
        wn.mode_curve(1.0, 0.5, 1.0, matrices=0)
    with pytest.raises(ValueError, match="wider layers"):
        wn.decoupled_weights(np.eye(4), (4, 3), 0.1)
    with pytest.raises(ValueError, match="matrix"):
        wn.decoupled_weights(np.ones(4), (4,), 0.1)
    with pytest.raises(ValueError, match="counted from"):
        wn.mode_curve(1.0, 0.5, -1.0, matrices=2)
