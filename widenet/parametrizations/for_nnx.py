"""The numbers of a parametrization as metadata of flax nnx variables."""

from __future__ import annotations

from typing import Any

from widenet.parametrizations.factors import Factors


def annotate(module: Any, factors: Factors) -> Any:
    """Write role, init, multiplier, rate, decay and epsilon into the metadata of every `nnx.Param`; returns the module.

    `param.get_metadata("rate")` reads one.
    Raises: ValueError if the module has other parameters than `factors`; ImportError without flax.
    """
    try:
        from flax import nnx
    except ImportError as error:
        raise ImportError("metadata of nnx variables need flax: pip install flax.") from error
    found = {"/".join(map(str, path)): node for path, node in nnx.iter_graph(module) if isinstance(node, nnx.Param)}
    factors.specs.check_shapes({path: tuple(param.shape) for path, param in found.items()})
    for path, param in found.items():
        param.set_metadata(role=str(factors.specs[path].role), **factors.by_path[path]._asdict())
    return module
