"""Optax, imported when an optimizer is first made."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def optax() -> Any:
    """The module optax.

    Raises: ImportError if it is not installed.
    """
    try:
        return import_module("optax")
    except ModuleNotFoundError as error:
        raise ImportError("widenet.optimizers needs optax: pip install widenet[training]") from error
