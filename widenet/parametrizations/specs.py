"""What every parameter of a model is: its role, its growth, and from these its rates. (U5)"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from widenet.parametrizations.leaf import Leaf, Role
from widenet.parametrizations.trees import Shapes, shapes_of

VERSION = 1


@dataclass(frozen=True)
class Specs:
    """The parameters of one model beside those of its base model, by path.

    Made by `infer` or `specs`.  depth: number of residual blocks over that of the base model.
    block_depth: weight matrices in a branch.
    """

    leaves: Mapping[str, Leaf]
    depth: float = 1.0
    block_depth: int = 1

    def __iter__(self) -> Iterator[Leaf]:
        """Over leaves."""
        return iter(self.leaves.values())

    def __getitem__(self, path: str) -> Leaf:
        """The leaf at a path; `KeyError` names what there is."""
        if path not in self.leaves:
            raise KeyError(f"no parameter {path!r}; there are {', '.join(self.leaves)}")
        return self.leaves[path]

    def roles(self) -> dict[str, Role]:
        """The role of every parameter."""
        return {path: leaf.role for path, leaf in self.leaves.items()}

    @property
    def tied(self) -> bool:
        """Is a parameter both embedding and readout?"""
        return any(leaf.tied for leaf in self)

    def check(self, params: Any) -> None:
        """Do these parameters, or shapes, fit?

        Raises: ValueError naming what is missing, unknown or of another shape.
        """
        self.check_shapes(params if _is_shapes(params) else shapes_of(params))

    def check_shapes(self, shapes: Shapes) -> None:
        """The same for shapes by path."""
        both = set(shapes) & set(self.leaves)
        wrong = [
            f"{p} is {shapes[p]}, not {self.leaves[p].shape}" for p in sorted(both) if shapes[p] != self.leaves[p].shape
        ]
        wrong += [f"{path} is not in the specs" for path in sorted(set(shapes) - both)]
        wrong += [f"{path} is missing" for path in sorted(set(self.leaves) - both)]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise ValueError(f"these specs are of another model: {'; '.join(wrong[:5])}{more}. Infer them anew.")

    @property
    def fingerprint(self) -> str:
        """A hash of all paths and shapes."""
        text = json.dumps([[leaf.path, leaf.shape] for leaf in self])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """As text, which `from_json` reads without the base model."""
        content = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "depth": self.depth,
            "block_depth": self.block_depth,
            "leaves": [asdict(leaf) for leaf in self],
        }
        return json.dumps(content, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Specs:
        """Of what `to_json` wrote.

        Raises: ValueError if it is something else, or was changed.
        """
        try:
            content = json.loads(text)
            leaves = [_leaf(**values) for values in content["leaves"]]
            found = cls({leaf.path: leaf for leaf in leaves}, content["depth"], content["block_depth"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"this is not what Specs.to_json writes ({error!r}): write it again with save()."
            ) from error
        if content["version"] != VERSION or found.fingerprint != content["fingerprint"]:
            raise ValueError("these specs were changed, or are of another version: write them again with save().")
        return found

    def save(self, path: str | Path) -> Path:
        """Write them to a file."""
        Path(path).write_text(self.to_json() + "\n", "utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Specs:
        """Of a file that `save` wrote."""
        return cls.from_json(Path(path).read_text("utf-8"))

    def __str__(self) -> str:
        """A table."""
        rows: list[tuple[str, ...]] = [("parameter", "role", "shape", "base", "fan-in", "fan-out", "")]
        for leaf in self:
            marks = ", ".join(word for word, is_so in (("in a branch", leaf.branch), ("tied", leaf.tied)) if is_so)
            fans = (f"x{leaf.fan_in:g}", f"x{leaf.fan_out:g}")
            rows.append((leaf.path, leaf.role, str(leaf.shape), str(leaf.base), *fans, marks))
        return table(rows)


def _leaf(**values: Any) -> Leaf:
    """Lists are tuples again."""
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Leaf(**made)


def _is_shapes(params: Any) -> bool:
    return isinstance(params, dict) and all(isinstance(v, tuple) for v in params.values())


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns of text, the first row as the head."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, sizes)).rstrip() for row in rows)
