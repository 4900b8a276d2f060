"""An embedded WebSocket server for tests, demos and benchmarks: echo, floods, recorded feeds, scripted faults.

It is native and runs in threads of its own, so it neither holds the GIL nor disturbs the event loop under test::

    from fastws.testing import Server

    with Server(tls=True) as server:
        tls = fastws.TlsConfig(ca=server.ca_pem)
        async with fastws.connect(server.url("/blast?n=1000&size=128&fault=reset@500"), tls=tls) as ws:
            ...

What a connection does is chosen by the path of its request (see ``Server.url``) or scripted
(``Server.script``); a path can also be a whole venue (``Server.add_venue``).
"""

from .server import ConnectionReport, RecordedFrame, Server, ServerStats
from .steps import (
    Accept,
    Answer,
    Blast,
    Echo,
    End,
    Expect,
    Fault,
    Paced,
    PingEvery,
    Refuse,
    Replay,
    Send,
    SendClose,
    SendFragments,
    SendPing,
    SendPong,
    SendRaw,
    Step,
    Wait,
)
from .venue import (
    CloseAt,
    CutAt,
    DropAt,
    ExpireAt,
    RefuseAt,
    ResetAt,
    SilenceAt,
    Venue,
    VenueFault,
    VenueReport,
    VenueSession,
    VenueSubscription,
)

__all__ = [
    "Accept",
    "Answer",
    "Blast",
    "CloseAt",
    "ConnectionReport",
    "CutAt",
    "DropAt",
    "Echo",
    "End",
    "Expect",
    "ExpireAt",
    "Fault",
    "Paced",
    "PingEvery",
    "RecordedFrame",
    "Refuse",
    "RefuseAt",
    "Replay",
    "ResetAt",
    "Send",
    "SendClose",
    "SendFragments",
    "SendPing",
    "SendPong",
    "SendRaw",
    "Server",
    "ServerStats",
    "SilenceAt",
    "Step",
    "Venue",
    "VenueFault",
    "VenueReport",
    "VenueSession",
    "VenueSubscription",
    "Wait",
]
