"""The demonstration: kernels, Monte Carlo, predictions and a trained network on handwritten digits."""
