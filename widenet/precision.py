"""Double precision for a while, never for good."""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax


def float64() -> AbstractContextManager[None]:
    """A context in which jax computes in float64; the global configuration is left alone."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # type: ignore[attr-defined, unused-ignore]  # jax 0.7

    return enable_x64()  # type: ignore[no-any-return, unused-ignore]
