"""The public names of the peer's interface, of the peer or of ours."""

import inspect


def public_names(nt):
    """By module, each name with the arguments of its function and plain defaults: `Dense out_dim W_std=1.0 ...`."""
    modules = {"neural_tangents": nt, "stax": nt.stax, "predict": nt.predict}
    found = {key: sorted(_described(*item) for item in _public(module)) for key, module in modules.items()}
    kernel = {name for name in dir(nt.Kernel) if name[0] != "_"} | set(nt.Kernel.__annotations__)
    return found | {"Kernel": sorted(kernel)}


def _public(module):
    names = getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]
    return [(name, getattr(module, name)) for name in names]


def _described(name, value):
    if not inspect.isfunction(value):
        return name
    given = inspect.signature(value).parameters.values()
    return " ".join([name, *(_argument(p) for p in given if p.kind is not p.VAR_KEYWORD)])


def _argument(parameter):
    default = parameter.default
    if type(default) in (int, float):
        return f"{parameter.name}={float(default)}"
    return f"{parameter.name}={default!r}" if isinstance(default, (str, bool, tuple, type(None))) else parameter.name
