"""These tests compute in float64 unless they say otherwise."""

from collections.abc import Iterator

import pytest

from widenet.precision import float64


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Double precision inside every test."""
    with float64():
        yield
