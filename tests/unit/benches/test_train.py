"""What a profile-guided build is trained by (benches/train.py)."""

import clients
import scenarios
import train


def test_each_kind_of_scenario_is_run_and_each_way_to_use_fastws():
    kinds = {scenario.kind for scenario, _ in train.runs()}
    assert kinds == set(scenarios.KINDS)
    ways = {way.name for _, way in train.runs()}
    ours = {client.name for client in clients.ALL if client.package == "fastws"}
    assert ours - ways == {"fastws busy poll", "fastws spin", "fastws gather", "fastws drop-in"}


def test_nothing_is_run_twice():
    names = [(scenario.name, way.name) for scenario, way in train.runs()]
    assert len(names) == len(set(names))
