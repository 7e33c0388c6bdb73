"""Spectra of input-output Jacobians and of what deep linear networks learn, and scales that keep them narrow."""

from widenet.spectra.deep_linear import DecoupledWeights, decoupled_weights, learning_time, mode_curve
from widenet.spectra.empirical import empirical_spectrum
from widenet.spectra.isometry import Isometry, isometric_init
from widenet.spectra.spectrum import JacobianSpectrum, jacobian_spectrum

__all__ = [
    "DecoupledWeights",
    "Isometry",
    "JacobianSpectrum",
    "decoupled_weights",
    "empirical_spectrum",
    "isometric_init",
    "jacobian_spectrum",
    "learning_time",
    "mode_curve",
]
