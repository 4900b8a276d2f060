"""Programs that were written for websocket-client, as type checkers see them with the drop-in."""

import fastws.compat.websocket_client as websocket


def low_level(url: str) -> None:
    ws: websocket.WebSocket = websocket.create_connection(url, timeout=5, header={"X-One": "1"}, sslopt={})
    size: int = ws.send("text")
    message: str | bytes = ws.recv()
    opcode, frame = ws.recv_data_frame(control_frame=True)
    final: int = frame.fin
    status: int | None = ws.getstatus()
    headers: dict[str, str] | None = ws.getheaders()
    ws.settimeout(None)
    ws.send_frame(websocket.ABNF.create_frame(b"data", websocket.ABNF.OPCODE_BINARY, 0))
    ws.close(websocket.STATUS_GOING_AWAY, "bye", timeout=1)
    print(size, message, opcode, final, status, headers)


def on_message(app: websocket.WebSocketApp, message: str) -> None:
    app.send(message)
    app.send_bytes(b"data")


def on_close(app: websocket.WebSocketApp, code: int | None, reason: str | None) -> None:
    print(app.url, code, reason)


def high_level(url: str) -> bool:
    websocket.enableTrace(True)
    websocket.setdefaulttimeout(10)
    app = websocket.WebSocketApp(url, header=lambda: ["X-One: 1"], on_message=on_message, on_close=on_close)
    try:
        return app.run_forever(ping_interval=20, ping_timeout=10, reconnect=5)
    except websocket.WebSocketException as error:
        if isinstance(error, websocket.WebSocketBadStatusException):
            print(error.status_code, error.resp_headers, error.resp_body)
        raise
