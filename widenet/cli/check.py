"""`widenet check module:function`: do the sizes of a user's model depend on its width?"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from widenet.cli.kernel import positive
from widenet.cli.phase import check_picture
from widenet.cli.show import sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("function", metavar="MODULE:FUNCTION", help=FUNCTION_HELP)
    parser.add_argument(
        "--widths", type=widths, default=(64, 128, 256, 512), metavar="N,N,N", help="default: 64 to 512"
    )
    parser.add_argument("--parametrization", default="mup", help="mup, sp, ntp, mfp, ...: widenet.parametrizations")
    parser.add_argument("--optimizer", default="adam", help="adam, sgd, muon, shampoo, kfac, ...; muon:keller")
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate of the smallest width (default: 0.01)")
    parser.add_argument("--steps", type=positive, help="default: 2, or 1 for optimizers like Adam")
    parser.add_argument("--seeds", type=positive, default=3, help="default: 3")
    parser.add_argument("--shape", type=sample, default="16", help="of a sample, if the function gives no batch: 8,8,3")
    parser.add_argument("--lazy", action="store_true", help="accept features that stand still, as in the NTK limit")
    parser.add_argument("--out", metavar="PICTURE", default="check.png", help="PNG, PDF or SVG (default: check.png)")
    parser.add_argument("--force", action="store_true", help="overwrite the picture")


FUNCTION_HELP = (
    "model(width), as widenet.coordinate_check takes it, in a module or in a file such as my_model.py:model; or a "
    "function without arguments that returns it, or a dict of arguments of coordinate_check: model, widths, batch, ..."
)
SAMPLES = 8


def widths(text: str) -> tuple[int, ...]:
    """Increasing numbers, as an argument."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers such as 64,128,256; got {text!r}") from None


def run(options: argparse.Namespace) -> int:
    """Check, print, draw; 0 if it passed, 1 if it failed."""
    import widenet as wn
    from widenet.precision import float64

    out = Path(options.out)
    check_picture(out, force=options.force)
    made = model_of(function_of(options.function))
    given = dict(made) if isinstance(made, dict) else {"model": made}
    if "model" not in given:
        raise ValueError(
            f"{options.function} returned a dict without 'model', but with {', '.join(given) or 'nothing'}."
        )
    asked: dict[str, Any] = {
        "widths": options.widths,
        "parametrization": named(options.parametrization, "parametrization"),
        "optimizer": named(options.optimizer, "optimizer"),
        "learning_rate": options.rate,
        "steps": options.steps,
        "seeds": options.seeds,
        "expect": "kernel" if options.lazy else "features",
        **given,
    }
    if "batch" not in asked:
        with float64():
            asked["batch"] = random_batch(asked["model"], asked["widths"][0], options.shape)
    report = wn.coordinate_check(**asked)
    print(report)
    print(f"wrote {report.plot(out)}")
    return report.exit_code


def model_of(function: Callable[..., Any]) -> Any:
    """The function itself, if it takes the width; else what it returns."""
    asked = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    return function if asked else function()


def function_of(text: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION names, in a file or in what can be imported from here.

    Raises: ValueError if there is none.
    """
    place, _, name = text.rpartition(":")
    if not place:
        raise ValueError(f"name a module and a function, such as my_model:build or my_model.py:build; got {text!r}.")
    module = _of_file(Path(place)) if place.endswith(".py") else _of_name(place)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"{place} has no function {name!r}; it has {', '.join(known) or 'none'}.")
    return found


def _of_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; name one, or a module: my_model:build.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_name(name: str) -> Any:
    """Python does not look into the folder that a command is called in."""
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove("")


def named(text: str, what: str) -> Any:
    """A parametrization or an optimizer of `widenet.parametrizations`, with its argument behind a colon.

    Raises: ValueError for another name.
    """
    import widenet as wn

    known = wn.parametrizations
    name, _, argument = text.partition(":")
    makers = ("kfac", "muon", "shampoo") if what == "optimizer" else ()
    kind = known.Parametrization if what == "parametrization" else known.Optimizer
    values = [key for key in known.__all__ if isinstance(getattr(known, key), kind)]
    if name in makers:
        return getattr(known, name)(*([argument] if argument else []))
    if name not in values or argument:
        raise ValueError(f"{what} is one of {', '.join([*values, *makers])}; got {text!r}.")
    return getattr(known, name)


def random_batch(model: Any, width: int, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Gaussian data, and Gaussian targets of the shape of the outputs."""
    import numpy as np

    import widenet as wn

    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, *shape))
    return x, rng.normal(size=wn.transfer.outputs_shape(model, width, x))
