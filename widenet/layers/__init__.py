"""Functions that build programs."""
