"""Make golden.npz: what neural-tangents 0.6.5 computes for the networks of nets.py.

Run in an environment of its own (jax 0.4.25, neural-tangents 0.6.5, tensorflow stubbed), in tests/compat:
    python make_golden.py golden.npz
"""

import sys
import types
import warnings
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
warnings.simplefilter("ignore")

import jax.numpy as jnp  # noqa: E402
import nets  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402
from neural_tangents import stax as s  # noqa: E402

MASKED = 100.0


def kernels(out):
    """NNGP and NTK of all networks."""
    x = {k: jnp.asarray(v) for k, v in out.items()}
    runs = [(name, net, x["s1"], None if name == "dropout" else x["s2"], {}) for name, net in nets.sequences(s).items()]
    runs += [(name, net, x["v1"], x["v2"], {}) for name, net in nets.vectors(s).items()]
    for name, (net, graph) in nets.images(s).items():
        runs += [(name, net, x["i1"], x["i2"], {"pattern": (x[graph + "1"], x[graph + "2"])} if graph else {})]
    for name, net, x1, x2, options in runs:
        if name == "channels_first":
            x1, x2 = (jnp.moveaxis(v, -1, 1) for v in (x1, x2))
        made = net[2](x1, x2, ("nngp", "ntk"), **options)
        yield from ((f"{name}/{q}", getattr(made, q)) for q in ("nngp", "ntk"))


def masks(out):
    """Kernels of sequences of different lengths, and all fields of a kernel."""
    x1, x2 = (np.where(out["m" + i][..., None], out["s" + i], MASKED) for i in "12")
    net = s.serial(s.Conv(4, (3,), b_std=0.3), s.Erf(), s.Conv(4, (2,), (2,), b_std=0.2), s.Relu(), s.GlobalSumPool())
    made = net[2](jnp.asarray(x1), jnp.asarray(x2), ("nngp", "ntk"), mask_constant=MASKED)
    yield from ((f"masked_valid/{q}", getattr(made, q)) for q in ("nngp", "ntk"))
    plain = s.serial(s.Conv(4, (3,), b_std=0.3), s.Relu())[2](jnp.asarray(out["s1"]), jnp.asarray(out["s2"]))
    yield from ((f"fields/{q}", getattr(plain, q)) for q in ("nngp", "ntk", "cov1", "cov2"))
    two = s.serial(s.parallel(s.Dense(4, 1.2), s.Dense(4, 0.8, 0.1)), s.FanInSum(), s.Relu(), s.Dense(1))
    yield "two_inputs/ntk", two[2]((out["v1"], out["v1"][:, :3]), (out["v2"], out["v2"][:, :3]), "ntk")


def outputs(out):
    """Outputs of finite networks, their parameters, and their kernels."""
    for name, (init_fn, apply_fn, _) in nets.finite(s).items():
        _, params = init_fn(jax.random.PRNGKey(0), out["f"].shape)
        yield f"{name}/out", apply_fn(params, out["f"])
        for axes in ((-1,), ()):
            yield f"{name}/ntk{len(axes)}", nt.empirical_ntk_fn(apply_fn, trace_axes=axes)(out["f"], None, params)
        for i, (w, b) in enumerate(p for p in params if p != ()):
            yield f"{name}/w{i}", w
            yield f"{name}/b{i}", np.zeros(0) if b is None else b


def predictions(out):
    """Means and covariances of trained networks."""
    x, y, t = (jnp.asarray(out[k]) for k in "xyt")
    kernel_fn = s.serial(s.Dense(8, 1.3, 0.4), s.Relu(), s.Dense(1))[2]
    ensemble = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x, y, 0.5, 1e-3)
    for when, steps in (("end", None), ("times", jnp.asarray([[0.0, 1.0], [10.0, 1e4]]))):
        for where, test in (("test", t), ("train", None)):
            made = ensemble(steps, test, compute_cov=True)
            for mode in ("nngp", "ntk"):
                yield f"ensemble/{when}/{where}/{mode}/mean", getattr(made, mode).mean
                yield f"ensemble/{when}/{where}/{mode}/cov", getattr(made, mode).covariance
    k = [kernel_fn(*pair, ("nngp", "ntk")) for pair in ((x, None), (t, x), (t, None))]
    made = nt.predict.gp_inference(k[0], y, 1e-2, True)(("nngp", "ntk", "ntkgp"), k[1], k[2])
    for mode in made._fields:
        yield f"gp/{mode}/mean", getattr(made, mode).mean
        yield f"gp/{mode}/cov", getattr(made, mode).covariance
    start = 0.1 * y, 0.2 * jnp.ones((4, 2))
    times = jnp.asarray([1.0, 7.0])
    for when in (None, times):
        made = nt.predict.gradient_descent_mse(k[0].ntk, y, 0.3)(when, *start, k[1].ntk)
        yield f"mse/{'end' if when is None else 'times'}/train", made[0]
        yield f"mse/{'end' if when is None else 'times'}/test", made[1]

    def cross_entropy(fx, y):
        return -jnp.mean(jax.nn.log_softmax(fx) * y)

    for name, momentum in (("plain", None), ("momentum", 0.9)):
        made = nt.predict.gradient_descent(cross_entropy, k[0].ntk, y, 0.3, momentum)(times, *start, k[1].ntk)
        yield f"descent/{name}/train", made[0]
        yield f"descent/{name}/test", made[1]
    yield "max_learning_rate", nt.predict.max_learning_rate(k[0].ntk, 12, 0.9)


def main(path):
    """Compute everything and write it with the data."""
    out = nets.inputs()
    for part in (kernels, masks, outputs, predictions):
        out |= {name: np.asarray(value) for name, value in part(out)}
    np.savez_compressed(path, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
