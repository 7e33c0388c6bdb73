"""A process that runs one side of a workload, as its parent sees it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]


class Failed(Exception):
    """Why a side gave no answer."""


@dataclass
class Side:
    """A process of child.py and what it said."""

    process: subprocess.Popen[str]
    deadline: float
    log: Path
    listener: threading.Thread = field(init=False)
    lines: queue.Queue[str] = field(default_factory=queue.Queue)
    first: float = np.nan
    seconds: list[float] = field(default_factory=list)
    megabytes: float = np.nan
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.listener = threading.Thread(target=self._listen)
        self.listener.start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)
        self.lines.put("")  # the end

    def close(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.listener.join()
        with contextlib.suppress(BrokenPipeError), self.process:
            pass  # closes the pipes and waits

    def begin(self) -> None:
        """Wait until imports and data are there."""
        self.versions = self.hear()["versions"]

    def run(self) -> float:
        """One call: the seconds it took."""
        said = self.ask("run")
        self.megabytes = said["megabytes"]
        if np.isnan(self.first):
            self.first = said["seconds"]
        else:
            self.seconds.append(said["seconds"])
        return said["seconds"]

    def save(self) -> list[np.ndarray]:
        """The arrays of the last call."""
        path = self.log.parent / "result.npz"
        self.ask(f"save {path}")
        with np.load(path) as arrays:
            made = [arrays[name] for name in arrays.files]
        path.unlink()
        return made

    def ask(self, command: str) -> dict[str, Any]:
        """The answer to a command."""
        with contextlib.suppress(BrokenPipeError):  # `hear` says why
            print(command, file=self.process.stdin, flush=True)
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The next answer.

        Raises: Failed if there is none in time.
        """
        try:
            line = self.lines.get(timeout=max(self.deadline - time.monotonic(), 0))
        except queue.Empty:
            self.process.kill()  # the other side shall not share the machine with it
            raise Failed("over the time limit") from None
        if not line:
            said = [text.strip() for text in self.log.read_text().splitlines() if text.strip()]
            code = self.process.wait()
            raise Failed(said[-1][:200] if said and code > 0 else f"ended with code {code}")
        return json.loads(line)


def start(module: str, python: str, folder: Path, dtype: str, limit: float) -> Side:
    """A process for the job in `folder`, on the CPU, with as many threads as it likes, for `limit` seconds at most."""
    log = folder / "log"
    asked = {"JAX_PLATFORMS": "cpu"}
    if module == "peer":  # ours computes in the precision of numpy data
        asked["JAX_ENABLE_X64"] = str(int(dtype == "float64"))
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, "-m", "benchmarks.child", module, str(folder)],
            cwd=ROOT,
            env={**os.environ, **asked},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    return Side(process, time.monotonic() + limit, log)
