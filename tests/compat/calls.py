"""Calls of the peer's interface: make_golden.py makes them on the peer, the tests on ours, with the same data.

Each is `nt, x -> {name: value}`, where x are the arrays of `nets.inputs`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.compat import nets

MASKED = 100.0
BOTH = ("nngp", "ntk")
FIELDS = ("nngp", "ntk", "cov1", "cov2", "x1_is_x2")
STATIC = ("is_gaussian", "diagonal_batch", "diagonal_spatial", "shape1", "shape2", "batch_axis", "channel_axis")


def of_nets(make, start, end):
    """One call for each network of a catalogue: both kernels between the batches x1 and x2."""

    def call(name):
        def both(nt, x):
            net, graph = made if type(made := make(nt.stax)[name]) is tuple and len(made) == 2 else (made, "")
            x1, x2 = x[start], x[end]
            if name == "channels_first":
                x1, x2 = (jnp.moveaxis(v, -1, 1) for v in (x1, x2))
            options = {"pattern": (x[graph + "1"], x[graph + "2"])} if graph else {}
            return net[2](x1, None if name == "dropout" else x2, BOTH, **options)._asdict()

        return both

    return call


def fields(kernel):
    """All of a kernel object, with its positions in their natural order."""
    kernel = kernel.reverse() if kernel.is_reversed else kernel
    values = {name: getattr(kernel, name) for name in FIELDS + STATIC}
    return {name: value for name, value in values.items() if value is not None}


def conv_relu(nt):
    return nt.stax.serial(nt.stax.Conv(4, (2, 3), b_std=0.3), nt.stax.Relu())


def fields_of_positions(nt, x):
    return fields(conv_relu(nt)[2](x["i1"], x["i2"]))


def fields_of_one_batch(nt, x):
    return fields(conv_relu(nt)[2](x["i1"]))


def fields_of_equal_positions(nt, x):
    return fields(conv_relu(nt)[2](x["i1"], x["i2"], diagonal_spatial=True))


def fields_of_all_samples(nt, x):
    return fields(conv_relu(nt)[2](x["i1"], x["i2"], diagonal_batch=False))


def fields_of_flattened(nt, x):
    net = nt.stax.serial(conv_relu(nt), nt.stax.Conv(4, (2, 2)), nt.stax.Flatten(), nt.stax.Dense(3))
    return fields(net[2](x["i1"], x["i2"]))


def continued(nt, x):
    """A network of kernels after a network of data."""
    s = nt.stax
    after = s.serial(s.Conv(5, (2, 2), b_std=0.1), s.Erf(), s.GlobalAvgPool(), s.Dense(3))
    return fields(after[2](conv_relu(nt)[2](x["i1"], x["i2"])))


def continued_vectors(nt, x):
    s = nt.stax
    after = s.serial(s.Dense(5, 1.2, 0.1), s.FanOut(2), s.parallel(s.Erf(), s.Abs()), s.FanInConcat(), s.Dense(2))
    return fields(after[2](s.serial(s.Dense(3), s.Relu())[2](x["v1"])))


def arithmetic(nt, x):
    kernel = nt.stax.Conv(4, (2,))[2](x["s1"], x["s2"])
    parts = {"times": 3.0 * kernel, "plus": kernel + 2.0, "over": kernel / 2.0, "minus": -kernel}
    parts["slice"] = kernel.slice(slice(0, 1), slice(1, 2))
    parts["index"] = nt.stax.Dense(4)[2](x["i1"], x["i2"], diagonal_spatial=True)[:, 1, ::2]
    return {f"{name}_{q}": getattr(part, q) for name, part in parts.items() for q in ("nngp", "ntk", "cov1", "cov2")}


def masked_valid(nt, x):
    """Sequences of different lengths, through windows that change the number of positions."""
    s = nt.stax
    net = s.serial(s.Conv(4, (3,), b_std=0.3), s.Erf(), s.Conv(4, (2,), (2,), b_std=0.2), s.Relu(), s.GlobalSumPool())
    x1, x2 = (jnp.where(x[f"m{i}"][..., None], x[f"s{i}"], MASKED) for i in (1, 2))
    return net[2](x1, x2, BOTH, mask_constant=MASKED)._asdict()


def two_inputs(nt, x):
    s = nt.stax
    net = s.serial(s.parallel(s.Dense(4, 1.2), s.Dense(4, 0.8, 0.1)), s.FanInSum(), s.Relu(), s.Dense(1))
    return {"ntk": net[2]((x["v1"], x["v1"][:, :3]), (x["v2"], x["v2"][:, :3]), "ntk")}


def two_outputs(nt, x):
    s = nt.stax
    net = s.serial(s.Dense(4, 1.2), s.Relu(), s.FanOut(2), s.parallel(s.Dense(4), s.Identity()))
    one, two = net[2](x["v1"], x["v2"], BOTH)
    return {"first": one.ntk, "second": two.nngp}


def hermite(nt, x):
    """Of inputs of variance one, for which alone the peer's is right."""
    x1, x2 = (v / jnp.sqrt(jnp.mean(v**2, axis=1, keepdims=True)) for v in (x["v1"], x["v2"]))
    s = nt.stax
    return s.serial(s.Dense(4), s.Hermite(3), s.Dense(4, 1.2))[2](x1, x2, BOTH)._asdict()


