"""Predictions from kernels: Gaussian processes and gradient flow."""

from widenet.predict.classification import accuracy, centred_one_hot
from widenet.predict.gp import Posterior, gp, log_marginal_likelihood, relative_noise
from widenet.predict.gradient_flow import GradientFlow, gradient_flow, max_learning_rate
from widenet.predict.pca import kernel_pca

__all__ = [
    "GradientFlow",
    "Posterior",
    "accuracy",
    "centred_one_hot",
    "gp",
    "gradient_flow",
    "kernel_pca",
    "log_marginal_likelihood",
    "max_learning_rate",
    "relative_noise",
]
