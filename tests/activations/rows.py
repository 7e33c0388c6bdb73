"""One row per activation: a new member of the catalogue is a new row here."""

from functools import partial

import jax
import numpy as np

import widenet.activations as acts
from widenet.activations import dual as duals

ROWS = dict(acts.NAMED) | {
    "elu": acts.elu(0.7),
    "constant": acts.constant(2.0),
    "abrelu": acts.abrelu(-0.3, 1.2),
    "two_levels": acts.two_levels(-0.3, 1.2),
    "piecewise_linear": acts.piecewise_linear((-0.8, 0.3, 1.1), (0.2, 1.0, -0.5, 0.7), 0.4),
    "piecewise_constant": acts.piecewise_constant((-0.8, 0.3, 1.1), (-0.7, 0.2, 1.0, 1.4)),
    "dyt": acts.dyt(1.3, 0.7, 0.2),
    "rectified_power(2)": acts.rectified_power(2),
    "rectified_power(3)": acts.rectified_power(3),
    "scaled_erf": acts.scaled_erf(0.5, 1.3, 0.2),
    "sine": acts.sine(0.5, 1.3, 0.2),
    "cosine": acts.cosine(0.5, 1.3, 0.2),
    "hermite(3)": acts.hermite(3),
    "monomial(2)": acts.monomial(2),
    "polynomial": acts.polynomial((0.3, 1.0, 0.5, 0.2)),
}
EDGE = 1.7**0.5 * 0.6**0.5
CASES = np.array(  # unequal, equal, extreme and zero variances: q1, q2, k
    [
        (1.7, 0.6, 0.55),
        (1.7, 0.6, -0.9),
        (1.0, 1.0, 0.999),
        (1.0, 1.0, 1.0),
        (1.0, 1.0, -1.0),
        (1.7, 0.6, EDGE),
        (1.7, 0.6, -EDGE),
        (0.4, 2.0, 0.0),
        (0.0, 1.3, 0.0),
        (1.3, 0.0, 0.0),
        (0.0, 0.0, 0.0),
    ]
)


# A test runs what it compiles once or twice: leave the optimizer out.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def _both(phi, q1, q2, k):
    """Dual and slope."""
    return duals.dual(phi, q1, q2, k), duals.slope(phi, q1, q2, k)


both = quick(_both)


@quick
def gradients(phi, q1, q2, k):
    """Gradients of the sums of dual and slope in phi's parameters, q1, q2, k: reverse mode."""
    total, pull = jax.vjp(lambda *args: [part.sum() for part in _both(*args)], phi, q1, q2, k)
    one, zero = np.ones((), total[0].dtype), np.zeros((), total[0].dtype)
    return pull([one, zero]), pull([zero, one])
