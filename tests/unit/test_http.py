import pytest

from fastws.http import Headers, Request, Response, parse_request


def test_names_have_no_case_and_order_and_duplicates_are_kept():
    headers = Headers([("A", "1"), ("b", "2"), ("a", "3")])
    assert headers.get_all("A") == ["1", "3"]
    assert headers["B"] == "2"
    assert list(headers.raw_items()) == [("A", "1"), ("b", "2"), ("a", "3")]
    assert len(headers) == 2
    assert "a" in headers
    assert "c" not in headers
    assert 1 not in headers


def test_a_name_with_several_values_has_no_single_one():
    headers = Headers([("Set-Cookie", "a"), ("set-cookie", "b")])
    with pytest.raises(LookupError, match="get_all"):
        headers["Set-Cookie"]
    with pytest.raises(KeyError):
        headers["missing"]


def test_setting_adds_and_deleting_removes_all():
    headers = Headers({"A": "1"})
    headers["a"] = "2"
    assert headers.get_all("A") == ["1", "2"]
    del headers["A"]
    assert "a" not in headers
    with pytest.raises(KeyError):
        del headers["A"]


@pytest.mark.parametrize("source", [{"A": "1"}, [("A", "1")], Headers({"a": "1"}), iter([("A", "1")])])
def test_everything_like_headers_is_taken(source):
    assert Headers(source) == Headers([("a", "1")])


def test_values_must_be_strings():
    with pytest.raises(TypeError, match="two strings"):
        Headers([("A", 1)])


def test_secrets_are_not_in_the_repr():
    shown = repr(Headers({"Authorization": "Bearer token", "Cookie": "c=token", "X": "seen"}))
    assert "token" not in shown
    assert "seen" in shown


def test_copies_are_apart():
    headers = Headers({"A": "1"})
    copy = headers.copy()
    copy["B"] = "2"
    assert "B" not in headers


def test_a_request_is_read_back_and_its_query_is_not_shown():
    request = parse_request(b"GET /x?token=secret HTTP/1.1\r\nHost: h\r\nX: a: b\r\n\r\n")
    assert request == Request("/x?token=secret", Headers([("Host", "h"), ("X", "a: b")]))
    assert "secret" not in repr(request)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        ([("Retry-After", "120")], 120.0),
        ([("retry-after", " 0 ")], 0.0),
        ([("Retry-After", "9" * 5000)], 2.0**31),
        ([("Retry-After", "-1")], None),
        ([("Retry-After", "1.5")], None),
        ([("Retry-After", "\N{ARABIC-INDIC DIGIT ONE}")], None),
        ([("Retry-After", "soon")], None),
        ([("Retry-After", "")], None),
        ([("Retry-After", "3"), ("Retry-After", "9")], 3.0),
        ([("Retry-After", "Sun, 99 Nov 1994 08:49:37 GMT")], None),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(fields, seconds):
    assert Response(503, "", Headers(fields)).retry_after == seconds


@pytest.mark.parametrize(
    "until", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_until_when_counts_from_the_date_of_the_answer(until):
    def answer(date):
        return Response(503, "", Headers([("Retry-After", until), ("Date", date)]))

    assert answer("Sun, 06 Nov 1994 08:48:00 GMT").retry_after == 97.0
    assert answer("Sun, 06 Nov 1994 08:49:40 GMT").retry_after == 0.0


def test_a_date_counts_from_our_clock_where_the_server_shows_none(monkeypatch):
    monkeypatch.setattr("fastws.http.time.time", lambda: 784_111_777.0 - 5.5)
    for fields in ([], [("Date", "now")]):
        headers = Headers([("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"), *fields])
        assert Response(503, "", headers).retry_after == 5.5
