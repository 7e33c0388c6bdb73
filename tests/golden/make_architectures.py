"""Make architectures.npz: kernels by neural-tangents 0.6.5 of networks whose inputs have positions.

Run in an environment of its own (jax 0.4.25, neural-tangents 0.6.5, tensorflow stubbed):
    python tests/golden/make_architectures.py tests/golden/architectures.npz
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

MASKED = 100.0


def dense():
    return s.Dense(1, 1.3, 0.2)


def conv(size=(3,), strides=None, padding="SAME", kind=s.Conv):
    return kind(1, size, strides, padding, 1.4, 0.2)


def local():
    return conv(padding="VALID", kind=s.ConvLocal)


def transpose(padding):
    return conv(strides=(2,), padding=padding, kind=s.ConvTranspose)


def attention(**options):
    stds = {"W_key_std": 1.2, "W_value_std": 0.9, "W_query_std": 0.8, "W_out_std": 1.1, "b_std": 0.2}
    return s.GlobalSelfAttention(1, 1, 1, 1, **stds, **options)


def pooled(pool):
    return s.serial(conv(), s.Relu(), pool, conv(), s.Relu(), s.Flatten())


def skip(*branch):
    return s.serial(s.FanOut(2), s.parallel(s.serial(*branch), s.Identity()), s.FanInSum())


def myrtle(depth):
    """Shankar et al. 2020 as in the peer's notebook, less the two last of its five pools (its images are 32x32)."""
    layers = []
    for repeats in {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}[depth]:
        layers += [s.Conv(1, (3, 3), padding="SAME", W_std=np.sqrt(2), b_std=0.0), s.Relu()] * repeats
        layers += [s.AvgPool((2, 2), strides=(2, 2))]
    return s.serial(*layers, s.Flatten(), s.Dense(10, np.sqrt(2), 0.0))


def wide_resnet_block(strides):
    """Return the only block of a group, so its shortcut is a convolution: W_std 1 and no bias, as in the README."""
    main = s.serial(s.Relu(), s.Conv(1, (3, 3), strides, "SAME"), s.Relu(), s.Conv(1, (3, 3), padding="SAME"))
    return s.serial(s.FanOut(2), s.parallel(main, s.Conv(1, (3, 3), strides, "SAME")), s.FanInSum())


SEQUENCES = {
    "conv1d_same_flatten": s.serial(conv(), s.Relu(), conv(), s.Relu(), s.Flatten(), dense()),
    "conv1d_valid_pool": s.serial(conv(padding="VALID"), s.Relu(), conv(padding="VALID"), s.Relu(), s.GlobalAvgPool()),
    "conv1d_circular_pool": s.serial(
        conv(padding="CIRCULAR"), s.Relu(), conv(padding="CIRCULAR"), s.Relu(), s.GlobalAvgPool(), dense()
    ),
    "conv1d_stride2_flatten": s.serial(conv(strides=(2,)), s.Relu(), conv(strides=(2,)), s.Relu(), s.Flatten()),
    "conv1d_local_flatten": s.serial(local(), s.Relu(), local(), s.Flatten()),
    "conv1d_local_pool": s.serial(local(), s.Relu(), local(), s.Relu(), s.GlobalAvgPool()),
    "conv1d_transpose_same_pool": s.serial(transpose("SAME"), s.Relu(), transpose("SAME"), s.Relu(), s.GlobalAvgPool()),
    "conv1d_transpose_valid_flatten": s.serial(transpose("VALID"), s.Relu(), transpose("VALID"), s.Relu(), s.Flatten()),
    "avg_pool1d": pooled(s.AvgPool((3,), (2,), "VALID")),
    "avg_pool1d_same_edges": pooled(s.AvgPool((3,), (2,), "SAME", normalize_edges=True)),
    "avg_pool1d_same_noedges": pooled(s.AvgPool((3,), (2,), "SAME", normalize_edges=False)),
    "sum_pool1d_circular": pooled(s.SumPool((3,), (2,), "CIRCULAR")),
    "layer_norm1d": s.serial(conv(), s.LayerNorm(-1), s.Relu(), s.Flatten()),
    "layer_norm_positions": s.serial(conv(), s.LayerNorm((1, 2)), s.Relu(), s.Flatten()),
    "attention_linear": s.serial(conv(), attention(linear_scaling=True), s.GlobalAvgPool()),
    "attention_identity_sqrt": s.serial(
        conv(), attention(linear_scaling=False, attention_mechanism="IDENTITY"), s.GlobalAvgPool()
    ),
    "attention_pos_sum": s.serial(
        conv(), attention(linear_scaling=True, pos_emb_type="SUM", W_pos_emb_std=0.7), s.GlobalAvgPool()
    ),
    "resize1d_linear": pooled(s.ImageResize((-1, 12, -1), "linear")),
    "resize1d_nearest": pooled(s.ImageResize((-1, 12, -1), "nearest")),
}
GRAPHS = {
    "graph_aggregate": s.serial(dense(), s.Aggregate(), s.Relu(), dense(), s.Aggregate(), s.GlobalAvgPool()),
}
MASKS = {
    "masked_conv": s.serial(dense(), s.Relu(), conv(), s.Relu(), s.GlobalAvgPool()),
    "masked_attention": s.serial(dense(), s.Relu(), attention(linear_scaling=True), s.GlobalAvgPool()),
}
IMAGES = {
    "conv2d_same_pool": s.serial(conv((3, 3)), s.Relu(), conv((3, 3)), s.Relu(), s.GlobalAvgPool()),
    "conv2d_valid_flatten": s.serial(
        conv((3, 3), padding="VALID"), s.Relu(), conv((3, 3), padding="VALID"), s.Relu(), s.Flatten()
    ),
    "conv2d_rect": s.serial(conv((3, 2), (2, 1)), s.Relu(), conv((3, 2), (2, 1)), s.Relu(), s.GlobalAvgPool()),
    "conv2d_erf_pool": s.serial(conv((3, 3)), s.Erf(), conv((3, 3)), s.Erf(), s.GlobalAvgPool()),
    "lenet": s.serial(
        *(conv((5, 5)), s.Relu(), s.AvgPool((2, 2), (2, 2))),
        *(conv((3, 3), padding="VALID"), s.Relu(), s.AvgPool((2, 2), (2, 2))),
        *(s.Flatten(), dense(), s.Relu(), dense()),
    ),
    "myrtle5": myrtle(5),
    "myrtle7": myrtle(7),
    "myrtle10": myrtle(10),
    "wide_resnet": s.serial(
        s.Conv(16, (3, 3), padding="SAME"),
        *(wide_resnet_block(strides) for strides in ((1, 1), (2, 2), (2, 2))),
        *(s.AvgPool((2, 2)), s.Flatten(), s.Dense(10, 1.0, 0.0)),
    ),
    "resnet_preact": s.serial(
        conv((3, 3)),
        *[skip(s.Relu(), conv((3, 3)), s.Relu(), conv((3, 3)))] * 3,
        *(s.Relu(), s.GlobalAvgPool(), dense()),
    ),
}
VOLUMES = {"conv3d_pool": s.serial(conv((3, 3, 3)), s.Relu(), conv((3, 3, 3)), s.Relu(), s.GlobalAvgPool())}
POSITIONS = s.serial(conv(), s.Relu(), conv())


