"""Predictions from kernels, as `neural_tangents.predict` has them."""

from widenet.compat.neural_tangents.predict.ensemble import gradient_descent_mse_ensemble
from widenet.compat.neural_tangents.predict.gradient_descent import ODEState, gradient_descent
from widenet.compat.neural_tangents.predict.inference import Gaussian, gp_inference
from widenet.compat.neural_tangents.predict.mse import gradient_descent_mse, max_learning_rate

__all__ = [
    "gradient_descent",
    "gradient_descent_mse",
    "gradient_descent_mse_ensemble",
    "gp_inference",
    "max_learning_rate",
    "ODEState",
    "Gaussian",
]
