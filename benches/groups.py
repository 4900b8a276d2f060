"""What the page has a section and a chart for, in its order: each kind of scenario, and what is done in it."""

from __future__ import annotations

from dataclasses import dataclass

from results import Record, Scenario


@dataclass(frozen=True)
class Group:
    """Scenarios of one kind, which share a chart and a section."""

    kind: str
    slug: str
    title: str
    about: str
    absolute: bool = False
    """Amounts, not ratios: where the baseline may be nothing at all."""

    def scenarios(self, record: Record) -> list[Scenario]:
        return [scenario for scenario in record.scenarios if scenario.kind == self.kind]


GROUPS = (
    Group(
        "round-trip",
        "round-trips",
        "Round trips",
        "One message out, its echo back, the next one out. *fastws* is `await ws.send()` and `await ws.recv()`;"
        " *busy poll* and *spin* do not sleep between the two. Where the server thinks for 50 µs, a client gains little"
        " by never sleeping. The server sleeps between two messages, and its waking up is a part of each round trip;"
        " where it is *punctual* it never does.",
    ),
    Group(
        "ingest",
        "ingest",
        "Receiving",
        "The server sends as fast as the socket takes it; the consumer counts messages and adds their lengths."
        " *fastws* is `async for message in ws`, *batches* is `async for batch in ws.batches()`.",
    ),
    Group(
        "decode",
        "decode",
        "Receiving and decoding",
        "A generated exchange feed in JSON, each message through `orjson.loads`.",
    ),
    Group(
        "send",
        "send",
        "Sending",
        "As fast as messages are accepted, until the server's Close says that it has them all. *fastws* is"
        " `await ws.send()`.",
    ),
    Group(
        "send-each-turn",
        "send-each-turn",
        "Sending one message in each turn of the loop",
        "Nothing can be put together here: each message is a system call of its own, for every client.",
    ),
    Group(
        "latency",
        "latency",
        "One-way latency",
        "From the server's send to the consumer's first line, at a steady rate: the middle, and what one in a hundred"
        " and one in a thousand exceed.",
    ),
    Group("connect", "connect", "Connecting", "Opened and closed again, one after the other, with all handshakes."),
    Group(
        "idle",
        "idle",
        "Memory of an idle connection",
        "What the process grows by for each connection that is open and quiet.",
    ),
    Group(
        "connections",
        "connections",
        "Many connections",
        "CPU time of a message where a thousand connections each receive a few a second: mostly the kernel's.",
    ),
    Group(
        "stopped-consumer",
        "stopped-consumer",
        "A consumer that stops",
        "What the process grows by while its consumer does nothing for 1.5 s and the server goes on sending.",
        absolute=True,
    ),
    Group(
        "unawaited-sends",
        "unawaited-sends",
        "Sends that nobody awaits",
        "What the process grows by when 40,000 messages of 16 KiB are sent to a server that does not read for 1.5 s,"
        " and nobody waits for room. *Refused* had an error or a warning each; *lost* were accepted and never arrived.",
        absolute=True,
    ),
    Group(
        "compressed-receive",
        "compressed-receive",
        "Receiving compressed messages",
        "Recorded sessions of exchanges, 100,000 text messages, compressed by the server before anyone asks for them;"
        " each client on the terms that it offers by itself.",
    ),
    Group(
        "compressed-send",
        "compressed-send",
        "Sending compressed messages",
        "Half of these messages the other way, until the server's Close says that it has them all. Every message is"
        " compressed, at the level that is each client's own.",
    ),
    Group(
        "compressed-memory",
        "compressed-memory",
        "Memory of a compressed connection",
        "What the process grows by for each connection that carried 40 messages in each direction, right behind them"
        " and after 11 s of silence.",
    ),
    Group(
        "blocking-round-trip",
        "blocking-round-trips",
        "Round trips without an event loop",
        "`ws.send()` and `ws.recv()` of blocking clients.",
    ),
    Group(
        "blocking-ingest",
        "blocking-ingest",
        "Receiving without an event loop",
        "As fast as the server sends; *fastws sync* is `for message in ws`.",
    ),
    Group(
        "blocking-send",
        "blocking-send",
        "Sending without an event loop",
        "As fast as messages are accepted, until the server's Close says that it has them all.",
    ),
    Group(
        "blocking-latency",
        "blocking-latency",
        "One-way latency without an event loop",
        "From the server's send to the consumer's first line, at a steady rate.",
    ),
)


def measured(record: Record) -> list[Group]:
    """Those that were measured, in the order of the page; kinds that it does not know come last."""
    kinds = {scenario.kind: None for scenario in record.scenarios}
    known = [group for group in GROUPS if group.kind in kinds]
    unknown = [kind for kind in kinds if all(kind != group.kind for group in GROUPS)]
    return known + [Group(kind, kind, kind.replace("-", " ").capitalize(), "") for kind in unknown]
