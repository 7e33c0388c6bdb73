"""Make golden.npz: what neural-tangents 0.6.5 computes for calls.py.

Run in an environment of its own (jax 0.4.25, neural-tangents 0.6.5, tensorflow stubbed):
    python -m tests.compat.make_golden tests/compat/golden.npz
"""

import sys
import types
import warnings
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
warnings.simplefilter("ignore")

import jax.numpy as jnp  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402

from tests.compat import calls, nets  # noqa: E402
from tests.compat.names import public_names  # noqa: E402


def finite(x):
    """Outputs of finite networks, their parameters, and their kernels."""
    for name, (init_fn, apply_fn, _) in nets.finite(nt.stax).items():
        _, params = init_fn(jax.random.PRNGKey(0), x["f"].shape)
        yield f"{name}/out", apply_fn(params, x["f"])
        yield f"{name}/ntk", nt.empirical_ntk_fn(apply_fn, trace_axes=())(x["f"], None, params)
        for i, (w, b) in enumerate(p for p in params if p != ()):
            yield f"{name}/w{i}", w
            yield f"{name}/b{i}", np.zeros(0) if b is None else b


def main(path):
    """Make all calls and write what they give, with the data."""
    out = nets.inputs()
    x = {name: jnp.asarray(value) for name, value in out.items()}
    for name, call in calls.calls(nt.stax).items():
        out |= {f"{name}/{part}": value for part, value in call(nt, x).items()}
    out |= dict(finite(x)) | {f"names/{module}": names for module, names in public_names(nt).items()}
    np.savez_compressed(path, **{name: np.asarray(value) for name, value in out.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
