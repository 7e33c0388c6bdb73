"""Spectra of input-output Jacobians: free probability, measurement, and scales that keep them narrow."""

from widenet.spectra.empirical import empirical_spectrum
from widenet.spectra.isometry import Isometry, isometric_init
from widenet.spectra.spectrum import JacobianSpectrum, jacobian_spectrum

__all__ = ["Isometry", "JacobianSpectrum", "empirical_spectrum", "isometric_init", "jacobian_spectrum"]
