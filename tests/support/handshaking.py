"""Does a handshake on a connection in memory, in virtual time."""

import pytest

from fastws import ConnectionContext, HandshakeChannel, HandshakeError
from fastws.handshakes import perform
from support.connection import FakeConnection
from virtual_time import run_virtual

TOKEN = 'hunter2"},\\{"x'


def shake(handshaker, *messages, answer=None, **options):
    """Does a handshake; returns the connection and the channel."""

    async def main():
        connection = FakeConnection(*messages, answer=answer)
        channel = HandshakeChannel(connection, **options)
        await perform(handshaker, channel, ConnectionContext(1))
        return connection, channel

    return run_virtual(main())


def failed(handshaker, *messages, answer=None, **options):
    with pytest.raises(HandshakeError) as caught:
        shake(handshaker, *messages, answer=answer, **options)
    return caught.value


def left(channel):
    return [message.data for message in channel.unclaimed]
