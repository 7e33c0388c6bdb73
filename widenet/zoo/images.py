"""Convolutional networks for images `[n, height, width, channels]`."""

from __future__ import annotations

from typing import Any

from widenet.activations import gelu, relu
from widenet.activations.activation import Activation
from widenet.layers.combine import residual as skip
from widenet.layers.convolution import conv, conv_depthwise
from widenet.layers.dense import dense
from widenet.layers.layer import serial
from widenet.layers.normalization import layer_norm
from widenet.layers.pooling import average_pool
from widenet.layers.positions import flatten, position_mean
from widenet.layers.repeat import repeat
from widenet.program.trace import Net
from widenet.program.var import Var, shape_text
from widenet.zoo.plain import SQRT_2

MYRTLE = {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}  # convolutions before each pool


def lenet(activation: Activation = relu, *, window: int = 5, sigma_w: Any = SQRT_2, sigma_b: Any = 0.0) -> Net:
    """LeNet-5: two convolutions, each before a pool of 2, two hidden dense layers, a readout.

    The first convolution keeps the image's size, the second does not; window=3 suits images below 12 x 12.
    Raises: ValueError for images smaller than 2 (window + 1).
    Source: lecun1998, sec. II.B, where the activation is a scaled tanh.
    """
    layer = dense(sigma_w=sigma_w, sigma_b=sigma_b)

    def stage(padding: str) -> Net:
        return serial(conv(window=window, sigma_w=sigma_w, sigma_b=sigma_b, padding=padding), activation, pool())

    def check(x: Var) -> Var:
        if min(images("lenet")(x).positions) < 2 * (window + 1):
            size = f"{2 * (window + 1)} x {2 * (window + 1)}"
            raise ValueError(
                f"lenet with window={window} reads images of {size} or more; got {shape_text(x)}: try window=3."
            )
        return x

    return serial(check, stage("SAME"), stage("VALID"), flatten(), *[layer, activation] * 2, layer)


def myrtle(activation: Activation = relu, depth: int = 5, *, sigma_w: Any = SQRT_2, sigma_b: Any = 0.0) -> Net:
    """Myrtle-5, -7 or -10: 3 x 3 convolutions in three groups, pools of 2 between them, a global pool, a readout.

    Raises: ValueError for another depth.
    Source: shankar2020, fig. 2.
    """
    if depth not in MYRTLE:
        raise ValueError(f"myrtle has depth {', '.join(map(str, MYRTLE))} (convolutions and readout); got {depth}.")
    layer = serial(conv(window=3, sigma_w=sigma_w, sigma_b=sigma_b), activation)
    first, second, third = (serial(*[layer] * times) for times in MYRTLE[depth])
    readout = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    return serial(images("myrtle"), first, pool(), second, pool(), third, position_mean(), readout)


def wide_resnet(activation: Activation = relu, depth: int = 28, *, sigma_w: Any = 1.0, sigma_b: Any = 0.0) -> Net:
    """WRN-depth-k without batch norm; the factor k, of the width, does not matter at infinite width.

    A convolution, three groups of (depth - 4) / 6 blocks x + conv(phi(conv(phi(x)))), a global pool, a readout.  The
    first block of a group has conv(x) for x, and in the last two groups both with stride 2.
    Raises: ValueError unless depth is 6 k + 4.
    Source: zagoruyko2016, table 1; the 3 x 3 shortcuts of x before its activation are those of novak2020.
    """
    blocks = _blocks("wide_resnet", depth, 4)
    layer = _conv3(sigma_w, sigma_b)

    def branch(stride: int) -> Net:
        return serial(activation, layer(stride), activation, layer(1))

    def group(stride: int) -> Net:
        def first(x: Var) -> Var:
            return branch(stride)(x) + layer(stride)(x)

        return serial(first, repeat(skip(branch(1)), blocks - 1))

    readout = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    return serial(images("wide_resnet"), layer(1), *map(group, (1, 2, 2)), position_mean(), readout)


def resnet(activation: Activation = relu, depth: int = 20, *, sigma_w: Any = 1.0, sigma_b: Any = 0.0) -> Net:
    """ResNet-depth for small images, pre-activation, without batch norm.

    A convolution, three groups of (depth - 2) / 6 blocks x + conv(phi(conv(phi(x)))), an activation, a global pool, a
    readout.  The last two groups begin with stride 2, and with a 1 x 1 convolution of phi(x) for x.
    Raises: ValueError unless depth is 6 k + 2.
    Source: he2016, sec. 4.2; he2016identity, fig. 4(e).
    """
    blocks = _blocks("resnet", depth, 2)
    layer = _conv3(sigma_w, sigma_b)

    def down(x: Var) -> Var:
        z = activation(x)
        shortcut = conv(z, 1, sigma_w, sigma_b, stride=2)
        return shortcut + serial(layer(2), activation, layer(1))(z)

    same = skip(serial(activation, layer(1), activation, layer(1)))
    groups = [repeat(same, blocks), down, repeat(same, blocks - 1), down, repeat(same, blocks - 1)]
    readout = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    return serial(images("resnet"), layer(1), *groups, activation, position_mean(), readout)


def convnext(
    activation: Activation = gelu,
    depth: int = 18,
    *,
    patch: int = 4,
    window: int = 7,
    sigma_w: Any = 1.0,
    sigma_b: Any = 0.0,
) -> Net:
    """The isotropic ConvNeXt: patches, `depth` blocks, a global pool, a layer norm, a readout.

    A block is x + dense(phi(dense(norm(depthwise conv(x))))).
    Source: liu2022, sec. 2 and 3.3.
    """
    layer = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    depthwise = conv_depthwise(window=window, sigma_w=sigma_w, sigma_b=sigma_b)
    block = skip(serial(depthwise, layer_norm(), layer, activation, layer))
    stem = patches("convnext", patch, sigma_w, sigma_b)
    return serial(stem, repeat(block, depth), position_mean(), layer_norm(), layer)


def patches(name: str, size: int, sigma_w: Any, sigma_b: Any) -> Net:
    """One dense layer of every `size` x `size` square of an image; what is left over at the edges is not read."""
    return serial(images(name), conv(window=size, stride=size, sigma_w=sigma_w, sigma_b=sigma_b, padding="VALID"))


def pool() -> Net:
    """The mean over squares of 2 x 2."""
    return average_pool(window=2)


def images(name: str) -> Net:
    """Its argument, if that is images; else a ValueError that says how to make it so."""

    def check(x: Var) -> Var:
        if len(x.positions) != 2:
            raise ValueError(
                f"{name} reads images [batch, height, width, channels], but was given {shape_text(x)}: reshape the "
                "data; gray images have one channel, x[..., None]."
            )
        return x

    return check


def _conv3(sigma_w: Any, sigma_b: Any) -> Any:
    return lambda stride: conv(window=3, sigma_w=sigma_w, sigma_b=sigma_b, stride=stride)


def _blocks(name: str, depth: int, rest: int) -> int:
    """The blocks in each of three groups, of two layers each."""
    blocks = max(round((depth - rest) / 6), 1)
    if 6 * blocks + rest != depth:
        raise ValueError(
            f"the depth of {name} is 6 k + {rest}, k blocks a group; got {depth}: try {6 * blocks + rest}."
        )
    return blocks
