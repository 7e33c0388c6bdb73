"""Specs by shapes: roles, errors, files."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from tests.parametrizations.models import mlp, transformer
from widenet import parametrizations as wp


def test_roles_and_ratios_of_a_transformer():
    specs = wp.infer(transformer(8), transformer(32, layers=6), stacked="^blocks", branches="^blocks")
    roles = specs.roles()
    assert {path: roles[path] for path in roles if path.endswith("kernel")} == {
        "blocks/attention/query/kernel": "hidden",
        "blocks/attention/key/kernel": "hidden",
        "blocks/attention/value/kernel": "hidden",
        "blocks/attention/out/kernel": "hidden",
        "blocks/up/kernel": "hidden",
        "blocks/down/kernel": "hidden",
        "head/kernel": "output",
    }
    assert roles["embed/embedding"] == "input"
    assert roles["blocks/attention/query/bias"] == roles["blocks/norm/scale"] == "vector"
    assert roles["temperature"] == roles["head/bias"] == "scalar"
    assert (specs["blocks/attention/query/kernel"].fan_in, specs["blocks/attention/query/kernel"].fan_out) == (4, 4)
    assert specs.depth == 3  # of the stacks
    assert specs["blocks/up/kernel"].branch
    assert not specs["head/kernel"].branch


def test_widths_that_grow_apart():
    specs = wp.infer(transformer(8, d_ff=16), transformer(16, d_ff=128), stacked="^blocks")
    assert (specs["blocks/up/kernel"].fan_in, specs["blocks/up/kernel"].fan_out) == (2, 8)
    assert (specs["blocks/down/kernel"].fan_in, specs["blocks/down/kernel"].fan_out) == (8, 2)


@pytest.mark.parametrize(
    ("convention", "shape", "role"),
    [
        ("flax", lambda n: (3, 3, n, 2 * n), "hidden"),
        ("flax", lambda n: (3, 3, 1, n), "input"),  # depthwise
        ("torch", lambda n: (2 * n, n, 3, 3), "hidden"),
        ("torch", lambda n: (n, 1, 3, 3), "input"),
        ("torch", lambda n: (10, n), "output"),
        ("equinox", lambda n: (n, 5), "input"),
        ("haiku", lambda n: (n, 5), "output"),
    ],
)
def test_conventions(convention, shape, role):
    base, target = ({"layer": jnp.zeros(shape(n))} for n in (4, 8))
    assert wp.infer(base, target, convention=convention)["layer"].role == role


def test_delta_finds_the_widths_of_a_base_as_large_as_its_target():
    specs = wp.infer(lambda: mlp(64), lambda: mlp(64), lambda: mlp(65))
    assert specs["hidden/kernel"].role == "hidden"
    assert set(wp.factors(specs, wp.mup, wp.adam).column("rate").values()) == {1.0}


def test_one_own_rule_for_axes():
    base, target = {"emb": jnp.zeros((100, 4))}, {"emb": jnp.zeros((100, 8))}
    assert wp.infer(base, target, convention="torch")["emb"].role == "input"  # by its name
    assert wp.infer(base, target, convention="torch", axes={"^emb$": "out in"})["emb"].role == "output"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": mlp(64), "target": mlp(64)}, "the same shapes, which leaves no width to see. Give delta="),
        ({"base": mlp(64), "target": mlp(128), "delta": mlp(64)}, "base and delta have the same shapes"),
        (
            {"base": mlp(64), "target": mlp(128, d_in=9), "delta": mlp(65)},
            r"axis 0 of 'first/kernel' is 8 in base and delta",
        ),
        ({"base": mlp(64), "target": mlp(128, bias=False)}, "only base has 'first/bias' and 2 more differ"),
        ({"base": mlp(64), "target": mlp(128), "convention": "keras"}, "conventions are flax"),
        ({"base": mlp(64), "target": mlp(128), "axes": {"kernel": "in middle"}}, "words other than in, out"),
        ({"base": mlp(64), "target": mlp(128), "stacked": "blocks"}, "stacked='blocks' fits no parameter"),
        ({"base": mlp(64), "target": mlp(128), "axes": {"kernels": "in out"}}, "'kernels'.* fits no parameter"),
        ({"base": mlp(64), "target": mlp(128), "axes": {"kernel": "in in out"}}, r"has 3 words.*is \(8, 128\)"),
        ({"base": {"count": 3}, "target": {"count": 4}}, "no parameters, which are arrays of floats"),
        (
            {"base": mlp(64), "target": mlp(128), "branches": "hidden", "depth": 4, "base_depth": 0},
            "numbers of blocks, 1 or more; got 4 and 0",
        ),
        ({"base": mlp(64), "target": mlp(128), "depth": 4}, "depth= and base_depth= together"),
        ({"base": mlp(64), "target": mlp(128), "depth": 4, "base_depth": 2}, "give branches="),
        ({"base": transformer(8), "target": transformer(8, layers=4)}, "neither its fan-in nor its fan-out: if layers"),
        (
            {"base": {"w": jnp.zeros((2, 3))}, "target": {"w": jnp.zeros((2, 3, 4))}},
            "has 2 axes in base and 3 in target",
        ),
    ],
)
def test_what_cannot_be_inferred(arguments, message):
    with pytest.raises(ValueError, match=message):
        wp.infer(**arguments)


def test_a_file_needs_no_base_model(tmp_path):
    specs = wp.infer(transformer(8), transformer(32, layers=6), stacked="^blocks", branches="^blocks", block_depth=2)
    again = wp.Specs.load(specs.save(tmp_path / "specs.json"))
    assert again == specs
    assert wp.factors(again, wp.depth_mup, wp.adam).by_path == wp.factors(specs, wp.depth_mup, wp.adam).by_path
    again.check(transformer(32, layers=6))
    with pytest.raises(ValueError, match=r"blocks/attention/key/kernel is .*Infer them anew"):
        again.check(transformer(64, layers=6))
    with pytest.raises(ValueError, match="were changed"):
        wp.Specs.from_json(specs.to_json().replace("32", "33", 1))
    with pytest.raises(ValueError, match=r"not what Specs.to_json writes"):
        wp.Specs.from_json("{}")
    with pytest.raises(KeyError, match="no parameter 'w'; there are blocks/"):
        specs["w"]
