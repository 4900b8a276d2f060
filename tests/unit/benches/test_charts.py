import json
from xml.etree import ElementTree as ET

import pytest

import charts
import results
import sides
from results import BASELINE, compact, read

SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "kernel": "Linux 6",
    "python": "3.13.0",
    "packages": {"x": "1"},
    "load": 0.1,
}


def sample(**more):
    return {"operations": 1000, "seconds": 1.0, "cpu_seconds": 0.01, "switches": 500, **more}


def result(name, values, *, unit="/s", better="more", failures=None, samples=None):
    return {
        "scenario": name,
        "kind": name.split()[0],
        "unit": unit,
        "better": better,
        "values": values,
        "samples": samples or {client: [sample() for _ in taken] for client, taken in values.items()},
        "failures": failures or {},
    }


@pytest.fixture
def record(tmp_path):
    def make(*found, rounds=3, machine=MACHINE):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps({"machine": machine, "rounds": rounds, "loop": "uvloop", "results": found}))
        return path

    return make


def only(record, *found):
    return read([record(*found)]).scenarios[0]


def test_what_is_committed_is_what_the_record_makes():
    made = charts.generated(read([charts.RECORD]))
    assert {path: path.read_text(encoding="utf-8") for path in made if path.exists()} == made, "run: make charts"
    drawn = {path.name for path in made if path.suffix == ".svg"}
    assert {path.name for path in charts.CHARTS.glob("*.svg")} - drawn <= {charts.FLAME}


def test_the_record_is_kept_in_its_compact_form():
    assert compact(read([charts.RECORD]).raw) == charts.RECORD.read_text(encoding="utf-8")


def test_a_ratio_is_of_medians_and_its_spread_of_the_rounds(record):
    scenario = only(record, result("ingest 128 B TCP", {"fastws": [200, 400, 900], BASELINE: [100, 100, 300]}))
    assert scenario.ratio("fastws") == results.Ratio(middle=4.0, low=2.0, high=4.0)
    assert scenario.ratio(BASELINE).middle == 1.0
    assert scenario.ratio("aiohttp") is None


def test_the_smaller_memory_has_the_larger_ratio(record):
    found = result("idle TCP", {"fastws": [4, 5, 4], BASELINE: [28, 30, 28]}, unit="KiB", better="less")
    scenario = only(record, found)
    assert scenario.ratio("fastws") == results.Ratio(middle=7.0, low=6.0, high=7.0)
    assert [row.client for row in scenario.ranked()] == ["fastws", BASELINE]


def test_nothing_has_no_ratio(record):
    scenario = only(record, result("idle TCP", {"fastws": [0, 1], BASELINE: [2, 2]}, unit="KiB", better="less"))
    assert scenario.ratio("fastws") is None


@pytest.mark.parametrize(
    ("ours", "certain", "level"),
    [
        ([50, 60, 70], True, False),
        ([98, 98, 103], False, True),
        ([90, 90, 103], False, False),
        ([99.9, 99.9, 99.9], True, True),
    ],
)
def test_a_loss_says_whether_it_was_one_in_every_round(record, ours, certain, level):
    loss = only(record, result("send 128 B TCP", {"fastws": ours, "aiohttp": [100, 100, 100]})).loss("fastws")
    assert (loss.rival, loss.is_certain, loss.is_level) == ("aiohttp", certain, level)


def test_what_a_process_grows_by_anyway_is_no_loss(record):
    values = {"fastws": [0.9], "aiohttp": [0.0], BASELINE: [600.0]}
    scenario = only(record, result("stopped-consumer 16 KiB TCP", values, unit="MiB", better="less"))
    assert scenario.loss("fastws") is None
    assert scenario.ratio("fastws").middle == 600


def test_losses_are_against_the_best_rival_and_the_greatest_comes_first(record):
    found = read(
        [
            record(
                result("ingest 32 B TCP", {"fastws": [90], "fastws callback": [120], BASELINE: [50], "aiohttp": [100]}),
                result("idle TCP", {"fastws": [20], BASELINE: [30], "aiohttp": [10]}, unit="KiB", better="less"),
            )
        ]
    ).losses()
    assert [(loss.scenario, loss.client, loss.ratio.middle) for loss in found] == [
        ("idle TCP", "fastws", 0.5),
        ("ingest 32 B TCP", "fastws", 0.9),
    ]


def test_a_latency_is_compared_at_each_of_its_percentiles(record):
    def taken(*percentiles):
        return [sample(p50_us=percentiles[0], p99_us=percentiles[1], p999_us=percentiles[2])]

    name = "latency 10,000/s 128 B TLS"
    samples = {"fastws": taken(20, 40, 100), BASELINE: taken(30, 80, 50)}
    values = {"fastws": [20], BASELINE: [30]}
    found = read([record(result(name, values, unit="µs", better="less", samples=samples))])
    assert [(s.name, s.ratio("fastws").middle) for s in found.scenarios] == [
        (f"{name}, p50", 1.5),
        (f"{name}, p99", 2.0),
        (f"{name}, p99.9", 0.5),
    ]
    assert all(scenario.is_tls for scenario in found.scenarios)


