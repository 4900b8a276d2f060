"""What is measured: each scenario has a name, a target on the peer, and the number of its operations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import peer

TCP_AND_TLS = (False, True)

PAUSE = 1.5
"""Seconds that a stopped consumer stops, or a server that does not read."""

FLOOD = 100_000
"""Messages of the flood before a stopped consumer: more than any server sends in that time, unless it is read."""

KINDS = (
    "round-trip",
    "ingest",
    "decode",
    "send",
    "send-each-turn",
    "latency",
    "connect",
    "idle",
    "connections",
    "stopped-consumer",
    "unawaited-sends",
    "compressed-receive",
    "compressed-send",
    "compressed-memory",
    "blocking-round-trip",
    "blocking-ingest",
    "blocking-send",
    "blocking-latency",
)

COMPRESSED = ("compressed-receive", "compressed-send", "compressed-memory")
"""Kinds in which permessage-deflate is negotiated, by what each client offers by itself."""

BLOCKING = "blocking-"
"""How the names of kinds begin in which nobody has an event loop; the rest of the name says what is done."""

FIXED = (
    "decode",
    "latency",
    "connections",
    "stopped-consumer",
    "unawaited-sends",
    *COMPRESSED,
    "blocking-latency",
)
"""Kinds in which a slow client does as much as a fast one."""

OURS = ("latency", "connections", "stopped-consumer", "unawaited-sends", *COMPRESSED, "blocking-latency")
"""Kinds that need the server of fastws.testing."""

IN_MEMORY = ("idle", "stopped-consumer", "unawaited-sends", "compressed-memory")
"""Kinds that measure memory: in a fresh process, where nothing of before can be used again."""


@dataclass(frozen=True)
class Scenario:
    """One thing to measure."""

    kind: str
    """One of KINDS."""
    size: int = 0
    tls: bool = False
    think_us: int = 0
    """Time that the server takes for each answer, so that a client which never sleeps gains nothing by it."""
    count: int = 1
    """Operations of a fast client; slower ones do a fraction, but for FIXED kinds."""
    rate: int = 0
    """Messages per second that the server sends on a connection."""
    connections: int = 1
    punctual: bool = False
    """Whether the server never sleeps, so that its own waking up is no part of a round trip."""
    clients: tuple[str, ...] = ()
    """Those that are measured; none: all that can do it."""
    rounds: int = 0
    """The most rounds, of what takes long and hardly varies; 0: as many as of the others."""

    @property
    def name(self) -> str:
        parts = [self.kind]
        if self.connections > 1:
            parts = [f"{self.connections:,} connections"]
        if self.rate:
            parts.append(f"{self.rate:,}/s")
        if self.size:
            parts.append(_size(self.size))
        parts.append("TLS" if self.tls else "TCP")
        if self.think_us:
            parts.append(f"think {self.think_us} µs")
        if self.punctual:
            parts.append("punctual")
        return " ".join(parts)

    @property
    def act(self) -> str:
        """What is done, with an event loop or without."""
        return self.kind.removeprefix(BLOCKING)

    @property
    def is_compressed(self) -> bool:
        return self.kind in COMPRESSED

    @property
    def is_punctual(self) -> bool:
        """Whether the server must do things at their time, so that it may not sleep meanwhile."""
        return self.punctual or self.act == "latency" or self.think_us > 0

    def target(self, count: int) -> str:
        match self.act:
            case "round-trip":
                return f"/echo?think_us={self.think_us}" if self.think_us else "/echo"
            case "ingest":
                return f"/blast?size={self.size}&n={count}"
            case "decode":
                return f"/replay/{peer.FEED}?speed=0"
            case "compressed-receive":
                return f"/replay/{peer.RECORDED}?speed=0"
            case "send" | "send-each-turn" | "compressed-send":
                return f"/sink?fault=close:1000@{count}"
            case "latency":
                return f"/paced?rate={self.rate}&size={self.size}&n={count}"
            case "connections":
                return f"/paced?rate={self.rate}&size={self.size}"
            case "stopped-consumer":
                return f"/blast?seq=1&size={self.size}&n={FLOOD}"
            case "unawaited-sends":
                return f"/sink?fault=stall:{PAUSE * 1000:.0f}&fault=close:1000@{count}"
            case _:
                return "/echo"

    def scaled(self, factor: float) -> Scenario:
        """The same with fewer operations."""
        return (
            self
            if self.kind in ("decode", "compressed-receive")
            else replace(self, count=max(10, int(self.count * factor)))
        )

    def shared(self, share: float) -> Scenario:
        """The same for a client that does this share of the operations."""
        return self if self.kind in FIXED else self.scaled(share)


def _size(size: int) -> str:
    if size >= 1 << 20:
        return f"{size >> 20} MiB"
    return f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


ROUND_TRIPS = tuple(
    Scenario("round-trip", size, tls, count=count)
    for tls in TCP_AND_TLS
    for size, count in ((256, 20_000), (8 << 10, 20_000), (100 << 10, 8_000), (1 << 20, 800))
)
THOUGHTFUL = (Scenario("round-trip", 256, think_us=50, count=10_000),)
PUNCTUAL_CLIENTS = ("fastws", "fastws callback", "fastws busy poll", "picows callback", "websocket-rs callback")
"""One of each way: what is to be seen is the client's own part, which the server's sleep hides elsewhere."""
PUNCTUAL = tuple(
    Scenario("round-trip", size, tls, count=count, punctual=True, clients=PUNCTUAL_CLIENTS)
    for size, tls, count in (
        (256, False, 40_000),
        (256, True, 20_000),
        (8 << 10, False, 20_000),
        (100 << 10, False, 8_000),
    )
)
INGEST = tuple(
    Scenario("ingest", size, tls, count=count // 2 if tls else count)
    for tls in TCP_AND_TLS
    for size, count in ((32, 4_000_000), (128, 4_000_000), (1 << 10, 2_000_000), (16 << 10, 150_000))
)
DECODE = tuple(Scenario("decode", tls=tls, count=peer.FEED_SIZE) for tls in TCP_AND_TLS)
SEND = (Scenario("send", 128, count=400_000), Scenario("send", 16 << 10, count=100_000))
SEND_EACH_TURN = (Scenario("send-each-turn", 128, count=200_000),)
LATENCY = tuple(Scenario("latency", 128, tls, count=30_000, rate=10_000) for tls in TCP_AND_TLS)
CONNECT = (Scenario("connect", count=2_000), Scenario("connect", tls=True, count=400))
IDLE = (Scenario("idle", count=2_000), Scenario("idle", tls=True, count=500))
CONNECTIONS = (Scenario("connections", 128, count=60_000, rate=20, connections=1_000),)
STOPPED_CONSUMER = (Scenario("stopped-consumer", 16 << 10, count=20_000),)
UNAWAITED_SENDS = (Scenario("unawaited-sends", 16 << 10, count=40_000),)
COMPRESSION = (
    Scenario("compressed-receive", count=peer.RECORDED_SIZE),
    Scenario("compressed-send", count=peer.RECORDED_SIZE // 2),
    Scenario("compressed-memory", count=500, rounds=2),
)
WITHOUT_LOOP = (
    *(
        Scenario("blocking-round-trip", size, count=count)
        for size, count in ((32, 10_000), (256, 10_000), (8 << 10, 10_000), (100 << 10, 4_000))
    ),
    Scenario("blocking-round-trip", 256, tls=True, count=10_000),
    Scenario("blocking-ingest", 128, count=1_000_000),
    Scenario("blocking-send", 128, count=200_000),
    Scenario("blocking-latency", 128, count=15_000, rate=10_000),
)

ALL = (
    ROUND_TRIPS
    + THOUGHTFUL
    + PUNCTUAL
    + INGEST
    + DECODE
    + SEND
    + SEND_EACH_TURN
    + LATENCY
    + CONNECT
    + IDLE
    + CONNECTIONS
    + STOPPED_CONSUMER
    + UNAWAITED_SENDS
    + COMPRESSION
    + WITHOUT_LOOP
)
