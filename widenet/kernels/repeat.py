"""A repeated block: one plan for its body, carried out under `lax.scan` (K7)."""

from __future__ import annotations

import jax

from widenet.kernels.covariance import Cov, Dist, restrict
from widenet.kernels.layout import equal
from widenet.kernels.schedule import Context, Need, Pair, Places, Plan, Planner, Step, carry_out, positions
from widenet.program.ops import Repeat
from widenet.program.rewrite import unroll_bypassed
from widenet.program.var import Var


def repeat_step(op: Repeat, planner: Planner, u: Var, v: Var) -> Step:
    """The covariance of the output of a repeated block with itself, from that of its argument."""
    assert u is v, "a Repeat is a bottleneck: see program/rewrite.py"
    inner = Planner(unroll_bypassed(op.body), planner.mode._replace(variances=True), planner.rule)
    start = Pair(op_input := inner.program.input, op_input)
    plans: dict[Places, Plan] = {}

    def plan_for(at: Places) -> Plan:
        """The plan of the body at positions that it also needs of its argument."""
        if at not in plans:
            state = Places(at.between.union(equal(positions(u))), at.within)
            while True:
                plan = inner.plan(inner.program.output, state)
                larger = plan.at.union(plan.places.get(start, state))
                if larger == state:
                    break
                state = larger
            plans[at] = plan
        return plans[at]

    def compute(context: Context, state: Cov | Dist) -> Cov | Dist:
        plan = plan_for(context.at)

        def copy(k: Cov | Dist, _: None) -> tuple[Cov | Dist, None]:
            given = restrict(k, plan.at, plan.places[start]) if start in plan.places else k
            return carry_out(plan, {start: given}, context), None

        return restrict(jax.lax.scan(copy, state, length=op.times)[0], plan.at, context.at)

    x = u.args[0]
    need = Need(Pair(x, x), lambda layout: layout, lambda at: plan_for(at).at)
    return Step((need,), compute, body=plan_for)
