"""One side of one workload in a process of its own: `python -m benchmarks.child SIDE FOLDER`, SIDE ours or peer.

The folder holds job.json and the data, one .npy an array.  On a line "run" it answers with the seconds and the peak
memory so far; on "save PATH" it writes the last result there.  Every answer is a line of JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np


def main(side: str, folder: str) -> None:
    """Prepare the workload and serve the parent until it hangs up."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer

    def answer(**parts: Any) -> None:
        print(json.dumps(parts), file=answers, flush=True)

    job = json.loads(Path(folder, "job.json").read_text())
    data = {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
    module = importlib.import_module(f"benchmarks.{side}")
    call = module.prepare(job, data)
    jax.devices()
    forget_peak()
    start = peak()
    answer(versions=module.versions())
    result = None
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "save":
            np.savez(path, *map(np.asarray, result))
            answer()
        else:
            result = None
            begin = time.perf_counter()
            result = jax.block_until_ready(call())
            answer(seconds=time.perf_counter() - begin, megabytes=(peak() - start) / 1e6)


def forget_peak() -> None:
    """Let the peak begin with what is resident now, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most bytes that were resident.  A process inherits ru_maxrss from its parent, so Linux is asked elsewhere."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


if __name__ == "__main__":
    main(*sys.argv[1:])
