"""What a type checker makes of the public API: `make types` runs mypy over this file, strictly.

Nothing here runs. `assert_type` fails the check when a type widens; a `type: ignore` that is not needed any more fails
it too, so wrong calls stay wrong.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any, assert_type

import fastws
from fastws.testing import ResetAt, Server, SilenceAt, Venue, VenueSession


async def opening() -> None:
    assert_type(await fastws.connect("ws://host"), fastws.Connection)
    async with fastws.connect("wss://host", tls="system", open_timeout=timedelta(seconds=2)) as ws:
        assert_type(ws, fastws.Connection)
    await fastws.connect("ws://host", max_queue=(10, 2), max_queue_bytes=None, ping_interval=None, max_size=None)
    await fastws.connect("ws://host", additional_headers={"A": "b"})
    await fastws.connect("ws://host", additional_headers=[("A", "b"), ("A", "c")])
    await fastws.connect("ws://host", sock=socket.socket(), subprotocols=["a"])
    await fastws.connect("wss://host", tls="openssl")
    await fastws.connect("wss://host", tls=ssl.create_default_context())
    await fastws.connect("wss://host", tls="gnutls")  # type: ignore[arg-type]
    await fastws.connect("wss://host", tls=fastws.TlsConfig(backend="webpki", ca=b"", pins=[""], crls=(b"",)))
    await fastws.connect("ws://host", kernel_timestamps=True, quickack=True, so_busy_poll=50e-6, incoming_cpu=3)
    await fastws.connect("ws://host", so_busy_poll=timedelta(microseconds=50), incoming_cpu=None)
    await fastws.connect("ws://host", sockopts=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20), (6, 13, b"reno")])
    await fastws.connect("ws://host", sockopts={(1, 2, "three")})  # type: ignore[arg-type]
    await fastws.connect("ws://host", quickack=1)  # type: ignore[arg-type]
    await fastws.connect("ws://host", compression="deflate")
    await fastws.connect("ws://host", proxy=True, family=socket.AF_INET6, local_addr=("::1", 0), auth=("user", "p"))
    await fastws.connect(
        "ws://host", proxy="http://h:1", proxy_headers={"A": "b"}, proxy_tls="webpki", happy_eyeballs_delay=None
    )
    await fastws.connect("ws://host", proxy=lambda uri: None, on_auth_challenge=lambda response: None)
    await fastws.connect("ws://host", proxy=proxy_of, on_auth_challenge=answer_to, max_redirects=0, interleave=2)
    await fastws.connect("ws://host", proxy=False)  # type: ignore[arg-type]
    await fastws.connect("ws://host", auth="user:p")  # type: ignore[arg-type]
    assert_type(await fastws.unix_connect("/run/feed.sock"), fastws.Connection)
    fastws.WebSocketClient("ws+unix:///run/feed.sock:/", proxy=proxy_of)
    await fastws.connect("ws://host", compression=fastws.Deflate(level=1, server_no_context_takeover=True))
    await fastws.connect("ws://host", compression="gzip")  # type: ignore[arg-type]
    await fastws.connect("ws://host", messages="str")  # type: ignore[arg-type]
    await fastws.connect("ws://host", reconnect=True)  # type: ignore[call-arg]
    await fastws.connect("ws://host", open_timeout="5")  # type: ignore[arg-type]


def blocking() -> None:
    with fastws.sync.connect("ws://host", background=False, open_timeout=timedelta(seconds=2)) as ws:
        assert_type(ws, fastws.sync.Connection)
        assert_type(ws.send("text", timeout=1), None)
        assert_type(ws.ping().result(timeout=timedelta(seconds=1)), float)
        assert_type(ws.close_code, int | None)
        ws.recv(timeout=1, decode=False)
        for batch in ws.batches(max_wait=0.1):
            assert_type(batch, fastws.Batch)
    for ws in fastws.sync.reconnect("ws://host", retry=fastws.NoRetry(), timeout=1, max_size=None):
        assert_type(ws, fastws.sync.Connection)
    with fastws.sync.WebSocketClient("ws://host", retry=fastws.NoRetry()).start(timeout=timedelta(seconds=2)) as client:
        assert_type(client, fastws.sync.WebSocketClient)
        assert_type(client.stream(), fastws.sync.Stream[str | bytes])
        assert_type(client.stream(decode=len).recv(timeout=1), int)
        for item in client.stream(markers=True):
            assert_type(item, fastws.Message[str | bytes] | fastws.markers.Marker)
        for event in client.events():
            assert_type(event, fastws.events.Event)
        assert_type(client.send("text", timeout=1, receipt=True), fastws.sync.Receipt | None)
        assert_type(client.ping(timeout=1), float)
        assert_type(client.subscriptions.confirmed("key", timeout=1), None)
        client.recv()  # type: ignore[attr-defined]
    assert_type(fastws.sync.WebSocketClient.builder("ws://host").no_retry().build(), fastws.sync.WebSocketClient)
    fastws.sync.connect("ws://host", listener=None)  # type: ignore[call-arg]
    fastws.sync.connect("ws://host", background=1)  # type: ignore[arg-type]


async def proxy_of(uri: str) -> str | None:
    return f"http://{uri}"


async def answer_to(response: fastws.Response) -> dict[str, str]:
    assert_type(response.status_code, int)
    return {"Authorization": "Bearer x"}


async def sending(ws: fastws.Connection, parts: list[str], stream: AsyncIterator[bytes]) -> None:
    assert_type(await ws.send("text"), None)
    await ws.send(b"binary")
    await ws.send(bytearray(b"x"))
    await ws.send(memoryview(b"x"), text=True)
    await ws.send(parts)
    await ws.send(stream)
    assert_type(ws.send_nowait("text"), None)
    await ws.send_many(["a", b"b"])
    assert_type(ws.flush(), None)
    with ws.cork() as nothing:
        assert_type(nothing, None)
        ws.send_nowait("text")
    async with ws.cork():  # type: ignore[attr-defined]
        pass
    await ws.send_json({"op": "subscribe"})
    pong = await ws.ping(b"data")
    _: Awaitable[float] = pong
    assert_type(await pong, float)
    assert_type(await ws.pong(), None)
    assert_type(ws.send_threadsafe("text").result(), None)
    await ws.close(code="1000")  # type: ignore[arg-type]


async def receiving(ws: fastws.Connection) -> None:
    task = asyncio.create_task(ws.recv())
    assert_type(task.cancel(), bool)
    async for batch in ws.batches(max_messages=100, max_wait=0.01):
        assert_type(batch, fastws.Batch)
        assert_type(batch.received_ns, int)
        assert_type(batch.kernel_ns, int | None)
        assert_type(len(batch), int)
    assert_type(ws.received_ns, int)
    assert_type(ws.kernel_ns, int | None)
    assert_type(ws.seq, int)
    ws.batches(max_message=1)  # type: ignore[call-arg]


async def state(ws: fastws.Connection) -> None:
    assert_type(ws.state, fastws.State)
    assert_type(ws.latency, float)
    assert_type(ws.close_code, int | None)
    assert_type(ws.close_reason, str | None)
    assert_type(ws.close_info, fastws.CloseInfo | None)
    assert_type(ws.subprotocol, str | None)
    assert_type(ws.request, fastws.Request)
    assert_type(ws.response, fastws.Response | None)
    assert_type(ws.stats(), fastws.ConnectionStats)
    assert_type(await ws.wait_closed(), None)
    ws.state = fastws.State.OPEN  # type: ignore[misc]


class Feed(fastws.Listener):
    def on_open(self, ws: fastws.Connection) -> None:
        ws.send_nowait("sub")

    def on_message(self, ws: fastws.Connection, message: Any) -> None:
        assert_type(ws.received_ns, int)

    def on_close(self, ws: fastws.Connection, close: fastws.CloseInfo) -> None:
        assert_type(close.code, int)


async def listening() -> None:
    ws = await fastws.connect("ws://host", listener=Feed())
    assert_type(ws, fastws.Connection)


class Login(fastws.Handshaker):
    name = "login"
    timeout = 5.0

    async def handshake(self, channel: fastws.HandshakeChannel, context: fastws.ConnectionContext, /) -> None:
        await channel.send_json({"op": "login"})
        answer = await channel.expect(lambda message: message["op"] == "login", seen=True)
        assert_type(answer, fastws.HandshakeMessage)
        assert_type(answer.received_ns, int)
        assert_type(channel.unclaimed, list[fastws.HandshakeMessage])
        context.put_metadata("session", answer.value)


async def fetch_token() -> str:
    return "token"


def handshaking() -> None:
    auth = fastws.AuthHandshaker(fetch_token, confirm=lambda message: message["ok"], timeout=timedelta(seconds=5))
    assert_type(auth.json().with_timeout(None), fastws.AuthHandshaker)
    assert_type(auth.custom_format("AUTH {}").custom_format(lambda token: {"token": token}), fastws.AuthHandshaker)
    subscribe = fastws.SubscribeHandshaker(["a"]).wait_confirmation(lambda message, channel: message == channel)
    assert_type(subscribe, fastws.SubscribeHandshaker)
    chain = auth.then(subscribe).then(Login())
    assert_type(chain, fastws.ChainedHandshaker)
    assert_type(len(chain.without_timeout()), int)
    assert_type(fastws.chain_handshakers(fastws.NoOpHandshaker(), chain), fastws.ChainedHandshaker)
    fastws.SendMessageHandshaker.json({"a": 1}).with_response()
    fastws.AuthHandshaker(b"token")  # type: ignore[arg-type]
    auth.then("subscribe")  # type: ignore[arg-type]


class Counts(fastws.Extension):
    name = "counts"
    handles_messages = True
    count = 0

    async def on_connect(self, context: fastws.ConnectionContext, /) -> None:
        assert_type(context.connection_id, int)

    def on_message(self, message: str | bytes, context: fastws.ConnectionContext, /) -> str | bytes:
        self.count += 1
        return message

    def on_disconnect(self, context: fastws.ConnectionContext, reason: fastws.DisconnectReason | None, /) -> None: ...


async def extending() -> None:
    viewer = fastws.AdvancedStatusViewer(history_limit=10)
    host = fastws.ExtensionHost([Counts(), viewer, fastws.LoggingExtension.verbose()], policy="disconnect")
    await host.register(fastws.StatusViewer())
    assert_type(host.names, tuple[str, ...])
    assert_type(viewer.uptime, float | None)
    assert_type(viewer.current_status, fastws.SessionStatus)
    assert_type(await host.process("m", fastws.ConnectionContext(1)), str | bytes | None)
    fastws.ExtensionHost([], policy="sometimes")  # type: ignore[arg-type]
    fastws.LoggingConfig(level=fastws.LogLevel.DEBUG).with_max_len(10)


async def tracking(ws: fastws.Connection) -> None:
    async def resync(key: str, expected: int, got: int) -> int:
        return got - expected

    tracker = fastws.SequenceTracker(lambda message: ("key", message["seq"]), resync=resync, duplicates="deliver")
    async for item in tracker.track(ws):
        if isinstance(item, fastws.Gap):
            assert_type(item.expected, int)
    assert_type(tracker.sequences.stats.gaps, int)
    async with fastws.Recorder("x.jsonl.gz", flush_every=timedelta(seconds=1)) as recorder:
        recorder("in", ws.received_ns, "message")
        recorder("sideways", 0, "")  # type: ignore[arg-type]
        assert_type(recorder.error, fastws.RecordingError | None)


def masking() -> None:
    assert_type(fastws.redact_uri("wss://host/?token"), str)
    assert_type(fastws.redact_headers({"Cookie": "x"}), list[tuple[str, str]])
    assert_type(fastws.Redactor("secret", patterns=[r"/(\w+)"]).filter("text"), str)
    fastws.RedactingFilter(fastws.Redactor())


async def main() -> int:
    return 3


assert_type(fastws.run(main()), int)

with Server() as server:
    assert_type(server.url("/echo"), str)


def errors(error: Exception) -> None:
    match error:
        case fastws.InvalidStatus():
            assert_type(error.response, fastws.Response)
        case fastws.ConnectionClosed():
            assert_type(error.rcvd, fastws.Close | None)
        case fastws.SocketOptionError():
            assert_type(error.option, str)
            assert_type(error.errno, int | None)
        case fastws.OpenTimeout():
            assert_type(error.uri, str)
            assert_type(error.suggested_delay, float | None)
            assert_type(error.is_retryable, bool)
            raise error.context("while opening")
        case fastws.ShutdownTimeout() | fastws.RetriesExhausted():
            assert_type(error.unsent, tuple[fastws.Unsent, ...])
        case fastws.DecodeError():
            assert_type(error.data, str | bytes)
        case fastws.HandshakeError():
            assert_type(error.is_retryable, bool)
        case _:
            raise error


async def told(hub: fastws.events.EventHub) -> None:
    def ready(event: fastws.Ready) -> None:
        assert_type(event.generation, int)

    async def any_event(event: fastws.Event) -> None:
        assert_type(event.at_ns, int)

    remove = hub.on(fastws.Ready, ready)
    assert_type(remove(), None)
    hub.on(None, any_event)
    hub.on(fastws.Connecting, ready)  # type: ignore[arg-type]
    async for event in hub.stream():
        match event:
            case fastws.Disconnected():
                assert_type(event.reason, fastws.DisconnectReason)
                assert_type(event.unsent, tuple[fastws.Unsent, ...])
            case fastws.events.Error():
                assert_type(event.error, BaseException)
            case fastws.Shutdown():
                assert_type(event.unsent, tuple[fastws.Unsent, ...])
            case _:
                assert_type(event, fastws.Event)


def retrying(failure: fastws.Failure, snapshot: fastws.ConnectionSnapshot) -> fastws.RetryStrategy:
    backoff = fastws.ExponentialBackoff(0.1, timedelta(seconds=5), 1.5, jitter=0.2, immediate_first=True)
    assert_type(backoff.with_max_attempts(3).with_seed(1), fastws.ExponentialBackoff)
    assert_type(backoff.next_delay(failure), float | None)
    assert_type(backoff.initial, float)
    backoff.initial = 2.0  # type: ignore[misc]
    fastws.ExponentialBackoff(0.1)  # type: ignore[call-arg]
    assert_type(failure.close_code, int | None)
    assert_type(snapshot.status, fastws.Status)
    assert_type(snapshot.connection_duration, float | None)
    strategies: list[fastws.RetryStrategy] = [
        fastws.FixedDelay(1).with_max_attempts(3),
        fastws.NoRetry(),
        fastws.CustomRetry(lambda failure: timedelta(seconds=failure.attempt)),
    ]
    fastws.CustomRetry(lambda failure: "1")  # type: ignore[arg-type, return-value]
    fastws.ClosePolicy(frozenset(fastws.FINAL_CLOSE_CODES) | {4401})
    return strategies[0]


async def streaming(
    texts: fastws.Stream[str], marked: fastws.Stream[fastws.Message[int] | fastws.markers.Marker]
) -> None:
    async for text in texts:
        assert_type(text, str)
    assert_type(await texts.recv(), str)
    assert_type(texts.lag, tuple[int, int])
    async for item in marked:
        match item:
            case fastws.Message(data):
                assert_type(data, int)
            case fastws.Dropped():
                assert_type(item.count, int)
            case fastws.Outage():
                assert_type(item.attempts, int)
    policy: fastws.streams.Policy = fastws.Conflate(fastws.keys.json("product_id"))
    policy = "drop_oldest"
    policy = "lossy"  # type: ignore[assignment]
    fastws.Conflate("product_id")  # type: ignore[arg-type]
    async with texts as entered:
        assert_type(entered, fastws.Stream[str])
    assert policy


async def limiting() -> None:
    limit = fastws.RateLimit(5, timedelta(seconds=1), burst=1, scope="shared")
    assert_type(limit.per, float)
    fastws.RateLimits(limit, {"orders": fastws.RateLimit(10, 60)})
    fastws.RateLimit(5, 1, scope="client")  # type: ignore[arg-type]
    limiter = fastws.ConnectLimiter(50, 1.0, max_concurrent=10)
    async with limiter.slot() as nothing:
        assert_type(nothing, None)


def configuring() -> None:
    config = fastws.ClientConfig(receive_timeout=timedelta(seconds=5), connect_timeout=3, ping_interval="auto")
    assert_type(config.receive_timeout, float | None)
    assert_type(config.connect_timeout, float | None)
    assert_type(config.replace(keep_limit=5), fastws.ClientConfig)
    assert_type(fastws.ClientConfig.fast_reconnect(), fastws.ClientConfig)
    fastws.ClientConfig(recieve_timeout=5)  # type: ignore[call-arg]
    fastws.ClientConfig(on_disconnect_send="retry")  # type: ignore[arg-type]
    fastws.ClientConfig(ping_interval="never")  # type: ignore[arg-type]
    config.receive = False  # type: ignore[misc]


def venue(server: Server) -> None:
    venue = server.add_venue("/v", "feed", speed=2, tokens=["a"], faults=[ResetAt(1), SilenceAt(2, seconds=1.5)])
    assert_type(venue, Venue)
    assert_type(venue.report().sessions[0], VenueSession)
    assert_type(venue.indexes(venue.report().sessions[0]), list[int])
    server.add_venue("/v", "feed", channels=["A", None], snapshots={"A": [(0, "{}"), (1, b"{}")]}, autostart=False)
    server.add_venue("/v", "feed", faults=["reset"])  # type: ignore[list-item]


async def client_typing(client: fastws.WebSocketClient, extension: fastws.Extension) -> None:
    assert_type(client.stats(), fastws.ClientStats)
    assert_type(client.stats().as_prometheus(venue="x"), str)
    assert_type(client.snapshot(), fastws.ConnectionSnapshot)
    assert_type(client.sender(), fastws.Sender)
    assert_type(await client.register_extension(extension), None)
    fastws.WebSocketClient("ws://h/", redact=["token"])
    fastws.WebSocketClient("ws://h/", redact=1)  # type: ignore[arg-type]
