"""What this machine can do now: `python -m benchmarks.machine` prints the rates that limits are computed from."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# An element-layer of convolution and relu takes 34 cycles of vector arithmetic for one register of float32, 75 of
# float64.  A matrix product does one fused multiply-add for each number of a register in a cycle, so this is as long as
FLOPS_PER_ELEMENT_LAYER = {"float32": 2 * 34, "float64": 2 * 75}
REPEATS = 3


def rates(size: int = 3072, megabytes: int = 64) -> dict[str, float]:
    """Flop/s of matrix products in both precisions, and bytes/s of copying (read and written)."""
    found = {}
    for dtype in ("float32", "float64"):
        a = np.ones((size, size), dtype)
        out = np.empty_like(a)
        found[dtype] = 2 * size**3 / best(lambda a=a, out=out: np.matmul(a, a, out=out))
    workers = cpus()
    parts = [(np.ones(megabytes << 17), np.ones(megabytes << 17)) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        seconds = best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return found | {"bytes": workers * 2 * (megabytes << 20) / seconds}


def limit(work: Any, n: int, dtype: str, measured: dict[str, float]) -> float:
    """Seconds that the minimal work for n samples takes: max(products, element-layers), then writing the outputs."""
    flops = max(work.flops(n), work.layers(n) * FLOPS_PER_ELEMENT_LAYER[dtype])
    written = work.outputs(n) * np.dtype(dtype).itemsize
    return flops / measured[dtype] + written / (measured["bytes"] / 2)


def best(call: Callable[[], Any]) -> float:
    """The shortest of some runs."""
    taken = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def cpus() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def described() -> dict[str, str]:
    """The machine, in words."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{cpus()} x {(names or [platform.processor() or platform.machine()])[0]}",
        "memory": f"{memory / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
    }


if __name__ == "__main__":
    print(json.dumps(rates()))
