"""`widenet phase tanh`: the phase diagram of an activation."""

from __future__ import annotations

import argparse
from pathlib import Path

from widenet.cli.kernel import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("activation", help="its name, such as tanh, relu or gelu")
    parser.add_argument("--sigma-w", type=span, default=(0.5, 3.0), metavar="FROM:TO", help="default: 0.5:3")
    parser.add_argument("--sigma-b", type=span, default=(0.0, 1.0), metavar="FROM:TO", help="default: 0:1")
    parser.add_argument("--points", type=positive, default=51, metavar="N", help="of sigma_w; half as many of sigma_b")
    parser.add_argument("--out", metavar="PICTURE", help="PNG, PDF or SVG (default: phase_ACTIVATION.png)")
    parser.add_argument("--force", action="store_true", help="overwrite the picture")


def span(text: str) -> tuple[float, float]:
    """An interval, as an argument."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be FROM:TO, such as 0.5:3; got {text!r}") from None
    if not 0 <= low < high < float("inf"):
        raise argparse.ArgumentTypeError(f"must rise from 0 or more to a finite number; got {text!r}")
    return low, high


def run(options: argparse.Namespace) -> None:
    """Compute, describe, draw."""
    import numpy as np

    import widenet as wn
    from widenet.activations import NAMED

    phi = NAMED[wn.zoo.short_form.known(options.activation, NAMED, "activation")]
    out = Path(options.out or f"phase_{phi.name}.png")
    check_picture(out, force=options.force)
    try:
        point = wn.critical(phi)
        print(f"{phi.name}: {point.universality}, sigma_w = {point.sigma_w:.6g}, sigma_b = {point.sigma_b:.6g}")
        print(f"because {point.reason}")
    except ValueError as none:
        print(none)
    (low_w, high_w), (low_b, high_b) = options.sigma_w, options.sigma_b
    sigma_w = np.linspace(low_w, high_w, options.points)
    sigma_b = np.linspace(low_b, high_b, (options.points + 1) // 2)
    diagram = wn.phase(phi, sigma_w=sigma_w[sigma_w > 0], sigma_b=sigma_b)
    print("sigma_b   critical sigma_w")
    for bias, weight in list(zip(diagram.sigma_b, diagram.critical_sigma_w, strict=True))[
        :: max(1, options.points // 8)
    ]:
        print(f"{bias:<9.4g} {'none in this range' if np.isnan(weight) else f'{weight:.6g}'}")
    print(f"wrote {diagram.plot(out)}")


def check_picture(out: Path, *, force: bool) -> None:
    """Raise an error unless a picture may be written there; asked before the computation."""
    if out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{out}: the picture must be .png, .pdf or .svg.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} is not a folder; make it first.")
    if out.exists() and not force:
        raise FileExistsError(f"{out} exists and is kept; choose another name, or overwrite it with --force.")
