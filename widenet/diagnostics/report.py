"""Signal propagation of a network at its parameters, layer by layer, as a table, a picture and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from widenet.diagnostics.measure import layers_of_function, layers_of_net
from widenet.diagnostics.statistics import Layer, Signals, signals
from widenet.diagnostics.theory import predicted
from widenet.diagnostics.verdict import Finding, findings
from widenet.finite.empirical import is_architecture, precision_of
from widenet.finite.forward import NetFunction
from widenet.finite.parameters import as_key
from widenet.initializers.neighbours import told_apart
from widenet.program.trace import Net
from widenet.torch.signals import is_module, layers_of_module

COMPARED = ("q", "c", "jacobian", "gradient")  # what theory has numbers for
HEADS = {"jacobian": "J", "gradient": "|dW|", "saturated": "satur.", "gap": "gap"}


@dataclass(frozen=True)
class SignalReport:
    """What each layer does to signals and gradients, what theory says, and what is wrong."""

    names: tuple[str, ...]
    measured: Signals
    theory: Signals | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """The worst finding, in a word or two."""
        return self.findings[0].verdict

    @property
    def reason(self) -> str:
        """The numbers that the verdict stands on."""
        return self.findings[0].reason

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text: a header, and one row a layer."""
        columns = [("layer", *self.names)]
        for name, values in self.measured._asdict().items():
            columns.append((HEADS.get(name, name), *map(_text, values)))
            if self.theory is not None and name in COMPARED:
                columns.append(("theory", *map(_text, getattr(self.theory, name))))
        return list(zip(*columns, strict=True))

    def __str__(self) -> str:
        """The table and the verdict."""
        cells = self.rows()
        sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in cells]
        return "\n".join([*lines, "", *(f"{found.verdict}: {found.reason}" for found in self.findings)])

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.diagnostics.draw import draw

        path = Path(path)
        if path.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ValueError(f"{path}: the picture must be .png, .pdf or .svg.")
        draw(self).savefig(path, dpi=130)
        return path

    def html(self, path: str | Path) -> Path:
        """Write a page with verdict, picture and table, in one file that needs no other."""
        from widenet.diagnostics.page import page

        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{path}: the page must be .html.")
        path.write_text(page(self), encoding="utf-8")
        return path


def signal_report(
    apply: Any, params: Any, x: Any, key: Any = 0, *, theory: Net | None = None, probes: int = 8
) -> SignalReport:
    """How the batch `x` and random gradients propagate through a network at its parameters. (S1)

    apply: an architecture with `params` of `init`; or any jax function apply(params, x), in which a layer is where a
    leaf of `params` with two axes or more multiplies data, outside of scans; or a torch module with params=None, in
    which it is a linear or convolutional layer of torch.nn.
    x: two samples or more, and twenty or more for a share of dead units that means something.  key: for random
    directions at the output, `probes` backward passes.
    Columns: q and c, mean square of preactivations before the bias and mean cosine between samples; J, squared
    derivatives of outputs in these preactivations, per output (APJN); |dW|, norm of the derivative of a unit output in
    the weight; shares of zeros, of dead units and of saturated values in what the layer is given; the isometry gap.
    theory: an architecture with the same layers, compared with infinite width (S2); an architecture is its own.  Its
    |dW| is of standard normal weights (the NTK parametrization), so it is not shown for others.
    Raises: ValueError for less than two samples, or a theory with another number of layers.

    >>> import numpy as np, widenet as wn
    >>> net = wn.zoo.mlp(wn.relu, 50, sigma_w=1.0)
    >>> x = np.random.default_rng(0).normal(size=(20, 30))
    >>> report = wn.signal_report(net, wn.init(net, 0, x.shape, width=128), x)
    >>> report.verdict
    'vanishing'
    """
    count = jax.tree.leaves(x)[0].shape[0]
    if count < 2:
        raise ValueError(f"a report compares samples, but x has {count}: give two or more, better twenty.")
    if probes < 1:
        raise ValueError(f"probes is the number of backward passes, one or more; got {probes}.")
    net = apply.net if isinstance(apply, NetFunction) else apply
    ours = not is_module(net) and is_architecture(net)
    layers = _layers(net, params, x, as_key(key), probes, ours)
    theory = net if ours and theory is None else theory
    names = tuple(layer.name for layer in layers)
    measured = signals(layers, count)
    said = None if theory is None else _theory(theory, x, len(layers), ours)
    return SignalReport(names, measured, said, findings(names, measured))


def _layers(net: Any, params: Any, x: Any, key: Any, probes: int, ours: bool) -> list[Layer]:
    if is_module(net):
        if params is not None:
            raise ValueError("a torch module has its parameters in it: call signal_report(module, None, x).")
        met = layers_of_module(net, x, int(jax.random.randint(key, (), 0, 2**31 - 1)), probes)
        names = told_apart([each[0] for each in met])
        return [Layer(name, *each[1:]) for name, each in zip(names, met, strict=True)]
    if not ours:
        return layers_of_function(net, params, x, key, probes)
    with precision_of(x):
        return layers_of_net(net, params, x, key, probes)


def _theory(net: Net, x: Any, layers: int, ours: bool) -> Signals | None:
    try:
        said = predicted(net, np.asarray(x))
    except NotImplementedError:
        if not ours:
            raise
        return None  # an architecture beyond the theory is still measured
    if len(said.q) != layers:
        raise ValueError(
            f"theory has {len(said.q)} layers with weights, but {layers} were seen in the network: give the "
            "architecture of this network, or no theory."
        )
    return said if ours else said._replace(gradient=np.full(layers, np.nan))


def _text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}"
