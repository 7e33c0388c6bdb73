"""Depth as a number: the same block many times, with weights of its own each time."""

from __future__ import annotations

from widenet.program.ops import Repeat
from widenet.program.trace import Net, is_self_contained, trace_block
from widenet.program.var import Var, is_gaussian


def repeat(block: Net, times: int) -> Net:
    """`times` copies of `block` in sequence; compile time and memory do not grow with `times`.

    A block that shares a `Weight` between its copies, or uses a variable from outside, is written out instead.
    Raises: ValueError if `times` is negative or the block changes the shape of its argument.
    """
    if times < 0:
        raise ValueError(f"repeat needs a number of times >= 0; got {times}.")

    def net(x: Var) -> Var:
        gaussian = is_gaussian(x)
        if times < 2 or not is_self_contained(block, x, gaussian=gaussian):
            for _ in range(times):
                x = block(x)
            return x
        body = trace_block(block, x, gaussian=gaussian)
        _check_shape(body.output, x)
        if gaussian != is_gaussian(body.output):
            return net_with_first_copy(x)
        return Var(Repeat(block, body, times), (x,), x.positions, x.channels)

    def net_with_first_copy(x: Var) -> Var:
        return repeat(block, times - 1)(block(x))

    return net


def _check_shape(output: Var, x: Var) -> None:
    if (output.positions, output.channels) != (x.positions, x.channels):
        raise ValueError(
            f"repeat: the block makes {output} of {x}; a repeated block must keep the shape. "
            "Put what changes it before or after the repeat (a dense layer that widens the data, a readout)."
        )
