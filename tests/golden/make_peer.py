"""Make peer.npz: kernels by neural-tangents 0.6.5, for every net of tests/nets.py that it can express.

Run in an environment of its own (jax 0.4.25, neural-tangents 0.6.5, tensorflow stubbed):
    python tests/golden/make_peer.py tests/golden/peer.npz
"""

import sys
import types
from importlib.machinery import ModuleSpec


class _Stub(types.ModuleType):
    """Stands for tensorflow and its bridge, which one experimental module of the peer imports."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Stub(name)

    def __call__(self, *_, **__):
        return self


for name in ("tensorflow", "tf2jax", "jax.experimental.jax2tf", "neural_tangents.experimental"):
    stub = _Stub(name)
    stub.__spec__ = ModuleSpec(name, None)
    sys.modules[name] = stub

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from neural_tangents import stax as s  # noqa: E402


def dense(sigma_w=1.3, sigma_b=0.4):
    return s.Dense(1, sigma_w, sigma_b)


def mlp(*activations):
    layers = [dense()]
    for phi in activations:
        layers += [phi, dense()]
    return s.serial(*layers)


def skip(*branch):
    return s.serial(s.FanOut(2), s.parallel(s.Identity(), s.serial(*branch)), s.FanInSum())


def rowwise(*readout):
    return s.serial(dense(), s.Relu(), dense(), s.Relu(), *readout)


VECTORS = {
    "mlp_relu": mlp(s.Relu(), s.Relu()),
    "mlp_relu_deep": s.serial(dense(1.5, 0.1), s.repeat(s.serial(s.Relu(), dense(1.5, 0.1)), 20)),
    "mlp_leaky": mlp(s.LeakyRelu(0.2), s.LeakyRelu(0.2)),
    "mlp_abs": mlp(s.Abs(), s.Abs()),
    "mlp_abrelu": mlp(s.ABRelu(-0.3, 1.7), s.ABRelu(-0.3, 1.7)),
    "mlp_erf": mlp(s.Erf(), s.Erf()),
    "mlp_scaled_erf": mlp(s.Erf(1.5, 0.7, 0.2), s.Erf(1.5, 0.7, 0.2)),
    "mlp_gelu": mlp(s.Gelu(), s.Gelu()),
    "mlp_sin": mlp(s.Sin(1.1, 0.8, 0.3), s.Sin(1.1, 0.8, 0.3)),
    "mlp_cos": mlp(s.Cos(1.1, 0.8, 0.3), s.Cos(1.1, 0.8, 0.3)),
    "mlp_rbf": mlp(s.Rbf(0.6), s.Rbf(0.6)),
    "mlp_exp": mlp(s.Exp(0.5, 0.6)),
    "mlp_gaussian": mlp(s.Gaussian(1.2, -0.4), s.Gaussian(1.2, -0.4)),
    "mlp_polynomial": mlp(s.Polynomial((0.2, -0.5, 0.3, 0.1)), s.Polynomial((0.2, -0.5, 0.3, 0.1))),
    "mlp_monomial": mlp(s.Monomial(3)),
    "mlp_rectified_square": mlp(s.RectifiedMonomial(2)),
    "mlp_mixed": mlp(s.Relu(), s.Erf(), s.Gelu()),
    "residual": s.serial(dense(1.2, None), *[skip(s.Relu(), dense(0.98, 0.14))] * 3, s.Erf(), dense(1.1, None)),
    "two_branches": s.serial(
        dense(),
        s.Relu(),
        s.FanOut(2),
        s.parallel(dense(0.7, 0.2), s.serial(dense(), s.Erf(), dense())),
        s.FanInSum(),
        s.Relu(),
        dense(),
    ),
    "concatenated": s.serial(
        s.FanOut(2),
        s.parallel(s.serial(s.Dense(1, 1.3, 0.4), s.Relu()), s.serial(s.Dense(1, 0.8, 0.1), s.Erf())),
        s.FanInConcat(-1),
        dense(),
    ),
    "gated": s.serial(
        s.FanOut(2),
        s.parallel(s.serial(dense(), s.Sigmoid_like()), s.serial(dense(), s.Relu())),
        s.FanInProd(),
        dense(),
    ),
}
SEQUENCES = {
    "rowwise_mean": rowwise(s.GlobalAvgPool(), dense()),
    "rowwise_sum": rowwise(s.GlobalSumPool(), dense()),
    "rowwise_flatten": rowwise(s.Flatten(), dense()),
    "rowwise_select": rowwise(s.Index(s.Slice[:, 2]), dense()),
}


def inputs():
    """Vectors and sequences of unequal norms, with a repeated, an antipodal and a nearly equal sample."""
    rng = np.random.default_rng(0)
    x1, x2 = rng.normal(size=(4, 6)) * np.array([[0.5], [1], [2], [1]]), rng.normal(size=(5, 6))
    x2[0], x2[1], x2[2] = x1[0], -x1[1], x1[2] * (1 + 1e-3)
    return {"x1": x1, "x2": x2, "s1": rng.normal(size=(3, 5, 6)), "s2": rng.normal(size=(4, 5, 6))}


def main(path):
    """Compute every kernel and write them with their inputs."""
    out = inputs()
    for nets, a, b in ((VECTORS, out["x1"], out["x2"]), (SEQUENCES, out["s1"], out["s2"])):
        for name, net in nets.items():
            kernel = net[2](a, b, ("nngp", "ntk"))
            out[f"{name}/nngp"], out[f"{name}/ntk"] = np.asarray(kernel.nngp), np.asarray(kernel.ntk)
    np.savez_compressed(path, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
