from __future__ import annotations

from importlib import resources

import orjson
import pytest

from fastws.demo import market_profile, profile_feed
from fastws.demo.feed import Event, write_feed


def delta(product, size):
    return orjson.dumps({"type": "l2update", "product_id": product, "changes": [["buy", "1.0", size]]}).decode()


def test_measuring_a_session_of_known_shape(tmp_path):
    path = tmp_path / "coinbase.jsonl.gz"
    times = [0, 100, 200, 5_200, 5_300, 15_300, 25_300, 25_400, 25_500, 25_600]  # microseconds: bursts of 3, 2, 1, 4
    products = "AABBBAABAA"
    events = [Event(0.0, "open", "wss://host")]
    events += [Event(t / 1e6, "recv", delta(p, "0" if p == "B" else "1")) for t, p in zip(times, products, strict=True)]
    write_feed(path, events)
    numbers = profile_feed.profile([path, path])

    (session,) = numbers["sessions"].values()
    assert numbers["pooled"]["messages"] == 2 * session["messages"] == 20
    assert session["seconds"] == 0.026  # rounded to milliseconds
    assert session["kinds"] == {"delta": {"count": 10, "share": 1.0, "sizes": [len(delta("A", "1"))] * 16}}
    bursts = session["bursts"]
    assert bursts["count"] == 4
    assert (bursts["lengths"][0], bursts["lengths"][-1]) == (1, 4)
    assert set(bursts["inside_us"]) == {100}
    assert (bursts["between_us"][0], bursts["between_us"][-1]) == (5_000, 10_000)
    assert (bursts["same_product_inside"], bursts["same_product_between"]) == (0.5, 0.6667)
    assert session["products"] == [0.6, 0.4]
    assert session["deletions"] == 0.4
    assert market_profile.parse(numbers).pooled.messages == 20


def test_a_kraken_book_is_understood():
    assert profile_feed.kind_of([1, {"as": [], "bs": []}, "book-10", "A/B"]) == ("snapshot", "A/B")
    assert profile_feed.kind_of([1, {"a": []}, {"b": []}, "book-10", "A/B"]) == ("delta", "A/B")
    assert profile_feed.kind_of({"event": "systemStatus"}) == ("status", None)


def test_quantiles_are_order_statistics():
    assert profile_feed.quantiles(list(range(101)))[1:4] == [1, 5, 10]
    assert set(profile_feed.quantiles([])) == {0}


@pytest.mark.parametrize("arguments", [[], ["none.jsonl.gz"]])
def test_the_command_says_what_is_wrong(arguments, capsys):
    assert profile_feed.main(arguments) in {1, 2}
    assert capsys.readouterr().err


def test_too_short_a_recording_is_refused(tmp_path, capsys):
    write_feed(tmp_path / "short.jsonl.gz", [Event(0.0, "recv", "{}")])
    assert profile_feed.main([str(tmp_path / "short.jsonl.gz")]) == 1
    assert "too few messages" in capsys.readouterr().err


def test_the_committed_numbers_make_sense():
    profile = market_profile.recorded()
    assert set(profile.sessions) == {"coinbase", "kraken"}
    for session in (*profile.sessions.values(), profile.pooled):
        assert sum(kind.share for kind in session.kinds.values()) == pytest.approx(1, abs=1e-4)
        assert sum(kind.count for kind in session.kinds.values()) == session.messages
        assert sum(session.products) == pytest.approx(1, abs=1e-3)
        for shape in (session.gaps_us, session.bursts.lengths, session.bursts.inside_us, session.bursts.between_us):
            assert list(shape.values) == sorted(shape.values)
            assert len(shape.values) == len(shape.probabilities)
    assert sum(session.messages for session in profile.sessions.values()) == profile.pooled.messages


def test_the_committed_numbers_are_those_of_the_recordings(feeds, capsys):
    paths = [feeds / "coinbase.jsonl.gz", feeds / "kraken.jsonl.gz"]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"coinbase and kraken are not in {feeds}; FASTWS_FEEDS names the folder of recorded feeds")
    assert profile_feed.main([str(path) for path in paths]) == 0
    assert capsys.readouterr().out == resources.files("fastws.demo").joinpath("market_profile.json").read_text()
