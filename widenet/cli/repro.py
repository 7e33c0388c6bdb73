"""`widenet repro KEY`: run the script of a paper."""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "paper_repro"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("key", nargs="?", help="which paper: see --list")
    parser.add_argument("--list", action="store_true", help="list the papers")
    parser.add_argument("--quick", action="store_true", help="a minute instead of the full run")
    parser.add_argument("--out", metavar="FOLDER", help="where to write figures and result.json")
    parser.add_argument("--seed", type=int)


def run(options: argparse.Namespace) -> int:
    """List the scripts, or run one in a process of its own."""
    scripts = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
    if not scripts:
        raise FileNotFoundError(
            "the scripts of the papers are in a checkout of the repository (paper_repro/), not here."
        )
    if options.list or options.key is None:
        longest = max(map(len, scripts))
        for key, path in scripts.items():
            print(f"{key:{longest}} {_title(path)}")
        return 0
    if options.key not in scripts:
        close = difflib.get_close_matches(options.key, scripts, n=1)
        hint = f" did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown paper {options.key!r};{hint} there are {', '.join(scripts)}.")
    arguments = ["--quick"] * options.quick
    for name in ("out", "seed"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name}", str(value)]
    return subprocess.run([sys.executable, scripts[options.key], *arguments], check=False).returncode


def _title(path: Path) -> str:
    import ast

    return (ast.get_docstring(ast.parse(path.read_text())) or path.stem).splitlines()[0]
