"""`widenet`: one command, several tasks; each loads what it needs only when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import widenet

TASKS = {
    "kernel": "kernels of the rows of a file, into a file",
    "predict": "regression or classification with the NNGP and the NTK",
    "phase": "the phase diagram of an activation: order, chaos and the critical line between them",
    "init": "which initialization suits an architecture, with code for jax, flax and torch",
    "check": "whether the sizes in a model of yours depend on its width: a coordinate check",
    "show": "an architecture as equations",
    "demo": "kernels, predictions, a trained network and a figure of handwritten digits",
    "repro": "regenerate the figures of a paper",
    "doctor": "versions, devices and memory of this machine, or the health of a store of kernels",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, or 1 if a check failed, or 2 for a mistake in what was asked."""
    parser = argparse.ArgumentParser(prog="widenet", description="Infinite-width neural-network theory.")
    parser.add_argument("--version", action="version", version=f"widenet {widenet.__version__}")
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for task, text in TASKS.items():
        module = import_module(f"widenet.cli.{task}")
        child = tasks.add_parser(task, help=text, description=f"{text[0].upper()}{text[1:]}.")
        module.add_arguments(child)
        child.set_defaults(run=module.run)
    options = parser.parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except (ValueError, TypeError, OSError, MemoryError, ImportError, NotImplementedError) as error:
        print(f"widenet: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("widenet: interrupted; no file was left half written", file=sys.stderr)
        return 130
