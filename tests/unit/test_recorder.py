import base64
import gzip
import logging
import os
import time

import orjson
import pytest

import fastws
from fastws import ConfigError, Recorder, RecordingError
from fastws.demo.feed import read_feed
from virtual_time import run_virtual

NOW = 1_700_000_000_123_456_789


def lines(path):
    return [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_messages_are_written_in_the_format_that_is_replayed(tmp_path):
    path = tmp_path / "session.jsonl.gz"
    with Recorder(path) as recorder:
        recorder("open", NOW, "wss://host/feed")
        recorder("out", NOW + 1, '{"op":"subscribe"}')
        recorder("in", NOW + 10**9, 'text "é" \n')
        recorder("in", NOW + 2 * 10**9, b"\x00\xff")
        recorder("in", NOW + 2 * 10**9, bytearray(b"\x01"))
        assert recorder.messages == 4
    assert lines(path) == [
        {"t": NOW / 1e9, "dir": "open", "text": "wss://host/feed"},
        {"t": (NOW + 1) / 1e9, "dir": "send", "text": '{"op":"subscribe"}'},
        {"t": (NOW + 10**9) / 1e9, "dir": "recv", "text": 'text "é" \n'},
        {"t": (NOW + 2 * 10**9) / 1e9, "dir": "recv", "b64": base64.b64encode(b"\x00\xff").decode()},
        {"t": (NOW + 2 * 10**9) / 1e9, "dir": "recv", "b64": "AQ=="},
    ]
    assert [event.payload for event in read_feed(path)][2:4] == ['text "é" \n', b"\x00\xff"]


def test_a_recording_that_was_not_closed_is_kept(tmp_path, caplog):
    path = tmp_path / "x.gz"
    parts = [tmp_path / name for name in ("x.gz.part", "x.gz.part.1", "x.gz.part.2")]
    for text in ("first", "second"):
        parts[0].write_bytes(gzip.compress(orjson.dumps({"text": text})))
        with Recorder(path) as recorder:
            recorder("in", NOW, "third")
    assert [lines(part)[0]["text"] for part in (path, *parts[1:])] == ["third", "first", "second"]
    assert "x.gz.part was not closed" in caplog.text
    for number in range(3, 100):
        (tmp_path / f"x.gz.part.{number}").touch()
    parts[0].write_bytes(b"the last straw")
    with pytest.raises(RecordingError, match=r"x\.gz\.part cannot be written: it and 99 others .* not closed"):
        Recorder(path)
    assert parts[0].read_bytes() == b"the last straw"


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "session.jsonl.gz"
    path.write_bytes(b"the one before")
    recorder = Recorder(path)
    recorder("in", NOW, "a")
    recorder.flush()
    assert path.read_bytes() == b"the one before"
    part = tmp_path / "session.jsonl.gz.part"
    assert [line["text"] for line in lines(part)] == ["a"]
    recorder("in", NOW, "b")
    recorder.close()
    assert not part.exists()
    assert [line["text"] for line in lines(path)] == ["a", "b"]
    recorder.close()
    recorder("in", NOW, "too late")
    assert recorder.closed
    assert recorder.messages == 2
    assert "closed, 2 messages" in repr(recorder)


def test_what_was_flushed_is_in_the_file_without_asking(tmp_path):
    with Recorder(tmp_path / "x.gz", flush_every=0.01) as recorder:
        recorder("in", NOW, "a")
        end = time.monotonic() + 10
        while not (tmp_path / "x.gz.part").stat().st_size:
            assert time.monotonic() < end


def test_a_large_recording_is_whole(tmp_path):
    path = tmp_path / "x.gz"
    messages = [f"{number:06}" + "x" * 994 for number in range(5_000)]
    with Recorder(path, compresslevel=1) as recorder:
        for message in messages:
            recorder("in", NOW, message)
    assert [line["text"] for line in lines(path)] == messages
    assert path.stat().st_size < 500_000


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"nowhere/x\.gz\.part cannot be written: No such file") as caught:
        Recorder(tmp_path / "nowhere" / "x.gz")
    assert caught.value.path == tmp_path / "nowhere" / "x.gz"
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, fastws.FastwsError)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_stops_the_recording_and_nothing_else(tmp_path, caplog):
    path = tmp_path / "x.gz"
    (tmp_path / "x.gz.part").symlink_to("/dev/full")
    recorder = Recorder(path)
    recorder("in", NOW, "a")
    recorder.flush()
    recorder("in", NOW, "b")
    recorder.flush()
    assert "x.gz.part: No space left on device" in str(recorder.error)
    assert "stopped" in repr(recorder)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    with pytest.raises(RecordingError, match="No space left"):
        recorder.close()
    recorder.close()
    assert not path.exists()


