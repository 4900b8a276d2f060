import pytest

import clients
import scenarios
from figures import figure, table
from meter import Sample
from scenarios import Scenario

PICOWS, WEBSOCKETS = clients.Picows.name, clients.Websockets.name


def sample(**values):
    return Sample(**{"operations": 1000, "seconds": 1.0, "cpu_seconds": 0.01, "switches": 500} | values)


def rows(text):
    return {line.split("  ")[1]: line.split()[len(line.split("  ")[1].split()) :] for line in text.splitlines()[1:]}


def test_every_scenario_has_a_name_of_its_own_and_a_kind_that_is_known():
    assert len({scenario.name for scenario in scenarios.ALL}) == len(scenarios.ALL)
    assert {scenario.kind for scenario in scenarios.ALL} == set(scenarios.KINDS)
    assert all(client.kinds <= set(scenarios.KINDS) and client.kinds for client in clients.ALL)


@pytest.mark.parametrize(
    ("kind", "better", "unit", "taken", "value"),
    [
        ("ingest", "more", "/s", {"seconds": 2.0}, 500.0),
        ("send-each-turn", "more", "/s", {"seconds": 0.5}, 2000.0),
        ("latency", "less", "µs", {"p50_us": 24.5}, 24.5),
        ("connections", "less", "µs", {"cpu_seconds": 0.0116}, 11.6),
        ("blocking-round-trip", "more", "/s", {"seconds": 2.0}, 500.0),
        ("blocking-latency", "less", "µs", {"p50_us": 24.5}, 24.5),
        ("compressed-receive", "more", "/s", {"seconds": 2.0}, 500.0),
        ("compressed-memory", "less", "KiB", {"bytes_each": 20480.0}, 20.0),
        ("idle", "less", "KiB", {"bytes_each": 2048.0}, 2.0),
        ("stopped-consumer", "less", "MiB", {"grown_bytes": 3 << 20}, 3.0),
        ("unawaited-sends", "less", "MiB", {"grown_bytes": 64 << 20}, 64.0),
    ],
)
def test_what_is_compared_has_a_unit_and_a_direction(kind, better, unit, taken, value):
    of = figure(Scenario(kind))
    assert (of.better, of.unit) == (better, unit)
    assert of.of(sample(**taken)) == pytest.approx(value)


def test_a_ratio_says_how_many_times_better_in_both_directions():
    more, less = figure(Scenario("ingest")), figure(Scenario("latency"))
    assert (more.ratio(300.0, 100.0), more.ratio(50.0, 100.0)) == ("×3.00", "×0.50")
    assert (less.ratio(10.0, 30.0), less.ratio(60.0, 30.0)) == ("×3.00", "×0.50")
    assert (less.ratio(0.0, 30.0), less.ratio(30.0, 0.0), less.ratio(30.0, None)) == ("-", "-", "-")


def test_growth_below_a_mebibyte_is_not_told_apart():
    growth = figure(Scenario("stopped-consumer"))
    assert (growth.ratio(0.0, 8.0), growth.ratio(0.5, 0.001), growth.ratio(8.0, 2.0)) == ("×8.00", "×1.00", "×0.25")


def test_a_table_of_rates_has_the_fastest_first():
    taken = {
        WEBSOCKETS: [sample(seconds=10.0)],
        "fastws": [sample(seconds=0.25), sample(seconds=0.5), sample(seconds=1.0)],
        PICOWS: [sample(seconds=1.0)],
    }
    found = rows(table(Scenario("ingest", 128), taken, {"aiohttp": "exit status 1"}))
    assert list(found) == ["fastws", PICOWS, WEBSOCKETS, "aiohttp: failed: exit status 1"]
    assert found["fastws"] == ["2,000/s", "1,000/s", "…", "4,000/s", "×2.00", "×20.00", "10.00", "0.500"]
    assert found[WEBSOCKETS][-4] == "×0.10"


def test_a_table_of_latencies_has_the_least_first_and_the_percentiles_with_their_spread():
    taken = {
        PICOWS: [sample(p50_us=30.0, p99_us=60.0, p999_us=90.0)],
        "fastws": [sample(p50_us=p50, p99_us=p50 * 2, p999_us=p50 * 3) for p50 in (10.0, 20.0, 15.0)],
    }
    text = table(Scenario("latency", 128, rate=10_000), taken, {})
    found = rows(text)
    assert list(found) == ["fastws", PICOWS]
    assert text.split()[:5] == ["latency", "10,000/s", "128", "B", "TCP"]
    assert " ".join(found["fastws"]) == (
        "15.0 µs 10.0 µs … 20.0 µs ×2.00 - 30.0 (20.0 … 40.0) 45.0 (30.0 … 60.0) 10.00 0.500"
    )


def test_a_table_of_unawaited_sends_tells_what_was_refused_and_what_was_lost():
    taken = {"fastws": [sample(grown_bytes=2 << 20, refused=7)], PICOWS: [sample(grown_bytes=8 << 20, lost=1234)]}
    found = rows(table(Scenario("unawaited-sends", 16 << 10), taken, {}))
    assert found["fastws"][7:] == ["×4.00", "-", "7", "0", "10.00", "0.500"]
    assert found[PICOWS][7:] == ["×1.00", "-", "0", "1,234", "10.00", "0.500"]
