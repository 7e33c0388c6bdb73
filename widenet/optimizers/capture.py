"""What every dense layer of any function `apply(params, x)` is given, and the gradients at what it makes. (O10)"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.checks import is_traced
from widenet.initializers.fans import Fans
from widenet.initializers.reading import Apply, Reading, is_floating
from widenet.optimizers.leaves import PerLeaf, fans_of, working
from widenet.parametrizations.trees import path_of

SAME = 2e-2  # relative; a product in bfloat16 is right to 1e-2, and one of other axes is wrong by 1


@dataclass(frozen=True)
class Capture:
    """A function `apply(params, x)` whose layers can be looked at.

    `layers` are the places of the weights among the floating leaves, in order of first use, `fans` how each is a matrix
    `[fan_in, fan_out]`, by its place.
    """

    reading: Reading
    names: tuple[str, ...]
    fans: dict[int, Fans]

    @classmethod
    def of(cls, apply: Apply, params: Any, x: Any, axes: PerLeaf) -> Capture:
        """The layers of `apply` for arguments of these shapes.

        Raises: ValueError if there are none, and for a weight that is several matrices.
        """
        reading = Reading.of(apply, params, x)
        paths = jax.tree_util.tree_flatten_with_path(params)[0]
        names = tuple(path_of(path) for path, leaf in paths if is_floating(leaf))
        of = fans_of(axes)
        found = {i: of(names[i], reading.leaves.arrays[i]) for i in reading.seen(x)}
        fans = {i: each for i, each in found.items() if each is not None}
        for i, each in fans.items():
            if each.batch > 1 or each.window:
                raise ValueError(
                    f"the weight {names[i]!r} is no matrix [inputs, outputs] but {each.batch} of them with a window "
                    f"{each.window}: have axes give None for it, so that `rest` updates it."
                )
        return cls(reading, names, fans)

    def forward(self, arrays: Sequence[Array], x: Any, at_layer: Callable[[int, Array, Array], Array]) -> Array:
        """The outputs, where at_layer(place, what the layer is given, what it makes) is what goes on."""
        waiting: dict[int, list[Array]] = defaultdict(list)

        def visit(leaf: int, out: Array) -> Array:
            return at_layer(leaf, waiting[leaf].pop(0), out) if leaf in self.fans else out

        def at_data(leaf: int, data: Array) -> None:
            waiting[leaf].append(data)

        return self.reading.run(arrays, x, at_layer=visit, at_data=at_data)

    def shifted(self, arrays: Sequence[Array], shifts: Sequence[Array], x: Any) -> tuple[Array, list[Array]]:
        """The outputs with `shifts` added to what the layers make, and what each of them is given."""
        given: list[Array] = []

        def at_layer(_: int, data: Array, out: Array) -> Array:
            given.append(data)
            return out + shifts[len(given) - 1]

        return self.forward(arrays, x, at_layer), given

    def uses(self, x: Any) -> tuple[list[int], list[Array]]:
        """The place of each layer's weight, and zeros of the shape of what the layer makes."""
        places: list[int] = []

        def made(arrays: Sequence[Array], x: Any) -> list[Array]:
            met = self.made(arrays, x)
            places.extend(place for place, _, _ in met)
            return [out for _, _, out in met]

        shapes = jax.eval_shape(made, self.reading.leaves.arrays, x)
        return places, [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]

    def made(self, arrays: Sequence[Array], x: Any) -> list[tuple[int, Array, Array]]:
        """(place, what it is given, what it makes) of each layer."""
        met: list[tuple[int, Array, Array]] = []

        def at_layer(leaf: int, data: Array, out: Array) -> Array:
            met.append((leaf, data, out))
            return out

        self.forward(arrays, x, at_layer)
        return met

    def multipliers(self, x: Any) -> dict[str, Array]:
        """The constant c of every layer, which makes c a W of data a: found at random weights. (O10)

        Raises: ValueError where no constant does, unless `x` is traced.
        """
        key = jax.random.key(0)
        leaves = enumerate(self.reading.leaves.arrays)
        arrays = [
            jax.random.normal(jax.random.fold_in(key, i), a.shape, a.dtype) / max(a.shape, default=1) ** 0.5
            for i, a in leaves
        ]
        found: dict[str, Array] = {}
        for leaf, data, out in self.made(arrays, x):
            fans, name = self.fans[leaf], self.names[leaf]
            if (
                data.shape[-1] != fans.n_in
                or out.shape[-1] != fans.n_out
                or data.size // fans.n_in != out.size // fans.n_out
            ):
                raise _not_dense(name, fans)
            product = rows(data) @ working(fans.matrices(arrays[leaf])[0])
            c = jnp.vdot(product, rows(out)) / jnp.vdot(product, product)
            miss = jnp.linalg.norm(rows(out) - c * product) / jnp.linalg.norm(rows(out))
            if not is_traced(miss) and (
                not miss <= SAME or (name in found and not np.isclose(c, found[name], rtol=SAME))
            ):
                raise _not_dense(name, fans)
            found[name] = c
        return found


def rows(x: Array) -> Array:
    """`[..., n]` as `[rows, n]`, in float32 or more."""
    return working(x).reshape(-1, x.shape[-1])


def _not_dense(name: str, fans: Fans) -> ValueError:
    return ValueError(
        f"what {name!r} makes is not a constant times data [..., {fans.n_in}] times the weight as a matrix "
        f"[{fans.n_in}, {fans.n_out}]: tell its axes, as in axes=Axes.of(1, 0) for weights [out, in], or have "
        "axes give None for it, so that `rest` updates it."
    )
