"""Attention with deterministic scores: an operator over positions of each sample (A1)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.kernels.covariance import Data, Features, Form, as_cov
from widenet.kernels.inputs import as_wanted, formed, mixed_features
from widenet.kernels.layout import every
from widenet.kernels.position_rules import Operators, mixed, on_both
from widenet.kernels.rules import pair, push
from widenet.kernels.schedule import Context, Need, Places, Planner, Step, positions, wide
from widenet.program.ops import Attend
from widenet.program.var import Var


@pair.register
def _attend(op: Attend, planner: Planner, u: Var, v: Var) -> Step:
    return _attended(planner, u, v, (u, u))


@push.register
def _push_attend(op: Attend, planner: Planner, u: Var, v: Var, left: bool) -> Step:
    return _attended(planner, u, v, (u, None) if left else (None, v))


def _attended(planner: Planner, u: Var, v: Var, sides: tuple[Var | None, Var | None]) -> Step:
    a, b = (w if side is None else w.args[0] for w, side in zip((u, v), sides, strict=True))
    attending = next(w for w in sides if w is not None)
    sizes = positions(a), positions(b)
    everywhere = every(*sizes)

    def compute(context: Context, k: Form, scores: Form) -> Form:
        weights = weights_of(attending, scores, context, planner)
        if isinstance(k, (Data, Features)) and None not in sides:
            return as_wanted(mixed_features(k, mixed, weights), planner, u, context)
        k = as_cov(formed(k, Places(everywhere, everywhere), planner.mode, context), everywhere)
        both = [None if w is None else weights for w in sides]
        return on_both(k, *both, sizes, context.layout)

    return Step((wide(a, b), scores_of(attending, planner)), compute, takes_data=True)


def scores_of(u: Var, planner: Planner) -> Need:
    """What the weights of attention are made of."""
    _, query, key = u.args
    return wide(query, query if planner.is_zero(query, key) else key)


def weights_of(u: Var, scores: Form, context: Context, planner: Planner) -> Operators:
    """The attention weights `[n, P, Q]` of both batches (A1)."""
    _, query, key = u.args
    at = every(positions(query), positions(key))
    s: Any = as_cov(formed(scores, Places(at, at), planner.mode, context), at)
    factor = 0.0 if planner.is_zero(query, key) else 1.0
    return Operators(
        *(
            _weights(u.op, factor * jnp.moveaxis(part.reshape(*at.sizes, -1), -1, 0), side)
            for part, side in zip((s.self1, s.self2), context.samples, strict=True)
        )
    )


def _weights(op: Attend, scores: Array, side: Any) -> Array:
    allowed = jnp.ones(scores.shape[-2:], bool)
    if op.causal:
        allowed = jnp.tril(allowed)
    if op.masked:
        if side is None or side.mask is None:
            raise ValueError("masked attention reads the mask of each sample: give the data as samples(x, mask=...).")
        allowed = allowed & jnp.asarray(side.mask).reshape(side.mask.shape[0], 1, -1)
    return weigh(op.weights, scores, allowed)


def weigh(weights: str, scores: Array, allowed: Array) -> Array:
    """The attention weights of scores `[..., P, Q]`; zero where not `allowed`."""
    if weights == "softmax":
        peak = jax.lax.stop_gradient(jnp.max(jnp.where(allowed, scores, -jnp.inf), -1, keepdims=True))
        raised = jnp.where(allowed, jnp.exp(jnp.where(allowed, scores - peak, 0.0)), 0.0)
        return raised / raised.sum(-1, keepdims=True)
    plain = {"identity": lambda s: s, "relu": jax.nn.relu, "abs": jnp.abs}[weights](scores)
    return jnp.where(allowed, plain, 0.0)