def test_runs_of_one_machine_are_one_record_in_which_the_later_counts(record):
    first = record(result("send 128 B TCP", {"fastws": [1]}), result("idle TCP", {"fastws": [2]}))
    second = record(result("send 128 B TCP", {"fastws": [3]}), machine=MACHINE | {"load": 3.0})
    found = read([first, second])
    assert [(s.name, s.rows["fastws"].median) for s in found.scenarios] == [("send 128 B TCP", 3), ("idle TCP", 2)]


@pytest.mark.parametrize("other", [{"rounds": 5}, {"machine": MACHINE | {"cpu": "another"}}])
def test_runs_that_cannot_be_compared_are_refused(record, other):
    with pytest.raises(ValueError, match="another machine"):
        read([record(result("idle TCP", {"fastws": [1]})), record(result("idle TCP", {"fastws": [1]}), **other)])


@pytest.mark.parametrize("content", [b"# fastws", b"\xff", b"[]", b'{"machine": {}}'])
def test_a_file_that_is_no_record_is_named(content, tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"README\.md is no record of a run: make bench-rivals saves one"):
        read([path])


def test_the_compact_form_keeps_six_digits_and_a_line_a_scenario(record, tmp_path):
    found = read(
        [record(result("send 128 B TCP", {"fastws": [1234567.891]}), result("idle TCP", {"fastws": [0.1234567891]}))]
    )
    path = tmp_path / "compact.json"
    path.write_text(compact(found.raw), encoding="utf-8")
    again = read([path])
    assert [s.rows["fastws"].median for s in again.scenarios] == [1234570, 0.123457]
    assert len(path.read_text().splitlines()) == 4
    assert compact(again.raw) == path.read_text(encoding="utf-8")


def drawing(record, *found):
    (_, slug, chart), *_ = charts.charts(read([record(*found)]))
    return ET.fromstring(chart.svg(slug)), chart


def widths(root):
    names = [e.text for e in root.iter(f"{SVG}text") if "end" in e.get("class", "").split() and float(e.get("x")) < 200]
    bars = [float(e.get("width")) for e in root.iter(f"{SVG}rect") if e.get("height") == "12" and e.get("x") == "168"]
    return dict(zip(names, bars, strict=False))


def test_bars_are_as_long_as_their_ratios_and_the_best_comes_first(record):
    found = result("ingest 128 B TCP", {BASELINE: [100], "fastws": [400], "websockets": [10], "aiohttp": [50]})
    root, _ = drawing(record, found)
    bars = widths(root)
    assert list(bars) == ["fastws", BASELINE, "aiohttp", "websockets"]
    assert [bars[name] / bars[BASELINE] for name in bars] == pytest.approx([4, 1, 0.5, 0.1], rel=0.01)