def function(params, x):
    """A network with outputs `[n, 2, 3]` and `[n]`."""
    w1, b1, w2 = params
    hidden = jnp.tanh(x @ w1 + b1)
    return {"grid": (hidden @ w2).reshape(-1, 2, 3), "sum": jnp.sin(hidden).sum(axis=-1)}


def grid(params, x):
    return function(params, x)["grid"]


def empirical(nt, x):
    params, x1, x2 = tuple(x[f"w{i}"] for i in range(3)), x["v1"], x["v2"]
    out = {}
    choices = {"mean": {}, "full": {"trace_axes": ()}, "mixed": {"trace_axes": (1,), "diagonal_axes": (2,)}}
    for name, axes in choices.items():
        out[f"{name}_nngp"] = nt.empirical_nngp_fn(grid, **axes)(x1, x2, params)
        out[f"{name}_ntk"] = nt.empirical_ntk_fn(grid, **axes)(x1, x2, params)
    out["rows"] = nt.empirical_ntk_fn(grid, (1, 2), (0,))(x1, None, params)
    both = nt.empirical_kernel_fn(grid)(x1, x2, BOTH, params)
    out |= {f"both_{q}": getattr(both, q) for q in BOTH}
    tree = nt.empirical_ntk_fn(function, trace_axes=())(x1, x2, params)
    out |= {f"tree_{q}": part for q, part in tree.items()}
    out["product"] = nt.empirical_ntk_vp_fn(grid, x1, x2, params)(jnp.cos(grid(params, x2)))
    return out


def expansions(nt, x):
    params, x1 = tuple(x[f"w{i}"] for i in range(3)), x["v1"]
    moved = tuple(1.3 * w + 0.2 for w in params)
    out = {"linear": nt.linearize(grid, params)(moved, x1)}
    out |= {f"order{k}": nt.taylor_expand(grid, params, k)(moved, x1) for k in (0, 1, 2, 3)}
    return out | {f"tree_{q}": part for q, part in nt.taylor_expand(function, params, 2)(moved, x1).items()}


def regression(nt, x):
    """A kernel function and its kernels of training, test against training, and test samples."""
    s = nt.stax
    kernel_fn = s.serial(s.Dense(8, 1.3, 0.4), s.Relu(), s.Dense(1))[2]
    pairs = (x["x"], None), (x["t"], x["x"]), (x["t"], None)
    return kernel_fn, [kernel_fn(*pair, BOTH) for pair in pairs]


def gaussians(made, prefix=""):
    """Means and covariances of a namedtuple of them."""
    for mode, part in made._asdict().items():
        yield f"{prefix}{mode}_mean", part.mean
        yield f"{prefix}{mode}_cov", part.covariance


def ensemble(nt, x):
    kernel_fn, _ = regression(nt, x)
    predict_fn = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x["x"], x["y"], 0.5, 1e-3)
    out = {}
    for when, steps in (("end", None), ("times", jnp.asarray([[0.0, 1.0], [10.0, 1e4]]))):
        for where, test in (("test", x["t"]), ("train", None)):
            out |= gaussians(predict_fn(steps, test, compute_cov=True), f"{when}_{where}_")
    return out | {"ntk": predict_fn(2.0, x["t"], "ntk"), "end": predict_fn(x_test=x["t"], get="nngp")}


