"""A repeated block: one plan for its body, carried out under `lax.scan` (K7)."""

from __future__ import annotations

import jax

from widenet.kernels.covariance import Cov, Dist, restrict
from widenet.kernels.layout import Layout, equal
from widenet.kernels.schedule import Context, Need, Pair, Plan, Planner, Step, carry_out, positions
from widenet.program.ops import Repeat
from widenet.program.rewrite import unroll_bypassed
from widenet.program.var import Var


def repeat_step(op: Repeat, planner: Planner, u: Var, v: Var) -> Step:
    """The covariance of the output of a repeated block with itself, from that of its argument."""
    assert u is v, "a Repeat is a bottleneck: see program/rewrite.py"
    inner = Planner(unroll_bypassed(op.body), planner.mode, planner.rule)
    start = Pair(op_input := inner.program.input, op_input)
    plans: dict[Layout, Plan] = {}

    def plan_for(layout: Layout) -> Plan:
        """The plan of the body at positions that it also needs of its argument."""
        if layout not in plans:
            state = layout.union(equal(positions(u)))
            while True:
                plan = inner.plan(inner.program.output, state)
                larger = state.union(plan.layouts.get(start, state))
                if larger is state:
                    break
                state = larger
            plans[layout] = plan
        return plans[layout]

    def state_of(layout: Layout) -> Layout:
        return plan_for(layout).stages[-1].layout

    def compute(context: Context, state: Cov | Dist) -> Cov | Dist:
        plan, carried = plan_for(context.layout), state_of(context.layout)

        def copy(k: Cov | Dist, _: None) -> tuple[Cov | Dist, None]:
            given = restrict(k, carried, plan.layouts[start]) if start in plan.layouts else k
            return carry_out(plan, {start: given}, context), None

        return restrict(jax.lax.scan(copy, state, length=op.times)[0], carried, context.layout)

    return Step((Need(Pair(u.args[0], u.args[0]), state_of),), compute, body=plan_for)
