"""What the peer computed, and how ours is compared with it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

FOLDER = Path(__file__).parent
GOLDEN = dict(np.load(FOLDER / "golden.npz"))
DATA = {name: value for name, value in GOLDEN.items() if "/" not in name}
CLOSE = 1e-8  # of the largest entry


def data():
    """The data of the calls, as jax arrays."""
    return {name: jnp.asarray(value) for name, value in DATA.items()}


def parts(name, golden=GOLDEN):
    """What the peer computed under a name."""
    return {key.removeprefix(f"{name}/"): value for key, value in golden.items() if key.startswith(f"{name}/")}


def agree(made, expected, close=CLOSE):
    """Are shapes equal, and entries to 1e-8 of the largest?"""
    assert np.shape(made) == np.shape(expected)
    made, expected = (np.asarray(value, np.float64) for value in (made, expected))
    known = np.isfinite(expected)  # the peer's RectifiedMonomial is NaN for parallel inputs
    assert np.isfinite(made).all()
    np.testing.assert_allclose(
        made[known], expected[known], rtol=0, atol=close * max(1e-300, np.abs(expected[known]).max())
    )
