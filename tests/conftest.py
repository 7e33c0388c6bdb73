"""Tests compute in float64 unless they are marked float32, and on the CPU."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import jax
import pytest

from widenet.precision import float64


@pytest.fixture(autouse=True)
def _double_precision(request):
    with nullcontext() if request.node.get_closest_marker("float32") else float64():
        yield


MOST_MAPS = 20_000  # of the 65530 that Linux allows a process: compiled code is mapped, and compiling past it crashes


@pytest.fixture(autouse=True)
def _room_for_compiled_code():
    """Forget what is compiled before a process has too much of it."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
