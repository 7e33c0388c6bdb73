"""A repeated block: one plan for its body, carried out under `lax.scan` (K7)."""

from __future__ import annotations

import jax

from widenet.kernels.covariance import Cov, Dist, equal_positions
from widenet.kernels.schedule import Key, Plan, Planner, Step, carry_out, normal
from widenet.program.ops import Repeat
from widenet.program.rewrite import unroll_bypassed


def repeat_step(op: Repeat, planner: Planner, key: Key) -> Step:
    """The covariance of the output of a repeated block with itself, from that of its argument."""
    assert key.u is key.v, "a Repeat is a bottleneck: see program/rewrite.py"
    body = unroll_bypassed(op.body)
    inner = Planner(body, planner.mode, planner.rule)
    plan, start = _plan(inner, key.full)
    goes_full = start.full

    def compute(state: Cov | Dist) -> Cov | Dist:
        out, _ = jax.lax.scan(lambda k, _: (carry_out(plan, {start: k}), None), state, length=op.times)
        return out if key.full or not goes_full else equal_positions(out)

    return Step((Key(key.u.args[0], key.u.args[0], goes_full),), compute)


def _plan(inner: Planner, full: bool) -> tuple[Plan, Key]:
    """The plan of the body in the layout that its own input needs too."""
    body = inner.program
    plan = inner.plan(Key(body.output, body.output, full))
    start = normal(Key(body.input, body.input, True))
    if start.full and start in plan.steps and not full:
        plan = inner.plan(Key(body.output, body.output, True))
    return plan, start if start in plan.steps else start._replace(full=False)