def test_what_was_written_before_a_failure_can_be_read(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path / "x.gz")
    recorder("in", NOW, "kept")
    recorder.flush()
    whole = recorder._file

    class Breaks:
        closed = False

        def write(self, data):
            whole.write(data[: len(data) // 2])
            raise OSError(5, "Input/output error")

        def __getattr__(self, name):
            return getattr(whole, name)

    recorder._file = Breaks()
    recorder("in", NOW, "lost")
    recorder.flush()
    with pytest.raises(RecordingError, match="Input/output error"):
        recorder.close()
    assert [line["text"] for line in lines(tmp_path / "x.gz.part")] == ["kept"]


def test_memory_is_bounded(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Recorder, "_members", lambda self: iter(()))  # a disk that takes nothing
    recorder = Recorder(tmp_path / "x.gz", max_pending=1000)
    for _ in range(100):
        recorder("in", NOW, b"x" * 100)
    assert "takes less than arrives" in str(recorder.error)
    assert recorder.messages < 10
    assert len(caplog.records) == 1
    with pytest.raises(RecordingError):
        recorder.close()


def test_a_failed_recording_does_not_hide_the_error_of_the_block(tmp_path):
    with pytest.raises(KeyError), Recorder(tmp_path / "x.gz") as recorder:
        recorder._stop("for the test")
        raise KeyError
    with pytest.raises(RecordingError, match="for the test"), Recorder(tmp_path / "x.gz") as recorder:
        recorder._stop("for the test")


def test_a_name_that_cannot_be_taken_is_an_error(tmp_path):
    (tmp_path / "x.gz").mkdir()
    recorder = Recorder(tmp_path / "x.gz")
    with pytest.raises(RecordingError, match="cannot become"):
        recorder.close()


def test_closing_does_not_hold_the_loop(tmp_path):
    async def main():
        async with Recorder(tmp_path / "x.gz") as recorder:
            recorder("in", NOW, "a")
        assert recorder.closed

    run_virtual(main())


@pytest.mark.parametrize(
    "options", [{"compresslevel": 10}, {"compresslevel": -1}, {"flush_every": 0}, {"max_pending": 0}]
)
def test_arguments_are_checked(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Recorder(tmp_path / "x.gz", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_direction_that_is_none_is_refused(tmp_path):
    with Recorder(tmp_path / "x.gz") as recorder, pytest.raises(ValueError, match="direction is one of"):
        recorder("sideways", NOW, "a")


def test_it_is_replayed_by_the_server(tmp_path, fastws_server):
    path = tmp_path / "session.jsonl.gz"
    messages = ["one", b"\x00two", "é"]
    with Recorder(path) as recorder:
        recorder("out", NOW, "subscribe")
        for number, message in enumerate(messages):
            recorder("in", NOW + number * 10**6, message)
    fastws_server.load_feed("recorded", path)

    async def main():
        async with fastws.connect(fastws_server.url("/replay/recorded?speed=0&subscribe=1")) as ws:
            await ws.send("subscribe")
            return [message async for message in ws]

    assert fastws.run(main()) == messages


def test_views_are_copied_as_what_they_are(tmp_path, fastws_server):
    path = tmp_path / "session.jsonl.gz"
    fastws_server.add_feed("mixed", [(0.0, "text", "é".encode()), (0.0, "binary", b"\x00")])

    async def main():
        with Recorder(path) as recorder:
            async with fastws.connect(fastws_server.url("/replay/mixed?speed=0"), messages="view") as ws:
                async for message in ws:
                    recorder("in", ws.received_ns, message)

    fastws.run(main())
    assert [event.payload for event in read_feed(path)] == ["é", b"\x00"]
