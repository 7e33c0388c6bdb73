"""Attention, and the blocks of transformers."""

from __future__ import annotations

from typing import Any

from widenet.layers.dense import dense, weight_of
from widenet.layers.layer import layer
from widenet.layers.normalization import layer_norm
from widenet.program.ops import Attend, Heads, Weight
from widenet.program.trace import Net
from widenet.program.var import Var

WEIGHTS = ("softmax", "identity", "relu", "abs")


def attend(
    query: Var, key: Var, value: Var, *, weights: str = "softmax", causal: bool = False, masked: bool = False
) -> Var:
    """Attention with scores query . key / n, which are deterministic in the limit (A1).

    z[p] = sum_q softmax_q(cov(query[p], key[q])) value[q]

    query and key with weights of their own have covariance zero, that is, uniform attention: give them one `Weight`.
    weights: "softmax", or "identity", "relu", "abs" of the scores without normalization.  causal: positions q <= p
    only; masked: positions of the sample's mask only (`samples`).
    Raises: ValueError for positions that do not fit each other.
    Source: yang2019, sec. 4 (GP4A); hron2020, sec. 3.
    """
    _check(query, key, weights, causal, "attend")
    if key.positions != value.positions:
        raise ValueError(f"attend: each key has a value, but {key} and {value} have different positions.")
    return Var(Attend(weights, causal, masked), (value, query, key), query.positions, value.channels)


@layer
def self_attention(
    x: Var,
    sigma_q: Any = 1.0,
    sigma_k: Any = 1.0,
    sigma_v: Any = 1.0,
    sigma_o: Any = 1.0,
    sigma_b: Any = 0.0,
    *,
    scaling: str = "sqrt",
    weights: str = "softmax",
    causal: bool = False,
    masked: bool = False,
    context: Var | None = None,
    heads: int = 64,
    width: int | None = None,
) -> Var:
    """Multi-head attention over the positions of x, or of `context` (cross attention), with its output matrix.

    scaling "sqrt": scores q . k / sqrt(n), random in the limit, infinitely many heads (A2).  "identity" weights are
    closed form; others are integrated numerically (A3), whose error `kernel_error` states.
    scaling "linear": scores q . k / n with one matrix for queries and keys: deterministic softmax, closed form (A1).
    sigma_q, ..., sigma_o: of queries, keys, values, output; sigma_b: of the output's bias.  causal, masked: as in
    `attend`.  heads: how many a finite network (`init`, `apply`, `monte_carlo`) has.
    Raises: ValueError for an unknown scaling or weights, or x without positions.
    Source: hron2020, thm. 3 and sec. 3.
    """
    other = x if context is None else context
    _check(x, other, weights, causal, "self_attention")
    if scaling == "linear":
        tied = Weight()
        query, key = dense(x, sigma_q, weight=tied), dense(other, sigma_k, weight=tied)
        mixed = attend(query, key, dense(other, sigma_v), weights=weights, causal=causal, masked=masked)
        return dense(mixed, sigma_o, sigma_b, width=width)
    if scaling != "sqrt":
        raise ValueError(f"self_attention of {x}: scaling must be 'sqrt' or 'linear'; got {scaling!r}.")
    weight, channels = weight_of("self_attention", x, sigma_v, sigma_b, width, None)
    op = Heads(weight, sigma_q * sigma_k, sigma_v * sigma_o, sigma_b, weights, causal, masked, heads)
    return Var(op, (x, other), x.positions, channels)


def transformer_block(attention: Net, mlp: Net, *, norm: str = "pre", normalize: Net | None = None) -> Net:
    """x + attention(norm x), then h + mlp(norm h); or norm(x + ...) for norm="post", and no norm for norm="none".

    attention, mlp: nets that keep the shape, such as `self_attention()` and `serial(dense(), gelu, dense())`.
    Source: vaswani2017 (post); xiong2020 (pre).
    """
    if norm not in ("pre", "post", "none"):
        raise ValueError(f"transformer_block: norm must be 'pre', 'post' or 'none'; got {norm!r}.")
    rescale = normalize or layer_norm()

    def block(x: Var) -> Var:
        for branch in (attention, mlp):
            x = x + branch(rescale(x) if norm == "pre" else x)
            x = rescale(x) if norm == "post" else x
        return x

    return block


def _check(x: Var, other: Var, weights: str, causal: bool, what: str) -> None:
    if weights not in WEIGHTS:
        raise ValueError(f"{what} of {x}: unknown weights {weights!r}; choose from {', '.join(WEIGHTS)}.")
    if not x.positions or not other.positions:
        raise ValueError(f"{what} attends over positions, but {other if x.positions else x} has none: give sequences.")
    if causal and x.positions != other.positions:
        raise ValueError(f"{what}: causal attention needs equal positions of queries and keys; got {x} and {other}.")
