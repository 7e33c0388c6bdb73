"""`widenet init --net mlp:gelu:50 --width 512`: which initialization suits an architecture."""

from __future__ import annotations

import argparse
from pathlib import Path

from widenet.cli.kernel import NET_HELP, positive
from widenet.cli.phase import check_picture
from widenet.cli.show import sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("--net", required=True, help=NET_HELP)
    parser.add_argument("--width", type=positive, default=512, help="hidden channels (default: 512)")
    parser.add_argument("--shape", type=sample, default="64", help="shape of one sample: 64, or 8,8 (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    parser.add_argument("--out", metavar="PICTURE", default="init.png", help="PNG, PDF or SVG (default: init.png)")
    parser.add_argument("--force", action="store_true", help="overwrite the picture")


def run(options: argparse.Namespace) -> None:
    """Compare, rank, draw, and write the code."""
    import widenet as wn

    net, out = wn.zoo.parse(options.net), Path(options.out)
    check_picture(out, force=options.force)
    advice = wn.recommend(net, width=options.width, shape=options.shape, key=options.seed)
    print(advice)
    for framework in ("jax", "flax", "torch"):
        print(f"\n# {framework}\n{advice.code(framework)}", end="")
    print(f"\nwrote {advice.plot(out)}")
