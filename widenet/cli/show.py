"""`widenet show mlp:relu:3 --shape 64`."""

from __future__ import annotations

import argparse

from widenet.cli.kernel import NET_HELP, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("net", help=NET_HELP)
    parser.add_argument("--shape", type=sample, default="64", help="shape of one sample: 64, or 8,8 (default: 64)")


def run(options: argparse.Namespace) -> None:
    """Print the equations."""
    import widenet as wn

    print(wn.show(wn.zoo.parse(options.net), (1, *options.shape)))


def sample(text: str) -> tuple[int, ...]:
    """The shape of a sample, as an argument."""
    try:
        return tuple(map(positive, text.split(",")))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be sizes with commas, such as 8,8,3; got {text!r}") from None
