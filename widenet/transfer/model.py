"""What users call a model, as two functions: parameters of a key, outputs of parameters and data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from widenet.finite.empirical import is_architecture
from widenet.finite.forward import NetFunction, Scope, evaluate, forward, function_of
from widenet.finite.parameters import init as init_net
from widenet.finite.parameters import names, uses_by_owner
from widenet.program.ops import Op, Repeat
from widenet.program.samples import features_of
from widenet.program.trace import Net, trace
from widenet.program.var import Var

Apply = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Model:
    """A model of one size.

    net, width: the architecture, if it is one of widenet.  optimizer: the user's own, if the model brings it: then
    everything is taken as it is.  unroll, unrolled: of parameters, and the function of them, in which layers that are
    scanned over stand one by one.
    """

    init: Callable[[Any], Any]
    apply: Apply
    net: Net | None = None
    width: int = 0
    optimizer: Any = None
    unroll: Callable[[Any], Any] = lambda params: params
    unrolled: Apply | None = None

    @property
    def seen(self) -> Apply:
        """The function of unrolled parameters."""
        return self.unrolled or self.apply


def as_model(made: Any, x: Any, width: int) -> Model:
    """The model in what a user's factory returned for one size.

    made: an architecture of widenet; a pair (init, apply); or an object with `init` and `apply`, as flax modules and
    transformed functions of haiku, and perhaps an `optimizer` of its own.  `init` takes a key, or a key and the data.
    Raises: TypeError for anything else.
    """
    if isinstance(made, Model):
        return made
    if isinstance(made, tuple) and not hasattr(made, "apply") and len(made) in (2, 3) and all(map(callable, made[:2])):
        return Model(_of_key(made[0], x), made[1], optimizer=made[2] if len(made) == 3 else None)
    if callable(getattr(made, "init", None)) and callable(getattr(made, "apply", None)):
        return Model(_of_key(made.init, x), made.apply, optimizer=getattr(made, "optimizer", None))
    if callable(made) and is_architecture(made):
        return _of_net(made, x, width)
    raise TypeError(
        f"the model of one width is a pair (init, apply), an object with init and apply, or an architecture; got "
        f"{type(made).__name__}.  Give a function: model(width) -> (init(key), apply(params, x))."
    )


def models_of(model: Any, x: Any) -> Callable[..., Any]:
    """The user's factory; an architecture is the same one at every width."""
    if not callable(model):
        raise TypeError(
            f"model is a function of the width, or an architecture; got {type(model).__name__}.  Write "
            "model=lambda width: (init, apply), with init(key) and apply(params, x)."
        )
    return (lambda *_: model) if _is_net(model, x) else model


def layerwise(apply: Any, x: Any) -> tuple[Apply, Callable[[Any], Any]]:
    """The function of unrolled parameters, and how to unroll them, of an architecture or a function."""
    if isinstance(apply, NetFunction):
        apply = apply.net
    if not is_architecture(apply):
        return apply, lambda params: params
    made = _of_net(apply, x, 0)
    return made.seen, made.unroll


def outputs_shape(model: Any, width: int, x: Any) -> tuple[int, ...]:
    """The shape of the outputs that a factory's model of one width makes of the data."""
    made = as_model(models_of(model, x)(width), x, width)
    params = jax.eval_shape(lambda: made.init(jax.random.key(0)))
    return tuple(jax.eval_shape(made.apply, params, x).shape)


def _is_net(model: Any, x: Any) -> bool:
    """Can it be traced?  A factory cannot, as it expects a number."""
    if not is_architecture(model):
        return False
    try:
        trace(model, features_of(x).shape)
    except Exception:
        return False
    return True


def _of_key(init: Callable[..., Any], x: Any) -> Callable[[Any], Any]:
    """`init` as a function of a key alone."""
    asked = [p for p in inspect.signature(init).parameters.values() if p.default is p.empty]
    many = len(asked) > 1 or any(p.kind is p.VAR_POSITIONAL for p in asked)
    return (lambda key: init(key, jax.tree.map(jnp.asarray, x))) if many else init


def _of_net(net: Net, x: Any, width: int) -> Model:
    shape = features_of(x).shape

    def unrolled(params: Any, x: Any) -> Any:
        return evaluate(trace(net, shape), params, x, None, _one_by_one)

    def unroll(params: Any) -> Any:
        return _copies(trace(net, shape), params)

    return Model(lambda key: init_net(net, key, shape, width), function_of(net), net, width, None, unroll, unrolled)


def _one_by_one(op: Op, var: Var, scope: Scope, *given: Any) -> Any:
    """`forward`, with the copies of repeated blocks in a row, whose parameters are a list."""
    if not isinstance(op, Repeat):
        return forward(op, var, scope, *given)
    h = given[0]
    for own in scope.entry(var, var):
        h = evaluate(op.body, own, h, None, _one_by_one, scope.samples)
    return h


def _copies(program: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with a list in the place of every stack of repeated blocks."""
    called, out = names(program), dict(params)
    for owner in uses_by_owner(program):
        if isinstance(owner, Var):
            assert isinstance(owner.op, Repeat)
            stack, times = params[called[owner]], owner.op.times
            copies = [jax.tree.map(lambda leaf, i=i: leaf[i], stack) for i in range(times)]
            out[called[owner]] = [_copies(owner.op.body, own) for own in copies]
    return out