def gp_inference(nt, x):
    _, (train, mixed, test) = regression(nt, x)
    predict_fn = nt.predict.gp_inference(train, x["y"], 1e-2, True)
    out = dict(gaussians(predict_fn((*BOTH, "ntkgp"), mixed, test)))
    alone = nt.predict.gp_inference(train.ntk, x["y"], 1e-2)("ntkgp", mixed.ntk, test.ntk)
    return out | {"train": predict_fn("ntk"), "alone_mean": alone.mean, "alone_cov": alone.covariance}


def mse(nt, x):
    _, (train, mixed, _) = regression(nt, x)
    predict_fn = nt.predict.gradient_descent_mse(train.ntk, x["y"], 0.3, 1e-4)
    start, out = (0.1 * x["y"], 0.2 * jnp.ones((4, 2))), {}
    for when, steps in (("end", None), ("times", jnp.asarray([1.0, 7.0])), ("time", 3.0)):
        out[f"{when}_train"], out[f"{when}_test"] = predict_fn(steps, *start, mixed.ntk)
    out["only_test"] = predict_fn(3.0, None, 0.0, mixed.ntk)
    return out | {"only_train": predict_fn(3.0)}


def mse_of_all_outputs(nt, x):
    """Of one finite network: kernels of all pairs of outputs, and of outputs with two axes."""
    params = tuple(x[f"w{i}"] for i in range(3))
    ntk_fn = nt.empirical_ntk_fn(grid, trace_axes=())
    y, steps = jnp.sin(grid(params, x["x"])), jnp.asarray([2.0, 9.0])
    predict_fn = nt.predict.gradient_descent_mse(ntk_fn(x["x"], None, params), y, 0.3, 0.1, trace_axes=())
    start = grid(params, x["x"]), grid(params, x["t"])
    train, test = predict_fn(steps, *start, ntk_fn(x["t"], x["x"], params))
    return {"train": train, "test": test, "end": predict_fn(None, *start, ntk_fn(x["t"], x["x"], params))[1]}


def cross_entropy(fx, y):
    return -jnp.mean(jax.nn.log_softmax(fx) * y)


def descent(nt, x):
    _, (train, mixed, _) = regression(nt, x)
    start, out = (0.1 * x["y"], 0.2 * jnp.ones((4, 2))), {}
    for name, momentum in (("plain", None), ("momentum", 0.9)):
        predict_fn = nt.predict.gradient_descent(cross_entropy, train.ntk, x["y"], 0.3, momentum)
        out[f"{name}_train"], out[f"{name}_test"] = predict_fn(jnp.asarray([1.0, 7.0]), *start, mixed.ntk)
        state = predict_fn(2.0, nt.predict.ODEState(*start), None, mixed.ntk)
        out[f"{name}_state"] = predict_fn(5.0, state, None, mixed.ntk).fx_test
    return out


def max_learning_rate(nt, x):
    _, (train, _, _) = regression(nt, x)
    rates = {
        "momentum": nt.predict.max_learning_rate(train.ntk, 12, 0.9),
        "plain": nt.predict.max_learning_rate(train.ntk),
    }
    return {name: np.asarray(rate) for name, rate in rates.items()}


SINGLE = (
    *(fields_of_positions, fields_of_one_batch, fields_of_equal_positions, fields_of_all_samples, fields_of_flattened),
    *(continued, continued_vectors, arithmetic, masked_valid, two_inputs, two_outputs, hermite),
    *(empirical, expansions, ensemble, gp_inference, mse, mse_of_all_outputs, descent, max_learning_rate),
)


def calls(s):
    """All calls by name; the module `stax` tells the names of the networks alone."""
    made = {call.__name__: call for call in SINGLE}
    for make, start, end in ((nets.sequences, "s1", "s2"), (nets.vectors, "v1", "v2"), (nets.images, "i1", "i2")):
        made |= {name: of_nets(make, start, end)(name) for name in make(s)}
    return made
