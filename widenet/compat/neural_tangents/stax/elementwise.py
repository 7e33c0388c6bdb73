"""Activations with the parameters of the peer, as activations of widenet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet import activations as wa
from widenet.activations.activation import Activation
from widenet.compat.neural_tangents.stax.diagonal import Diagonal
from widenet.compat.neural_tangents.stax.node import Context, Node
from widenet.compat.neural_tangents.stax.triple import Triple, simple
from widenet.program.ops import Nonlin
from widenet.program.var import Var, below_structure

SIGMOID_SCALE = 2.4020563531719796  # of the erf that is nearest to the sigmoid on [-5, 5], as in the peer


def elementwise(name: str, phi: Activation, finite: Activation | None = None, *, remask: bool) -> Triple:
    """The layer of an activation; `finite` takes its place in the finite network.

    remask: is phi(0) not zero, so that masked positions must be set to zero again?
    """

    def build(node: Node, context: Context) -> Node:
        if not context.finite:
            return node.after(phi(node.var))
        made = Nonlin(finite or phi)  # the finite network needs no Gaussian argument
        return node.after(below_structure(lambda x: Var(made, (x,), x.positions, x.channels), node.var))

    return simple(name, build, diagonal=Diagonal(), remask=remask)


def Relu(do_stabilize: bool = False) -> Triple:
    """max(x, 0).  do_stabilize is accepted and not needed: variances are never multiplied."""
    return elementwise("Relu", wa.relu, remask=False)


def LeakyRelu(alpha: Any, do_stabilize: bool = False) -> Triple:
    """alpha min(x, 0) + max(x, 0)."""
    return elementwise("LeakyRelu", wa.leaky_relu(alpha), remask=False)


def Abs(do_stabilize: bool = False) -> Triple:
    """|x|."""
    return elementwise("Abs", wa.absolute, remask=False)


def ABRelu(a: Any, b: Any, do_stabilize: bool = False) -> Triple:
    """a min(x, 0) + b max(x, 0)."""
    return elementwise("ABRelu", wa.abrelu(a, b), remask=False)


def Erf(a: Any = 1.0, b: Any = 1.0, c: Any = 0.0) -> Triple:
    """a erf(b x) + c."""
    return elementwise("Erf", wa.scaled_erf(a, b, c), remask=True)


def Sigmoid_like() -> Triple:
    """erf(x / 2.402) / 2 + 1/2, an erf that looks like a sigmoid; widenet has the sigmoid itself (`from_net`)."""
    return Erf(0.5, 1 / SIGMOID_SCALE, 0.5)


def Gelu(approximate: bool = False) -> Triple:
    """x Phi(x); `approximate` changes the finite network only."""
    return elementwise("Gelu", wa.gelu, TANH_GELU if approximate else None, remask=False)


TANH_GELU = wa.activation(lambda u: jax.nn.gelu(u, approximate=True), name="gelu (tanh)")


def Sin(a: Any = 1.0, b: Any = 1.0, c: Any = 0.0) -> Triple:
    """a sin(b x + c)."""
    return elementwise("Sin", wa.sine(a, b, c), remask=True)


def Cos(a: Any = 1.0, b: Any = 1.0, c: Any = 0.0) -> Triple:
    """a cos(b x + c)."""
    return elementwise("Cos", wa.cosine(a, b, c), remask=True)


def Rbf(gamma: Any = 1.0) -> Triple:
    """sqrt(2) sin(sqrt(2 gamma) x + pi/4), whose kernel is exp(-gamma (q1 + q2 - 2 k))."""
    return elementwise("Rbf", wa.rbf(gamma), remask=True)


def Exp(a: Any = 1, b: Any = 1) -> Triple:
    """a e^(b x)."""
    return elementwise("Exp", wa.exponential(a, b), remask=True)


def Gaussian(a: Any = 1, b: Any = -1) -> Triple:
    """a e^(b x^2); note the sign of b, which in widenet's `gaussian` is the other one."""
    return elementwise("Gaussian", wa.gaussian(a, -b), remask=True)


def Sign() -> Triple:
    """The sign of x.

    Its covariances between positions are right (the peer's are all one, which is wrong after pooling).
    """
    return elementwise("Sign", wa.sign, remask=False)


def Hermite(degree: int) -> Triple:
    """He_degree(x) / sqrt(degree!), for inputs of any variance (the peer is right for variance one only)."""
    return elementwise("Hermite", wa.hermite(_degree(degree)), remask=True)


def Monomial(degree: int) -> Triple:
    """x^degree, of any degree (the peer stops at 5)."""
    return elementwise("Monomial", wa.monomial(_degree(degree)), remask=_degree(degree) == 0)


