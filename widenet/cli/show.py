"""`widenet show mlp:relu:3 --shape 64`."""

from __future__ import annotations

import argparse

from widenet.cli.kernel import NET_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("net", help=NET_HELP)
    parser.add_argument("--shape", default="64", help="shape of one sample: 64, or 8,8 (default: 64)")


def run(options: argparse.Namespace) -> None:
    """Print the equations."""
    import widenet as wn
    from widenet.layers.zoo import parse

    try:
        sample = tuple(int(size) for size in options.shape.split(","))
    except ValueError:
        raise ValueError(f"--shape must be integers with commas, such as 8,8,3; got {options.shape!r}.") from None
    print(wn.show(parse(options.net), (1, *sample)))
