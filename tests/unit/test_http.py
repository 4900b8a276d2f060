import pytest

from fastws.http import Headers, Request, parse_request


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
