"""`kernel_fn(kernel)`: the recursion continued from a `Kernel`, in place of data."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from widenet import checks
from widenet.compat.neural_tangents.kernel import Get, Kernel, answer, interleaved, separated
from widenet.compat.neural_tangents.stax.data import Spec, graph_operator, user_shape
from widenet.compat.neural_tangents.stax.node import Axes, Context, Layer, Node, leaves, rebuilt
from widenet.kernels import schedule
from widenet.kernels.covariance import Cov, Dist, as_cov
from widenet.kernels.kernel import plan_of
from widenet.kernels.layout import Layout, equal, every
from widenet.kernels.schedule import Mode, Pair, carry_out, positions
from widenet.program.ops import Input
from widenet.program.rewrite import unroll_bypassed
from widenet.program.samples import Samples
from widenet.program.trace import trace_block
from widenet.program.var import Channels, Var, is_gaussian


def continued(layer: Layer, kernel: Any, x2: Any, get: Get, patterns: tuple[Any, Any]) -> Any:
    """The kernel of `layer` after a network whose kernel is known.

    Raises: NotImplementedError for several kernels (their covariance with each other is not known) and for masks;
    ValueError if x2 is given as well.
    """
    if x2 is not None:
        raise ValueError("kernel_fn(kernel) takes no x2: a Kernel knows both batches.")
    if not isinstance(kernel, Kernel):
        raise NotImplementedError(
            "kernel_fn of several Kernels is not implemented, since how they vary together is not known: compose the "
            "layers with serial and parallel, and give the result the data."
        )
    if kernel.mask1 is not None or kernel.mask2 is not None:
        raise NotImplementedError("kernel_fn of a masked Kernel is not implemented: compose the layers with serial.")
    start = Start(kernel.reverse() if kernel.is_reversed else kernel)
    context = Context(finite=False, pattern=patterns[0] is not None)
    output = layer.build(start.node, context)
    samples = tuple(start.samples(layer, pattern) for pattern in patterns)
    made = [
        answer("AnalyticKernel", get, start.after(lambda x, i=i: leaves(layer.build(start.at(x), context))[i], samples))
        for i in range(len(leaves(output)))
    ]
    return rebuilt(output, made)


class Start:
    """A kernel as the beginning of a recursion."""

    def __init__(self, kernel: Kernel) -> None:
        assert kernel.shape1 is not None, "kernels know their shapes"
        self.kernel, self.axes = kernel, Axes(kernel.batch_axis, kernel.channel_axis)
        self.positions = tuple(s for i, s in enumerate(kernel.shape1) if i not in self.axes)
        self.channels = kernel.shape1[kernel.channel_axis]
        self.node = self.at(Var(Input(kernel.is_gaussian), (), self.positions, Channels(1, 0)))

    def at(self, x: Var) -> Node:
        """A variable in the place of the kernel's."""
        return Node(x, self.channels, self.axes)

    def samples(self, layer: Layer, pattern: Any) -> Samples | None:
        """The graphs of a batch."""
        if pattern is None:
            return None
        spec = Spec(None, self.positions, (self.channels,), self.axes)
        return Samples(None, None, graph_operator(pattern, layer, spec))

    def after(self, build: Any, samples: Any) -> Kernel:
        """The kernel of the node that `build` makes."""
        found: list[Node] = []

        def net(x: Var) -> Var:
            found.append(build(x))
            return found[-1].var

        k = self.kernel
        program = unroll_bypassed(trace_block(net, self.node.var, gaussian=k.is_gaussian))
        same = k.cov2 is None or (not checks.is_traced(k.x1_is_x2) and bool(k.x1_is_x2))
        mode = Mode(k.ntk is not None, False)
        size = positions(program.output)
        wanted = equal(size) if k.diagonal_spatial or size == 1 else every(size, size)
        plan = plan_of(program, mode, wanted)
        pair = Pair(program.input, program.input)
        have = equal(positions(program.input)) if k.diagonal_spatial else every(*(positions(program.input),) * 2)
        first = plan.places[pair].between if pair in plan.places else have
        given = self.cov(have, first)
        own = jnp.eye(given.cross.shape[-1], dtype=bool) if same else None
        at = schedule.Context(plan.at, samples, own)
        out = given if program.output is program.input else carry_out(plan, {pair: given}, at)
        assert isinstance(out, (Cov, Dist)), "a covariance is carried to a covariance"
        return self.kernel_of(found[-1], as_cov(out, wanted), wanted)

    def cov(self, have: Layout, want: Layout) -> Cov:
        """The kernel's arrays as the engine has them: pairs of positions first."""
        k = self.kernel
        if not set(want.codes) <= set(have.codes):
            raise ValueError("this layer needs all pairs of positions: compute the Kernel with diagonal_spatial=False.")
        own = [self._own(k.cov1 if cov is None else cov) for cov in (k.cov1, k.cov2)]
        self1, self2 = (have.take(self._first(part, 1), want) for part in own)
        cross = have.take(self._first(k.nngp, 2), want)
        if k.ntk is None:
            return Cov(cross, self1, self2, None)
        return Cov(cross, self1, self2, have.take(self._first(jnp.broadcast_to(k.ntk, k.nngp.shape), 2), want))

    def _own(self, cov: Any) -> Any:
        if self.kernel.diagonal_batch:
            return cov
        return jnp.moveaxis(jnp.diagonal(cov, axis1=0, axis2=1), -1, 0)

    def _first(self, part: Any, lead: int) -> Any:
        """`[n1, n2, h, h, w, w]` as `[L, n1, n2]`."""
        part = part if self.kernel.diagonal_spatial else separated(part, lead)
        return jnp.moveaxis(part.reshape(*part.shape[:lead], -1), -1, 0)

    def kernel_of(self, node: Node, out: Cov, at: Layout) -> Kernel:
        """The container of the result."""
        k = self.kernel
        shape1, shape2 = (
            None if shape is None else user_shape(node, shape[k.batch_axis]) for shape in (k.shape1, k.shape2)
        )
        return k.replace(
            nngp=_last(out.cross, node, at),
            ntk=None if out.ntk is None else _last(out.ntk, node, at),
            cov1=_last(out.self1, node, at),
            cov2=None if k.cov2 is None else _last(out.self2, node, at),
            is_gaussian=is_gaussian(node.var),
            diagonal_batch=True,
            diagonal_spatial=at.is_equal and bool(node.positions),
            shape1=shape1,
            shape2=shape2,
            batch_axis=node.axes.batch,
            channel_axis=node.axes.channel,
        )


def _last(part: Any, node: Node, at: Layout) -> Any:
    part = jnp.moveaxis(part, 0, -1)
    lead = part.ndim - 1
    times = 1 if at.is_equal else 2
    part = part.reshape(*part.shape[:-1], *node.positions * times)
    return part if at.is_equal else interleaved(part, lead)
