"""Make zoo.npz: kernels by neural-tangents 0.6.5 of the networks of the zoo that it can express.

Run in an environment of its own (jax 0.4.25, neural-tangents 0.6.5, tensorflow stubbed) as
    PYTHONPATH=. python tests/golden/make_zoo.py tests/golden/zoo.npz
What it lacks has the kernel of something that it has: a depthwise convolution that of a convolution before the next
dense layer, a position table that of a dense layer on one-hot positions, a given operator that of its pattern.
"""

import sys

from tests.golden.make_architectures import pair, s  # its import stubs tensorflow, and asks for float64

import numpy as np  # isort: skip

SQRT_2 = np.sqrt(2)


def conv3(stride=1, sigma_w=1.0, sigma_b=None):
    return s.Conv(1, (3, 3), (stride, stride), "SAME", sigma_w, sigma_b)


def add(*branches):
    return s.serial(s.FanOut(len(branches)), s.parallel(*branches), s.FanInSum())


def skip(*branch):
    return add(s.serial(*branch), s.Identity())


def mlp():
    return s.serial(s.Flatten(), *[s.Dense(1, SQRT_2, 0.1), s.Relu()] * 3, s.Dense(1, SQRT_2, 0.1))


def residual(depth=4, scale=0.7):
    branch = s.serial(s.Relu(), s.Dense(1, 1.2 * scale / np.sqrt(depth), 0.1 * scale / np.sqrt(depth)))
    first = s.serial(s.Flatten(), s.Dense(1, 1.2, 0.1))
    return s.serial(first, *[skip(branch)] * depth, s.Relu(), s.Dense(1, 1.2))


def lenet():
    def stage(padding):
        return s.serial(s.Conv(1, (3, 3), padding=padding, W_std=SQRT_2), s.Relu(), s.AvgPool((2, 2), (2, 2)))

    dense = s.Dense(1, SQRT_2)
    return s.serial(stage("SAME"), stage("VALID"), s.Flatten(), *[dense, s.Relu()] * 2, dense)


def wide_resnet(blocks):
    def branch(stride):
        return s.serial(s.Relu(), conv3(stride), s.Relu(), conv3())

    def group(stride):
        return s.serial(add(branch(stride), conv3(stride)), *[skip(branch(1))] * (blocks - 1))

    return s.serial(conv3(), *map(group, (1, 2, 2)), s.GlobalAvgPool(), s.Dense(1))


def resnet(blocks):
    same = skip(s.Relu(), conv3(), s.Relu(), conv3())
    shortcut = s.Conv(1, (1, 1), (2, 2), "SAME")
    down = s.serial(s.Relu(), add(s.serial(conv3(2), s.Relu(), conv3()), shortcut))
    groups = [*[same] * blocks, *[down, *[same] * (blocks - 1)] * 2]
    return s.serial(conv3(), *groups, s.Relu(), s.GlobalAvgPool(), s.Dense(1))


def convnext(depth):
    block = skip(s.Conv(1, (5, 5), padding="SAME"), s.LayerNorm(), s.Dense(1), s.Gelu(), s.Dense(1))
    return s.serial(patches(), *[block] * depth, s.GlobalAvgPool(), s.LayerNorm(), s.Dense(1))


def patches(sigma_w=1.0, sigma_b=None):
    return s.Conv(1, (2, 2), (2, 2), "VALID", sigma_w, sigma_b)


def vit(depth):
    stds = {"W_query_std": 1.5, "W_value_std": 1.2, "W_out_std": 1.2, "b_std": 0.1}
    attention, dense = s.GlobalSelfAttention(1, 1, 1, 1, linear_scaling=True, **stds), s.Dense(1, 1.2, 0.1)
    blocks = [skip(s.LayerNorm(), attention), skip(s.LayerNorm(), dense, s.Gelu(), dense)] * depth
    places = s.Dense(1, 4.0)  # of one-hot places: 4 / sqrt(16) = 1
    stem = s.serial(s.parallel(patches(1.2, 0.1), places), s.FanInSum())
    return s.serial(stem, *blocks, s.LayerNorm(), s.GlobalAvgPool(), dense)


def gcn(depth):
    layer = s.serial(s.Aggregate(), s.Dense(1, SQRT_2), s.Relu())
    return s.serial(*[layer] * depth, s.GlobalAvgPool(), s.Dense(1, SQRT_2))


def gin(depth):
    layer = s.serial(s.Aggregate(), *[s.Dense(1, SQRT_2), s.Relu()] * 2)
    return s.serial(*[layer] * depth, s.GlobalSumPool(), s.Dense(1, SQRT_2))


NETS = {
    "mlp": mlp(),
    "residual": residual(),
    "lenet": lenet(),
    "wide_resnet": wide_resnet(2),
    "resnet": resnet(2),
    "convnext": convnext(3),
}
GRAPHS = {"gcn": gcn(3), "gin": gin(2)}


def main(path):
    """Compute every kernel and write them with their inputs."""
    rng = np.random.default_rng(2)
    out = dict(zip(("images1", "images2"), pair(rng, 8, 8, 3), strict=True))
    out |= dict(zip(("nodes1", "nodes2"), pair(rng, 5, 4), strict=True))
    out |= {f"graph{i}": rng.uniform(size=(n, 5, 5)) for i, n in ((1, 3), (2, 4))}
    images, nodes = ((out[f"{kind}1"], out[f"{kind}2"]) for kind in ("images", "nodes"))
    pattern = tuple(out[f"graph{i}"].swapaxes(1, 2) for i in (1, 2))  # the peer adds up over its first index
    made = {name: net[2](*images, ("nngp", "ntk")) for name, net in NETS.items()}
    made |= {name: net[2](*nodes, ("nngp", "ntk"), pattern=pattern) for name, net in GRAPHS.items()}
    placed = [(x, np.broadcast_to(np.eye(16).reshape(4, 4, 16), (len(x), 4, 4, 16))) for x in images]
    made["vit"] = vit(2)[2](*placed, ("nngp", "ntk"))
    for name, kernel in made.items():
        out[f"{name}/nngp"], out[f"{name}/ntk"] = np.asarray(kernel.nngp), np.asarray(kernel.ntk)
    np.savez_compressed(path, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
