"""What each group of weights adds to the NTK of a network at infinite width, and a transformer with its groups. (Q9)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet.activations import gelu
from widenet.activations.activation import Activation
from widenet.kernels.kernel import POINTS, ntk
from widenet.layers.attention import self_attention
from widenet.layers.dense import dense
from widenet.layers.normalization import layer_norm
from widenet.precision import float64
from widenet.program.trace import trace
from widenet.program.var import Var, linear_combination

Mark = Callable[[str, Var], Var]
MarkedNet = Callable[[Var, Mark], Var]


def unmarked(name: str, h: Var) -> Var:
    """The mark that changes nothing: `lambda x: net(x, unmarked)` is the network itself."""
    return h


def group_ntk(net: MarkedNet, *, points: int = POINTS, scramble: int = 0) -> Callable[..., dict[str, np.ndarray]]:
    """The part of every marked group of weights in the NTK: `group_ntk(net)(x1, x2=None)[name]`.

    Theta(x1, x2) = sum_G Theta_G(x1, x2),  Theta_G = lim sum_(theta in G) df(x1)/dtheta df(x2)/dtheta        (Q9)

    net: a function of a variable x and of mark.  `h = mark("up", wn.dense(h))` names the weights of the layer that made
    h, without bias; the query of `self_attention` is marked at its argument, `context` is that of keys and values, of
    equal parts Theta.  A name that is used twice is one group.
    points, scramble: as in `kernel`.  Shapes: `[n1, n2]` each, float64.
    Raises: ValueError for a net without marks.
    Source: dinan2023 (NTK by groups); the way to it: widenet.

    >>> import numpy as np, widenet as wn
    >>> net = lambda x, mark: mark("head", wn.dense(wn.relu(mark("stem", wn.dense(x, 2.0)))))
    >>> {name: part.round(3).tolist() for name, part in group_ntk(net)(np.ones((1, 3))).items()}
    {'stem': [[2.0]], 'head': [[2.0]]}
    """

    def by_group(x1: Any, x2: Any = None) -> dict[str, np.ndarray]:
        names = _names(net, np.shape(x1))

        def total(shares: Any, *data: Any) -> Any:
            return ntk(_again(net, dict(zip(names, shares, strict=True))), points=points, scramble=scramble)(*data)

        with float64():
            data = [jnp.asarray(x, float) for x in (x1, x2) if x is not None]
            one_each = jnp.concatenate([jnp.zeros((1, len(names))), jnp.eye(len(names))])
            found = np.asarray(jax.jit(lambda *d: jax.lax.map(lambda shares: total(shares, *d), one_each))(*data))
        return dict(zip(names, found[1:] - found[0], strict=True))

    return by_group


def _names(net: MarkedNet, shape: tuple[int, ...]) -> list[str]:
    """The marks of a net, by first use."""
    found: dict[str, None] = {}

    def note(name: str, h: Var) -> Var:
        found[name] = None
        return h

    trace(lambda x: net(x, note), shape)
    if not found:
        raise ValueError('group_ntk: the net marks no group; write h = mark("up", wn.dense(h)) around a layer.')
    return list(found)


def _again(net: MarkedNet, shares: Mapping[str, Any]) -> Callable[[Var], Var]:
    """The net where marked layers are followed by a second one in the given share, which leaves K and adds to Theta."""

    def mark(name: str, h: Var) -> Var:
        more = dense(h, width=None if h.channels.wide else h.channels.fixed)
        return linear_combination((jnp.sqrt(shares[name]), jnp.sqrt(1 - shares[name])), (more, h))

    return lambda x: net(x, mark)


def pre_norm(
    depth: int,
    activation: Activation = gelu,
    *,
    sigma_qk: Any = 1.0,
    sigma_w: Any = 1.0,
    causal: bool = False,
    heads: int = 64,
) -> MarkedNet:
    """The residual stream through `depth` pre-norm blocks, every matrix marked: `h = pre_norm(6)(h, mark)`.

    h <- h + attention(norm h), h <- h + mlp(norm h); scores q . k / sqrt(d_head), (A2).
    Marks of block l: "query l", "key+value l", "out l", "up l", "down l".  sigma_qk: of queries and keys together;
    sigma_w: of every other matrix.  heads: of finite networks.
    Source: dinan2023 (the architecture).
    """

    def stream(x: Var, mark: Mark) -> Var:
        for l in range(1, depth + 1):  # noqa: E741
            z = layer_norm(x)
            asks, given = mark(f"query {l}", z), mark(f"key+value {l}", z)
            options = {"sigma_q": sigma_qk, "sigma_v": sigma_w, "sigma_o": sigma_w, "causal": causal, "heads": heads}
            x = x + mark(f"out {l}", self_attention(asks, context=given, **options))
            hidden = mark(f"up {l}", dense(layer_norm(x), sigma_w))
            x = x + mark(f"down {l}", dense(activation(hidden), sigma_w))
        return x

    return stream
