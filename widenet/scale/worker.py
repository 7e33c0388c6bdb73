"""A process of the engine `processes`: a job on standard input, then tiles, each answered when it is in the store."""

from __future__ import annotations

import os
import pickle
import sys
from typing import BinaryIO

from widenet.scale.kernel import Job, unpacked
from widenet.scale.tiles import Tile


def main() -> None:
    """Work until standard input ends, which it does when whoever started this is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the network prints goes to standard error
    try:
        serve(sys.stdin.buffer, answers)
    except (EOFError, BrokenPipeError):
        os._exit(0)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer every tile with None, or with the error."""
    job = unpacked(*pickle.load(questions))
    while True:
        pickle.dump(answer(job, pickle.load(questions)), answers)
        answers.flush()


def answer(job: Job, tile: Tile) -> Exception | None:
    """Compute a tile; an error of another library goes as text, which always travels."""
    try:
        job.compute(tile)
    except Exception as error:
        return error if type(error).__module__ == "builtins" else RuntimeError(f"{type(error).__name__}: {error}")
    return None


if __name__ == "__main__":
    main()