def RectifiedMonomial(degree: int) -> Triple:
    """(x >= 0) x^degree; finite where inputs are parallel and at any depth (the peer's is NaN)."""
    return elementwise("RectifiedMonomial", wa.rectified_power(_degree(degree)), remask=False)


def _degree(degree: int) -> int:
    if degree < 0:
        raise NotImplementedError(f"the degree must be a whole number >= 0; got {degree}.")
    return degree


def Polynomial(coef: Sequence[Any]) -> Triple:
    """coef[0] + coef[1] x + ... + coef[n] x^n."""
    return elementwise("Polynomial", wa.polynomial(tuple(coef)), remask=True)


def Gabor() -> Triple:
    """e^(-x^2) sin(x)."""
    return elementwise("Gabor", GABOR, remask=False)


def _gabor(u: Array) -> Array:
    return jnp.exp(-(u**2)) * jnp.sin(u)


def _gabor_dual(q1: Array, q2: Array, k: Array) -> Array:
    """E[phi(u) phi(v)]: the weight e^(-u^2 - v^2) makes another Gaussian, of covariance s, and of it E[sin u sin v]."""
    determinant = q1 * q2 - k * k
    d = 1 + 2 * (q1 + q2) + 4 * determinant
    mean_square = (q1 + q2 + 4 * determinant) / (2 * d)
    return jnp.exp(-mean_square) * jnp.sinh(k / d) / jnp.sqrt(d)


GABOR = Activation("gabor", _gabor, closed=_gabor_dual, average=jnp.zeros_like)


def ExpNormalized(gamma: Any = 1, shift: Any = -1, do_clip: bool = False) -> Triple:
    """The kernel sqrt(q1 q2) exp(gamma (c + shift)) of correlation c; it has no finite network."""
    phi = Activation("exp_normalized", _no_function, (gamma, shift), closed=_exp_normalized_dual)
    return elementwise("ExpNormalized", phi, remask=True)


def _no_function(u: Array, *_: Any) -> Array:
    raise NotImplementedError("ExpNormalized is a map of kernels: there is no finite network of it.")


def _exp_normalized_dual(q1: Array, q2: Array, k: Array, gamma: Any, shift: Any) -> Array:
    size = jnp.sqrt(q1) * jnp.sqrt(q2)
    positive = size > 0
    c = jnp.clip(k / jnp.where(positive, size, 1.0), -1.0, 1.0)  # rounding alone puts it outside
    return jnp.where(positive, size * jnp.exp(gamma * (c + shift)), 0.0)


def Elementwise(
    fn: Callable[[Any], Any] | None = None,
    nngp_fn: Callable[[Any, Any, Any], Any] | None = None,
    d_nngp_fn: Callable[[Any, Any, Any], Any] | None = None,
) -> Triple:
    """An activation with its dual: nngp_fn(cov12, var1, var2) = E[fn(u) fn(v)].

    d_nngp_fn: E[fn'(u) fn'(v)]; None differentiates nngp_fn in cov12.  Without nngp_fn there is no kernel (but see
    `ElementwiseNumerical`), without fn no finite network.
    Raises: ValueError if both are left out.
    """
    if fn is None and nngp_fn is None:
        raise ValueError("Elementwise: give fn (for the finite network), nngp_fn (for the kernel), or both.")
    name = str(getattr(fn or nngp_fn, "__name__", "elementwise"))
    value = fn or _missing("fn", "apply_fn")
    prime = (
        None if d_nngp_fn is None else Activation(f"{name}'", _missing("fn'", "a derivative"), closed=_dual(d_nngp_fn))
    )
    phi = Activation(
        name,
        value,
        prime=None if prime is None else lambda: prime,
        closed=_dual(nngp_fn or _missing("nngp_fn", "kernel_fn")),
    )
    return elementwise("Elementwise", phi, remask=True)


def _missing(what: str, needed_by: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise NotImplementedError(f"Elementwise without {what} has no {needed_by}; ElementwiseNumerical integrates fn.")

    return refuse


def _dual(nngp_fn: Callable[..., Any]) -> Callable[..., Array]:
    return lambda q1, q2, k: jnp.vectorize(nngp_fn)(k, q1, q2)


def ElementwiseNumerical(
    fn: Callable[[Any], Any],
    deg: int = 25,
    df: Callable[[Any], Any] | None = None,
    *,
    breakpoints: Sequence[float] = (),
) -> Triple:
    """Any function, integrated numerically.

    deg and df are accepted and not needed: the error is stated by `widenet.stated_error`, 1e-10 for smooth functions.
    breakpoints (not in the peer): where fn or its derivative jumps; a kinked function without them is inaccurate.
    """
    if deg < 1:
        raise ValueError(f"deg must be >= 1; got {deg}.")
    phi = wa.activation(fn, breakpoints=breakpoints)
    return elementwise("ElementwiseNumerical", phi, remask=True)
