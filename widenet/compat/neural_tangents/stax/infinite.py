"""The infinite network of a layer: `kernel_fn`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet import checks
from widenet.compat.neural_tangents.kernel import Get, Kernel, answer, interleaved, wanted
from widenet.compat.neural_tangents.stax.composition import continued
from widenet.compat.neural_tangents.stax.data import Inputs, from_order, hidden_outputs, read_inputs, user_shape
from widenet.compat.neural_tangents.stax.network import network_of
from widenet.compat.neural_tangents.stax.node import Layer, Node, leaves, rebuilt
from widenet.kernels.kernel import kernel
from widenet.program.trace import Net
from widenet.program.var import is_gaussian

STATIC_NAMES = {"is_gaussian", "is_reversed", "is_input", "diagonal_batch", "diagonal_spatial"}


def kernel_of(layer: Layer) -> Callable[..., Any]:
    """`kernel_fn(x1, x2=None, get=None, *, pattern, mask_constant, diagonal_batch, diagonal_spatial)`.

    get: None for a `Kernel`, a name for one of its arrays, a tuple of names for a namedtuple.  Results are arrays
    of jax's default float.  diagonal_batch=False gives cov1, cov2 for all pairs of samples; diagonal_spatial=True gives
    equal positions of an output that has positions, False all pairs.  Several inputs are a tuple of arrays.
    """

    def kernel_fn(
        x1_or_kernel: Any,
        x2: Any = None,
        get: Get = None,
        *,
        pattern: Any = None,
        mask_constant: Any = None,
        diagonal_batch: bool | None = None,
        diagonal_spatial: bool | None = None,
        **options: Any,
    ) -> Any:
        if any(isinstance(leaf, Kernel) for leaf in leaves(x1_or_kernel)):
            return continued(layer, x1_or_kernel, x2, get, _pair(pattern))
        names = wanted(get)
        patterns = _pair(pattern)
        options = {**options, "mask_constant": mask_constant}
        same = x2 is None or all(part is None for part in leaves(x2)) or _equal(x1_or_kernel, x2)
        read1 = read_inputs(layer, x1_or_kernel, options, patterns[0])
        read2 = read1 if same else read_inputs(layer, x2, options, patterns[1])
        batch = True if diagonal_batch is None else diagonal_batch
        pair = Pair(layer, read1, read2, same, x2 is not None, batch, diagonal_spatial)
        return rebuilt(pair.output, [answer("AnalyticKernel", get, pair.kernel(i, names)) for i in range(pair.count)])

    return kernel_fn


def _pair(pattern: Any) -> tuple[Any, Any]:
    """The graphs of x1 and x2."""
    one, two = (None, None) if pattern is None else pattern
    if (one is None) != (two is None):
        raise NotImplementedError("pattern=(p1, p2) with exactly one None is not implemented: give both graphs.")
    return one, two


def _equal(x1: Any, x2: Any) -> bool:
    """Are both known to be the same data?  Then the diagonal is a sample with itself."""
    for a, b in zip(leaves(x1), leaves(x2), strict=True):
        if a is b:
            continue
        if checks.is_traced(a) or checks.is_traced(b) or jnp.shape(a) != jnp.shape(b):
            return False
        if not np.array_equal(np.asarray(a), np.asarray(b)):
            return False
    return True


class Pair:
    """The kernels of a layer for two batches."""

    def __init__(
        self, layer: Layer, read1: Inputs, read2: Inputs, same: bool, has_x2: bool, batch: bool, spatial: bool | None
    ) -> None:
        self.layer, self.reads, self.same, self.has_x2, self.batch = layer, (read1, read2), same, has_x2, batch
        context = read1.context(finite=False)
        self.network = network_of(layer, read1.spec, context)
        self.output = self.network.output
        self.count = len(leaves(self.output))
        self.spatial = bool(layer.diagonal) if spatial is None and layer.diagonal is not None else bool(spatial)

    def kernel(self, i: int, names: tuple[str, ...] | None) -> Kernel:
        """The kernel of output i; of its arrays only those that `names` (None: all) asks for."""
        node: Node = leaves(self.output)[i]
        net = self.network.nets[i]
        asked = set(names or ("nngp", "ntk", "cov1", "cov2"))
        layout = None if not node.positions else "equal" if self.spatial else "all"
        nngp, ntk = self._between(net, layout, asked)
        covs = [self._own(net, layout, asked, side, nngp) for side in (0, 1)]
        shapes = [user_shape(node, read.data.shape[0]) for read in self.reads]
        masks = [None if r.mask is None else _hidden(node, r.mask) for r in self.reads]
        return Kernel(
            nngp=nngp,
            ntk=ntk,
            cov1=covs[0],
            cov2=covs[1] if self.has_x2 else None,
            x1_is_x2=jnp.asarray(self.same),
            is_gaussian=is_gaussian(node.var),
            is_reversed=False,
            is_input=False,
            diagonal_batch=self.batch,
            diagonal_spatial=layout == "equal",
            shape1=shapes[0],
            shape2=shapes[1],
            batch_axis=node.axes.batch,
            channel_axis=node.axes.channel,
            mask1=masks[0],
            mask2=masks[1] if self.has_x2 else None,
        )

    def _between(self, net: Net, layout: str | None, asked: set[str]) -> tuple[Any, Any]:
        if not asked & {"nngp", "ntk"} and (self.has_x2 or not asked & {"cov1", "cov2"}):
            return None, None
        x1, x2 = self.reads[0].data, None if self.same else self.reads[1].data
        return kernels(net, x1, x2, layout, ntk="ntk" in asked)

    def _own(self, net: Net, layout: str | None, asked: set[str], side: int, nngp: Any) -> Any:
        """The covariance of one batch with itself."""
        if f"cov{side + 1}" not in asked or (side == 1 and not self.has_x2):
            return None
        x = self.reads[side].data
        if not self.batch:
            return nngp if self.same and nngp is not None else kernels(net, x, None, layout, ntk=False)[0]
        if self.same and nngp is not None:
            return jnp.moveaxis(jnp.diagonal(nngp, axis1=0, axis2=1), -1, 0)
        return each_with_itself(net, layout)(x)


@lru_cache(maxsize=128)
def each_with_itself(net: Net, layout: str | None) -> Callable[..., Any]:
    """The covariances of every sample with itself, compiled."""

    def of_sample(row: Any) -> Any:
        return kernels(net, jax.tree.map(lambda part: part[None], row), None, layout, ntk=False)[0][0, 0]

    return jax.jit(lambda x: jax.lax.map(of_sample, x))


def _hidden(node: Node, mask: Any) -> Any:
    return from_order(hidden_outputs(node, mask)[..., None], node.axes)


def kernels(net: Net, x1: Any, x2: Any, layout: str | None, *, ntk: bool) -> tuple[Any, Any]:
    """NNGP and NTK (or None), positions as the peer lays them out."""
    options: dict[str, Any] = {} if layout is None else {"positions": layout}
    made = kernel(net, **options)(x1, x2)
    parts = (made.nngp, made.ntk if ntk else None)
    if layout == "all":
        parts = tuple(None if part is None else interleaved(part, 2) for part in parts)  # type: ignore[assignment]
    return parts
