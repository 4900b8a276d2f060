"""What is said after the upgrade and before a client is ready: authentication, subscriptions, anything else.

A handshaker talks through a ``HandshakeChannel``, which loses nothing: messages that it does not claim go to the
client's streams. See the how-to on handshakes.
"""

from .auth import REFUSED_CODES, AuthHandshaker, Token
from .base import (
    ChainedHandshaker,
    Handshaker,
    NoOpHandshaker,
    SendMessageHandshaker,
    SupportsHandshake,
    chain_handshakers,
    perform,
)
from .channel import HandshakeChannel, HandshakeMessage, Predicate, Source, Unclaimed
from .subscribe import ChannelPredicate, SubscribeHandshaker

__all__ = [
    "REFUSED_CODES",
    "AuthHandshaker",
    "ChainedHandshaker",
    "ChannelPredicate",
    "HandshakeChannel",
    "HandshakeMessage",
    "Handshaker",
    "NoOpHandshaker",
    "Predicate",
    "SendMessageHandshaker",
    "Source",
    "SubscribeHandshaker",
    "SupportsHandshake",
    "Token",
    "Unclaimed",
    "chain_handshakers",
    "perform",
]
