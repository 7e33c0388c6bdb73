"""What a kernel function returns: the container of the peer, and its `get=` protocol."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STATIC = {"static": True, "pytree_node": False}
Get = str | Sequence[str] | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kernel:
    """Covariances of the outputs of a network in the limit, and what is known about them.

    nngp, ntk: `[n1, n2, *positions]`, each position axis once (`diagonal_spatial`) or twice, side by side:
    `[n1, n2, h, h, w, w]`.  ntk is None if it was not asked for.  cov1, cov2: the covariance of the samples of x1, and
    of x2, with themselves, `[n, *positions]` or `[n, n, *positions]` (`diagonal_batch` or not); cov2 is None without
    x2.  shape1, shape2: of the outputs of the finite network.  mask1, mask2: true where an output does not exist.
    Unlike the peer's, axes of positions are never in reverse order, so `is_reversed` is False.
    """

    nngp: Any
    ntk: Any
    cov1: Any
    cov2: Any
    x1_is_x2: Any
    is_gaussian: bool = field(metadata=STATIC)
    is_reversed: bool = field(metadata=STATIC)
    is_input: bool = field(metadata=STATIC)
    diagonal_batch: bool = field(metadata=STATIC)
    diagonal_spatial: bool = field(metadata=STATIC)
    shape1: tuple[int, ...] | None = field(metadata=STATIC)
    shape2: tuple[int, ...] | None = field(metadata=STATIC)
    batch_axis: int = field(metadata=STATIC)
    channel_axis: int = field(metadata=STATIC)
    mask1: Any = None
    mask2: Any = None

    def replace(self, **changes: Any) -> Kernel:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def asdict(self) -> dict[str, Any]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def astuple(self) -> tuple[Any, ...]:
        """The fields in order."""
        return tuple(self.asdict().values())

    def slice(self, n1_slice: slice, n2_slice: slice) -> Kernel:
        """The kernel of some of the samples."""
        own = self.cov1 if self.cov2 is None else self.cov2
        n1, n2 = self.nngp.shape[:2]
        same = range(n1)[n1_slice] == range(n2)[n2_slice]
        cov1, cov2 = (_of_samples(cov, at, self.diagonal_batch) for cov, at in ((self.cov1, n1_slice), (own, n2_slice)))
        nngp = self.nngp[n1_slice, n2_slice]
        return self.replace(
            nngp=nngp,
            ntk=self.ntk if self.ntk is None or jnp.ndim(self.ntk) == 0 else self.ntk[n1_slice, n2_slice],
            cov1=cov1,
            cov2=cov2,
            x1_is_x2=self.x1_is_x2 & same,
            shape1=_resized(self.shape1, self.batch_axis, nngp.shape[0]),
            shape2=_resized(self.shape2, self.batch_axis, nngp.shape[1]),
            mask1=None if self.mask1 is None else self.mask1[n1_slice],
            mask2=None if self.mask2 is None else self.mask2[n2_slice],
        )

    def __getitem__(self, idx: Any) -> Kernel:
        """The kernel of outputs x[idx]: samples by a slice, positions by integers and slices."""
        assert self.shape1 is not None, "kernels know their shapes"
        parts = full_index(idx, len(self.shape1))
        at = parts[self.batch_axis]
        if parts[self.channel_axis] != slice(None) or isinstance(at, int):
            raise NotImplementedError(
                f"[{idx}] indexes channels, of which there are infinitely many, or takes away the samples: index "
                "positions by integers or slices, and samples by a slice."
            )
        places = [part for i, part in enumerate(parts) if i not in (self.batch_axis, self.channel_axis)]
        chosen = tuple(places if self.diagonal_spatial else (part for part in places for _ in (0, 1)))
        made = self if at == slice(None) else self.slice(at, at)
        made = made._each(lambda part, lead: part[(slice(None),) * lead + chosen])
        gone = [sum(isinstance(part, int) for part in parts[:axis]) for axis in (self.batch_axis, self.channel_axis)]
        return made.replace(
            shape1=_indexed(self.shape1, parts),
            shape2=None if self.shape2 is None else _indexed(self.shape2, parts),
            batch_axis=self.batch_axis - gone[0],
            channel_axis=self.channel_axis - gone[1],
        )

    def mask(self, mask1: Any, mask2: Any) -> Kernel:
        """Not there: masks come with the data.  Raises: NotImplementedError."""
        raise NotImplementedError("a Kernel is not masked afterwards: call kernel_fn(x1, x2, mask_constant=...).")

    def dot_general(self, *_: Any, **__: Any) -> Kernel:
        """Not there: it is a layer.  Raises: NotImplementedError."""
        raise NotImplementedError("call the kernel_fn of a layer: stax.DotGeneral(lhs=..., ...)[2](kernel).")

    def transpose(self, axes: Sequence[int] | None = None) -> Kernel:
        """The same with the position axes in another order."""
        count = len(self.shape1 or ()) - 2
        order = tuple(range(count)) if axes is None else tuple(axes)
        return self._each(lambda part, lead: _permute(part, lead, order, self.diagonal_spatial))

    def reverse(self) -> Kernel:
        """The same with the position axes in reverse order, and `is_reversed` changed."""
        turned = self.transpose(tuple(range(len(self.shape1 or ()) - 2))[::-1])
        return turned.replace(is_reversed=not self.is_reversed)

    def __mul__(self, factor: Any) -> Kernel:
        return self._each(lambda part, _: factor**2 * part)

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> Kernel:
        return self * (1.0 / factor)

    def __add__(self, shift: Any) -> Kernel:
        moved = self._each(lambda part, _: shift**2 + part)
        return moved.replace(ntk=self.ntk)

    __sub__ = __add__

    def __neg__(self) -> Kernel:
        return self

    __pos__ = __neg__

    def _each(self, change: Any) -> Kernel:
        own = 1 if self.diagonal_batch else 2
        parts = {"nngp": 2, "ntk": 2, "cov1": own, "cov2": own}
        return self.replace(
            **{k: change(getattr(self, k), lead) for k, lead in parts.items() if getattr(self, k) is not None}
        )


def full_index(idx: Any, rank: int) -> tuple[Any, ...]:
    """One integer or slice for each of `rank` axes.

    Raises: ValueError for anything else, or for too many.
    """
    idx = idx if isinstance(idx, tuple) else (idx,)
    if Ellipsis in idx:
        at = idx.index(Ellipsis)
        idx = (*idx[:at], *(slice(None),) * (rank - len(idx) + 1), *idx[at + 1 :])
    idx = (*idx, *(slice(None),) * (rank - len(idx)))
    if len(idx) > rank or not all(isinstance(part, (int, slice)) for part in idx):
        raise ValueError(f"an index is integers and slices, at most {rank} of them here; got {idx}.")
    return idx


def _indexed(shape: tuple[int, ...], parts: tuple[Any, ...]) -> tuple[int, ...]:
    return np.broadcast_to(0, shape)[parts].shape


def _of_samples(cov: Any, at: slice, diagonal: bool) -> Any:
    return cov if cov is None else cov[at] if diagonal else cov[at, at]


def _resized(shape: tuple[int, ...] | None, axis: int, size: int) -> tuple[int, ...] | None:
    return None if shape is None else (*shape[:axis], size, *shape[axis + 1 :])


def _permute(part: Any, lead: int, order: tuple[int, ...], diagonal: bool) -> Any:
    if jnp.ndim(part) <= lead:
        return part
    axes = [lead + a for a in order] if diagonal else [lead + 2 * a + i for a in order for i in (0, 1)]
    return jnp.transpose(part, (*range(lead), *axes))


def interleaved(array: Any, lead: int) -> Any:
    """`[..., h, w, h, w]` to `[..., h, h, w, w]`, after `lead` leading axes."""
    half = (array.ndim - lead) // 2
    return array.transpose(*range(lead), *(lead + i + half * j for i in range(half) for j in (0, 1)))


def separated(array: Any, lead: int = 0) -> Any:
    """`[..., h, h, w, w]` to `[..., h, w, h, w]`, after `lead` leading axes."""
    return array.transpose(*range(lead), *range(lead, array.ndim, 2), *range(lead + 1, array.ndim, 2))


def as_matrix(array: Any) -> Any:
    """`[n1, n2, h, h, ...]` as `[n1 h ..., n2 h ...]`."""
    array = separated(array)
    half = array.ndim // 2
    return array.reshape(int(np.prod(array.shape[:half])), int(np.prod(array.shape[half:])))


def wanted(get: Get) -> tuple[str, ...] | None:
    """The names that `get` asks for, None for everything.

    Raises: ValueError for no names, or one that is repeated.
    """
    if get is None:
        return None
    names = (get,) if isinstance(get, str) else tuple(get)
    names = tuple(name.lower() for name in names)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"get must be a name, or a tuple of different names such as ('nngp', 'ntk'); got {get!r}.")
    return names


def answer(kind: str, get: Get, values: Any) -> Any:
    """`values` as asked for: everything if get is None, one of them for a string, a namedtuple `kind` for a tuple.

    Raises: KeyError for a name that is not among them.
    """
    names = wanted(get)
    if names is None:
        return values
    known = values if isinstance(values, Mapping) else values.asdict()
    for name in names:
        if name not in known:
            raise KeyError(f"{name!r}: get one of {', '.join(known)}.")
    return known[names[0]] if isinstance(get, str) else tuple_type(kind, names)(*(known[name] for name in names))


@lru_cache
def tuple_type(kind: str, names: tuple[str, ...]) -> Any:
    """The namedtuple of these fields; the same type for the same fields."""
    return namedtuple(kind, names)
