"""Tests compute in float64 unless they are marked float32, and on the CPU."""

from __future__ import annotations

import os
from contextlib import nullcontext

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import pytest

from widenet.precision import float64


@pytest.fixture(autouse=True)
def _double_precision(request):
    with nullcontext() if request.node.get_closest_marker("float32") else float64():
        yield
