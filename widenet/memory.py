"""How much memory a computation may take."""

from __future__ import annotations

import os
import re
from pathlib import Path

SHARE = 0.8  # of the machine's memory: the rest is for everybody else
VARIABLE = "WIDENET_MEMORY"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def budget() -> float:
    """Bytes: those of the environment variable WIDENET_MEMORY, such as "8GB", or most of what this machine has.

    Raises: ValueError if the variable does not hold a size.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return SHARE * min(_physical(), _container())
    found = re.fullmatch(r"([0-9.]+)\s*([KMGT]?B?)", wanted.strip().upper())
    if found is None or found[2] not in UNITS:
        raise ValueError(f'{VARIABLE} must be a size such as "8GB" or "500MB"; got {wanted!r}.')
    return float(found[1]) * UNITS[found[2]]


def in_words(size: float) -> str:
    """A number of bytes for people.

    >>> in_words(1.24e9)
    '1.2 GB'
    """
    for unit in ("GB", "MB", "KB"):
        if size >= UNITS[unit]:
            return (
                f"{size / UNITS[unit]:.3g} {unit}" if size >= 100 * UNITS[unit] else f"{size / UNITS[unit]:.2g} {unit}"
            )
    return f"{size:.0f} B"


def _physical() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return float("inf")


def _container() -> float:
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # not in a container, or no limit ("max")
        return float("inf")
