"""The enumerations of the peer."""

from __future__ import annotations

import enum


class Padding(enum.Enum):
    """Padding of convolutions and pooling."""

    CIRCULAR = "CIRCULAR"
    SAME = "SAME"
    VALID = "VALID"


class AggregateImplementation(enum.Enum):
    """The form of the pattern of an `Aggregate` layer: an adjacency matrix, or edges."""

    DENSE = "DENSE"
    SPARSE = "SPARSE"


class PositionalEmbedding(enum.Enum):
    """How positional embeddings join the input of `GlobalSelfAttention`."""

    NONE = "NONE"
    SUM = "SUM"
    CONCAT = "CONCAT"


class AttentionMechanism(enum.Enum):
    """What `GlobalSelfAttention` makes of its scores."""

    SOFTMAX = "SOFTMAX"
    IDENTITY = "IDENTITY"
    ABS = "ABS"
    RELU = "RELU"
