"""`widenet demo`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="where to write the figure (default: demo)")
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> None:
    """Run the demonstration."""
    from pathlib import Path

    from widenet.demo.run import run as demonstrate

    demonstrate(Path(options.out), options.seed)
