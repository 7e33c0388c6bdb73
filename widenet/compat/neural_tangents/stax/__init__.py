"""Layers of infinite and finite networks: triples `(init_fn, apply_fn, kernel_fn)`, as `neural_tangents.stax` has them.

Beside the peer's names there is `from_net`, which makes a layer of any architecture of widenet.
"""

from widenet.compat.neural_tangents.stax.attention import GlobalSelfAttention
from widenet.compat.neural_tangents.stax.combinators import (
    FanInConcat,
    FanInProd,
    FanInSum,
    FanOut,
    Identity,
    parallel,
    repeat,
    serial,
)
from widenet.compat.neural_tangents.stax.custom import layer, requires, supports_masking
from widenet.compat.neural_tangents.stax.diagonal import Bool, Diagonal
from widenet.compat.neural_tangents.stax.elementwise import (
    ABRelu,
    Abs,
    Cos,
    Elementwise,
    ElementwiseNumerical,
    Erf,
    Exp,
    ExpNormalized,
    Gabor,
    Gaussian,
    Gelu,
    Hermite,
    LeakyRelu,
    Monomial,
    Polynomial,
    Rbf,
    RectifiedMonomial,
    Relu,
    Sigmoid_like,
    Sign,
    Sin,
)
from widenet.compat.neural_tangents.stax.enums import (
    AggregateImplementation,
    AttentionMechanism,
    Padding,
    PositionalEmbedding,
)
from widenet.compat.neural_tangents.stax.linear import Conv, ConvLocal, ConvTranspose, Dense
from widenet.compat.neural_tangents.stax.masked_array import MaskedArray, unmask_fn
from widenet.compat.neural_tangents.stax.normalization import Dropout, LayerNorm
from widenet.compat.neural_tangents.stax.pooling import (
    AvgPool,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    ImageResize,
    SumPool,
)
from widenet.compat.neural_tangents.stax.positions import Aggregate, DotGeneral, Index, Slice
from widenet.compat.neural_tangents.stax.triple import from_net

__all__ = [
    "serial",
    "parallel",
    "repeat",
    "FanOut",
    "FanInSum",
    "FanInProd",
    "FanInConcat",
    "Identity",
    "from_net",
    "Dense",
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "GlobalSelfAttention",
    "LayerNorm",
    "Dropout",
    "AvgPool",
    "SumPool",
    "GlobalAvgPool",
    "GlobalSumPool",
    "Flatten",
    "ImageResize",
    "Aggregate",
    "DotGeneral",
    "Index",
    "Slice",
    "Abs",
    "ABRelu",
    "Cos",
    "Elementwise",
    "ElementwiseNumerical",
    "Erf",
    "Exp",
    "ExpNormalized",
    "Gabor",
    "Gaussian",
    "Gelu",
    "Hermite",
    "LeakyRelu",
    "Monomial",
    "Polynomial",
    "Rbf",
    "RectifiedMonomial",
    "Relu",
    "Sigmoid_like",
    "Sign",
    "Sin",
    "AggregateImplementation",
    "AttentionMechanism",
    "Padding",
    "PositionalEmbedding",
    "Bool",
    "Diagonal",
    "MaskedArray",
    "layer",
    "requires",
    "supports_masking",
    "unmask_fn",
]
