from fastws.context import ConnectionContext


def test_a_first_connection_is_no_reconnection():
    context = ConnectionContext(1)
    assert (context.connection_id, context.reconnect_count, context.attempt, context.metadata) == (1, 0, 1, {})
    assert not context.is_reconnection
    assert context.with_reconnect_count(2).is_reconnection


def test_metadata_is_shared_by_who_shares_the_context():
    context = ConnectionContext(1)
    context.put_metadata("session", "abc")
    assert context.get_metadata("session") == "abc"
    assert context.get_metadata("none") is None
    assert context.get_metadata("none", 3) == 3


def test_copies_do_not_share_metadata():
    context = ConnectionContext(1, metadata={"a": 1})
    for copy in (context.with_attempt(4), context.with_reconnect_count(1), context.with_metadata(b=2)):
        copy.put_metadata("c", 3)
        assert copy.get_metadata("a") == 1
    assert context.metadata == {"a": 1}
    assert context.with_attempt(4).attempt == 4
    assert context.with_metadata({"a": 2}, b=3).metadata == {"a": 2, "b": 3}


def test_another_connection_keeps_the_metadata():
    context = ConnectionContext(1, metadata={"a": 1})
    context.update(2, 1, attempt=3)
    assert (context.connection_id, context.reconnect_count, context.attempt) == (2, 1, 3)
    assert context.metadata == {"a": 1}


def test_the_values_of_metadata_are_not_shown():
    context = ConnectionContext(1, metadata={"token": "secret"})
    assert "secret" not in repr(context)
    assert "token" in repr(context)
