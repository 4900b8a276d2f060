"""Programs that were written for picows, as type checkers see them with the drop-in."""

import ssl
from typing import assert_type

from fastws.compat import picows
from fastws.compat.picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class Feed(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"subscribe")
        print(transport.request.path, transport.response.status)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            assert_type(frame.get_close_message(), bytes | None)
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            text: str = frame.get_payload_as_ascii_text()
            view: memoryview = frame.get_payload_as_memoryview()
            whole: bool = frame.fin and frame.last_in_buffer
            print(text, view.nbytes, whole)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        print(transport.close_handshake)

    def send_user_specific_ping(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"ping")

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        return frame.get_payload_as_bytes() == b"pong"


async def main(url: str) -> list[float]:
    try:
        transport, listener = await ws_connect(
            Feed,
            url,
            ssl_context=ssl.create_default_context(),
            enable_auto_ping=True,
            auto_ping_strategy=picows.WSAutoPingStrategy.PING_PERIODICALLY,
            extra_headers={"X-One": "1"},
        )
    except picows.WSError as error:
        raise SystemExit(str(error)) from error
    assert_type(transport, WSTransport)
    assert_type(listener, WSListener)
    transport.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(20), 14)
    times = await transport.measure_roundtrip_time(5)
    await transport.wait_disconnected()
    return times