def test_a_chart_says_everything_in_words_and_runs_nothing(record):
    found = result(
        "send 128 B TCP",
        {"fastws": [90, 80, 85], BASELINE: [100, 100, 100]},
        failures={"aiohttp": "<stopped> & more"},
    )
    root, chart = drawing(record, found)
    words = root.findtext(f"{SVG}desc")
    assert "fastws 0.85\u00d7 · 85/s (behind)" in words
    assert f"{BASELINE} 1.00\u00d7 · 100/s" in words
    assert "aiohttp failed" in words
    assert root.findtext(f"{SVG}title") == chart.title == "Sending, TCP"
    assert root.get("aria-labelledby").split() == [root.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")]
    assert "failed: <stopped> & more" in [e.text for e in root.iter(f"{SVG}text")]
    assert not list(root.iter(f"{SVG}script"))
    assert "prefers-color-scheme: dark" in root.findtext(f"{SVG}style")


def test_amounts_are_drawn_where_a_ratio_says_nothing(record):
    samples = {"fastws": [sample(refused=7)], "websocket-rs": [sample(lost=9)], BASELINE: [sample()]}
    values = {"fastws": [2.0], "websocket-rs": [600.0], BASELINE: [0.0]}
    _, chart = drawing(record, result("unawaited-sends 16 KiB TCP", values, unit="MiB", better="less", samples=samples))
    assert chart.reference is None
    assert [(bar.name, bar.label) for bar in chart.panels[0].bars] == [
        (BASELINE, "0.00 MiB"),
        ("fastws", "2.00 MiB, 7 refused"),
        ("websocket-rs", "600 MiB, 9 lost"),
    ]
    assert chart.subtitle.startswith("shorter is better")


def test_a_group_that_is_too_long_for_one_chart_has_one_for_each_transport(record):
    names = [f"round-trip {size} {transport}" for transport in ("TCP", "TLS") for size in ("256 B", "8 KiB", "1 MiB")]
    found = [result(name, {"fastws": [2], BASELINE: [1]}) for name in names]
    assert [slug for _, slug, _ in charts.charts(read([record(*found)]))] == ["round-trips-tcp", "round-trips-tls"]


def test_the_readme_has_ratios_amounts_for_memory_and_bold_for_who_leads(record):
    found = read(
        [
            record(
                result(
                    "ingest 128 B TCP", {"fastws": [4e6], "fastws callback": [1.5e6], BASELINE: [1e6], "aiohttp": [2e6]}
                ),
                result("idle TCP", {"fastws": [3.8], BASELINE: [28.6]}, unit="KiB", better="less"),
            )
        ]
    )
    assert charts.readme(found).splitlines()[2:] == [
        "| receive 128 B, TCP | **4.0** | | 1.50 | 1 (1.00 M/s) | | | 2.0 | |",
        "| memory of an idle connection, TCP | **3.8 KiB** | | | 28.6 KiB | | | | |",
    ]


def lines_of(side, record, *found):
    return sides.table(side, read([record(*found)])).splitlines()


def test_compression_is_compared_with_websockets_and_its_cpu_and_memory_are_told(record):
    samples = {"fastws": [sample(cpu_seconds=0.001)], "websockets": [sample(cpu_seconds=0.007)]}
    memory = {
        "fastws": [sample(bytes_each=20 << 10, rested_each=10 << 10)],
        "websockets": [sample(bytes_each=90 << 10, rested_each=90 << 10)],
    }
    values = {"fastws": [500_000], "websockets": [50_000]}
    found = (
        result("compressed-receive TCP", values, samples=samples),
        result("compressed-memory TCP", {"fastws": [20]}, unit="KiB", better="less", samples=memory),
    )
    assert lines_of(sides.COMPRESSION, record, *found) == [
        "| | fastws | websockets |",
        "| --- | ---: | ---: |",
        "| receive, messages a second | **10.0 (10.0 … 10.0)** | 1 (50.0 k/s) |",
        "| receive, CPU of a message | **1.00 µs** | 7.00 µs |",
        "| memory of a connection behind messages | **20.0 KiB** | 90.0 KiB |",
        "| the same after 11 s of silence | **10.0 KiB** | 90.0 KiB |",
    ]


def test_blocking_clients_are_compared_with_the_fastest_or_with_the_one_that_has_tls(record):
    found = (
        result(
            "blocking-round-trip 256 B TCP",
            {"fastws sync": [90, 88], "websocket-rs sync": [100, 80], "websocket-client": [50, 50]},
        ),
        result("blocking-round-trip 256 B TLS", {"fastws sync": [120], "websocket-client": [60]}),
    )
    lines = lines_of(sides.BLOCKING, record, *found)
    assert lines[0] == "| | fastws sync | websocket-rs sync | websocket-client |"
    assert lines[2] == "| round trip 256 B, TCP | 0.99 (0.90 … 1.10) | 1 (90/s) | 0.56 (0.50 … 0.62) |"
    assert lines[-1] == "| round trip 256 B, TLS | **2.00 (2.00 … 2.00)** | | 1 (60/s) |"


def test_a_table_of_what_was_not_measured_says_how_to(record):
    (line,) = lines_of(sides.BLOCKING, record, result("idle TCP", {"fastws": [1]}))
    assert 'make bench-rivals ARGS="--only blocking"' in line


def test_runs_with_more_packages_are_of_the_same_machine_unless_one_changed(record):
    first = record(result("idle TCP", {"fastws": [1]}))
    more = record(result("send 128 B TCP", {"fastws": [2]}), machine=MACHINE | {"packages": {"x": "1", "y": "2"}})
    assert read([first, more]).machine["packages"] == {"x": "1", "y": "2"}
    other = record(result("send 128 B TCP", {"fastws": [2]}), machine=MACHINE | {"packages": {"x": "2"}})
    with pytest.raises(ValueError, match="other packages"):
        read([first, other])


def test_a_page_without_a_part_to_write_is_refused(record):
    with pytest.raises(ValueError, match="machine: written by make charts"):
        charts.written("# Benchmarks", read([record(result("idle TCP", {"fastws": [1]}))]))


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (4.2e6, "/s", "4.20 M/s"),
        (33_210, "/s", "33.2 k/s"),
        (763, "/s", "763/s"),
        (24.51, "µs", "24.5 µs"),
        (1179.4, "MiB", "1,179 MiB"),
    ],
)
def test_amounts_have_three_digits_and_a_unit_that_suits_them(value, unit, words):
    assert charts.amount(value, unit) == words
