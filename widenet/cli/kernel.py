"""`widenet kernel DATA --net mlp:relu:3 --out K.npz`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from widenet.cli import store as on_disk
from widenet.cli.data import DATA_HELP, load

NETS = (
    "mlp residual lenet myrtle myrtle5 myrtle7 myrtle10 wide_resnet resnet convnext vit gpt rnn gru lstm gcn sage gin"
)
NET_HELP = (
    "NAME[:ACTIVATION][:DEPTH][:OPTION][:key=value ...], such as mlp:relu:3, residual:erf:6:sigma_w=1.2 or "
    f"gru:bidirectional; NAME is one of {', '.join(NETS.split())}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("data", help=f"samples: {DATA_HELP}")
    parser.add_argument("--against", metavar="DATA2", help="samples of the columns; without it, those of DATA")
    parser.add_argument("--net", required=True, help=NET_HELP)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="K.npz", help="where to write nngp and ntk")
    where.add_argument("--store", metavar="K.zarr", help="where to keep them in tiles, if memory does not hold them")
    parser.add_argument("--get", choices=("both", "nngp", "ntk"), default="both", help="default: both")
    parser.add_argument(
        "--error",
        action="store_true",
        help="the standard error of what is integrated numerically, too (4 times the work)",
    )
    parser.add_argument("--rows", type=positive, metavar="N", help="take the first N rows of DATA only")
    parser.add_argument(
        "--shuffle",
        type=seed,
        metavar="SEED",
        help="shuffle the rows of DATA first, since many files are sorted by class; K.npz then has the order, `rows`",
    )
    parser.add_argument(
        "--points", type=positive, metavar="N", help="of numerical integrals, a power of two (default: 4096)"
    )
    parser.add_argument("--float32", action="store_true", help="compute in float32 (default: float64)")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    on_disk.add_arguments(parser)


def positive(text: str) -> int:
    """A whole number of at least 1, as an argument."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more; got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """A whole number of at least 0, as an argument."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more; got {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Read, compute, write, describe."""
    import numpy as np

    import widenet as wn
    from widenet.io import check_writable, save

    net = wn.zoo.parse(options.net)
    on_disk.check(options)
    if options.out:
        check_writable(options.out, force=options.force)
    dtype = np.float32 if options.float32 else np.float64
    x1, _, rows = load(options.data, options.net, rows=options.rows, shuffle=options.shuffle, dtype=dtype)
    x2 = None if options.against is None else load(options.against, options.net, dtype=dtype).x
    print(f"{options.data}: {x1.shape[0]} samples of shape {x1.shape[1:]}; network {options.net}")
    if options.store:
        on_disk.run(options, net, x1, x2)
        return
    begin = time.perf_counter()
    points = {"points": options.points} if options.points else {}
    if options.get == "both":
        kernels: dict[str, Any] = wn.kernel(net, **points)(x1, x2)._asdict()
    else:
        kernels = {options.get: getattr(wn, options.get)(net, **points)(x1, x2)}
    if options.error:
        errors = wn.kernel_error(net, **points)(x1, x2)._asdict()
        kernels |= {f"{name}_error": errors[name] for name in list(kernels)}
    print(f"computed in {time.perf_counter() - begin:.1f} s")
    written = kernels if options.shuffle is None else {**kernels, "rows": rows}
    save(options.out, force=options.force, **written)
    print(f"wrote {options.out} ({', '.join(written)})", flush=True)
    for name, k in kernels.items():  # eigenvalues take longer than the kernel: what is computed is safe by now
        if name.endswith("_error"):
            print(f"{name:5} at most {k.max():.2g} (0: in closed form)")
        else:
            print(f"{name:5} {describe(k, square=x2 is None)}", flush=True)


def describe(k: Any, *, square: bool) -> str:
    """Shape, dtype and, of a kernel of samples with themselves, how well conditioned it is."""
    import numpy as np

    text = f"shape {k.shape}, {k.dtype}, entries {k.min():.4g} to {k.max():.4g}"
    if not square:
        return text
    values = np.linalg.eigvalsh(k.astype(np.float64))
    condition = f"{values[-1] / values[0]:.3g}" if values[0] > 0 else "infinite (singular to rounding)"
    return f"{text}, condition number {condition}, smallest eigenvalue {values[0]:.3g}"
