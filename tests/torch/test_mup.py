"""Learning rates and weight decays against those of microsoft/mup, which uses form B; made by make_mup.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from widenet import parametrizations as wp

FACTS = json.loads(Path(__file__).with_name("mup.json").read_text())


@pytest.mark.parametrize("optimizer", [wp.sgd, wp.adam], ids=str)
@pytest.mark.parametrize("model", ["mlp", "resnet", "transformer"])
def test_rates_and_decays_are_those_of_mup(model, optimizer):
    facts = FACTS[model]
    made = wp.factors(wp.Specs.from_json(facts["specs"]), wp.mup.to_form("B"), optimizer)
    theirs = facts[optimizer.name]
    assert set(theirs) == set(made.by_path)
    assert len({tuple(numbers) for numbers in theirs.values()}) > 1
    for path, (rate, decay) in theirs.items():
        assert (made.by_path[path].rate, made.by_path[path].decay) == pytest.approx((rate, decay)), path