def pair(rng, *shape):
    """Return 3 and 4 samples of unequal norms, with a repeated and an antipodal one."""
    ones = (1,) * len(shape)
    x1 = rng.normal(size=(3, *shape)) * np.reshape([0.5, 1, 2], (3, *ones))
    x2 = rng.normal(size=(4, *shape)) * np.reshape([1, 1, 0.7, 1.5], (4, *ones))
    x2[0], x2[1] = x1[0], -x1[1]
    return x1, x2


def inputs():
    """Sequences, images and volumes, with weighted graphs and masks (True where kept) for the sequences."""
    rng = np.random.default_rng(1)
    out = {}
    for kind, shape in (("c", (7, 3)), ("i", (8, 8, 3)), ("v", (4, 4, 4, 2))):
        out[f"{kind}1"], out[f"{kind}2"] = pair(rng, *shape)
    for name, n in (("g1", 3), ("g2", 4)):
        edges = rng.uniform(size=(n, 7, 7)) * (rng.uniform(size=(n, 7, 7)) < 0.6) + 0.1 * np.eye(7)
        out[name] = edges / edges.sum(-1, keepdims=True)
    for name, lengths in (("m1", [7, 5, 3]), ("m2", [7, 5, 2, 6])):
        out[name] = np.arange(7) < np.array(lengths)[:, None]
    return out


def main(path):
    """Compute every kernel and write them with their inputs."""
    out = inputs()
    sequences, images, volumes = (out["c1"], out["c2"]), (out["i1"], out["i2"]), (out["v1"], out["v2"])
    masked = tuple(np.where(out[f"m{j}"][..., None], out[f"c{j}"], MASKED) for j in (1, 2))
    for nets, x, options in (
        (SEQUENCES, sequences, {}),
        (GRAPHS, sequences, {"pattern": (out["g1"], out["g2"])}),
        (MASKS, masked, {"mask_constant": MASKED}),
        (IMAGES, images, {}),
        (VOLUMES, volumes, {}),
        ({"positions_all": POSITIONS}, sequences, {}),
        ({"positions_equal": POSITIONS}, sequences, {"diagonal_spatial": True}),
    ):
        for name, net in nets.items():
            kernel = net[2](*x, ("nngp", "ntk"), **options)
            out[f"{name}/nngp"], out[f"{name}/ntk"] = np.asarray(kernel.nngp), np.asarray(kernel.ntk)
    np.savez_compressed(path, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
