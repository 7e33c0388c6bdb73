"""The engine of several processes on one machine.

Each is a fresh interpreter, so nothing of jax is forked and scripts need no guard; one that dies is replaced.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

from widenet.memory import VARIABLE, budget
from widenet.scale.kernel import Engine, Job, Packed
from widenet.scale.tiles import Tile

ATTEMPTS = 3  # workers that one tile may kill
PATIENCE = 60.0  # seconds in which a worker that was told to stop finishes its tile


def processes(count: int | None = None) -> Engine:
    """The engine of `count` processes on this machine, by default one a core, that share its cores and its memory.

    Raises: ValueError for a count below 1.
    """
    workers = _cores() if count is None else count
    if workers < 1:
        raise ValueError(f"processes needs a count of at least 1; got {count}.")

    def engine(job: Job, tiles: Sequence[Tile]) -> Iterator[Tile]:
        packed, idle = job.packed(), SimpleQueue[_Worker]()
        team = [_Worker(packed, workers) for _ in tiles[:workers]]
        for worker in team:
            idle.put(worker)
        with ThreadPoolExecutor(workers) as pool:
            try:
                for future in as_completed([pool.submit(_compute, idle, tile) for tile in tiles]):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)  # tiles that are being computed are finished
                for worker in team:
                    worker.stop()

    return engine


def _compute(idle: SimpleQueue[_Worker], tile: Tile) -> Tile:
    worker = idle.get()
    try:
        for _ in range(ATTEMPTS):
            if worker.compute(tile):
                return tile
    finally:
        idle.put(worker)
    raise RuntimeError(
        f"tile {tile} ended {ATTEMPTS} workers, most likely for want of memory: use a smaller tile or fewer processes; "
        "finished tiles are kept."
    )


class _Worker:
    """A process that computes tiles, started when it is needed."""

    def __init__(self, packed: Packed, share: int) -> None:
        self.packed, self.share = packed, share
        self.process: subprocess.Popen[bytes] | None = None

    def compute(self, tile: Tile) -> bool:
        """Compute a tile; False if the process died of it.  Raises: what the computation raised."""
        process = self.process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(tile, process.stdin)
            process.stdin.flush()
            error = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            self.stop()
            return False
        if error is not None:
            raise error
        return True

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "widenet.scale.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(self.share),
            start_new_session=True,  # an interrupt is for whoever started it, who then ends its input
        )
        assert process.stdin is not None
        pickle.dump(self.packed, process.stdin)
        return process

    def stop(self) -> None:
        """End the process when its tile is finished, and forget it."""
        process, self.process = self.process, None
        if process is None:
            return
        try:
            process.communicate(timeout=PATIENCE)  # ends its input
        except (subprocess.TimeoutExpired, OSError, ValueError):
            process.kill()
            process.wait()


def _environment(share: int) -> dict[str, str]:
    """Variables of a process that has one part in `share` of this machine."""
    threads = str(max(1, _cores() // share))
    one = " --xla_cpu_multi_thread_eigen=false" if threads == "1" else ""
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + one,
        VARIABLE: f"{budget() / share:.0f}B",
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }


def _cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
