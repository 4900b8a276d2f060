"""What a program written for websocket-client gains by the drop-in: both sides in turns, medians of the rounds.

    .venv/bin/python benches/compat_websocket_client.py [rounds]

Needs ``websocket-client``. Each side runs in a process of its own, with the embedded server in native threads of it.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import time

from fastws.testing import Server

SIDES = {"websocket-client": "websocket", "the drop-in": "fastws.compat.websocket_client"}

SMALL, LARGE = 128, 65_536


def measured(module: str, url: str) -> dict[str, float]:
    """Of each row how many a second."""
    websocket = importlib.import_module(module)
    factor = 1 if module == "websocket" else 8
    rows = {}

    def timed(row: str, count: int, act) -> None:
        begun = time.perf_counter()
        act()
        rows[row] = count / (time.perf_counter() - begun)

    def strings(ws, count: int) -> None:
        for _ in range(count):
            ws.recv()

    def round_trips(ws, payload: bytes, count: int) -> None:
        for _ in range(count):
            ws.send_binary(payload)
            ws.recv()

    for size, count in ((SMALL, 20_000 * factor), (LARGE, 1_000 * factor)):
        ws = websocket.create_connection(f"{url}blast?n={count}&size={size}", timeout=60)
        timed(f"recv, {size} B", count, lambda ws=ws, count=count: strings(ws, count))
        ws.close()
    count = 20_000 * factor
    app = websocket.WebSocketApp(f"{url}blast?n={count}&size={SMALL}", on_message=lambda _app, _message: None)
    timed(f"WebSocketApp, {SMALL} B", count, app.run_forever)
    ws = websocket.create_connection(f"{url}sink", timeout=60)
    text = "x" * SMALL
    timed(f"send, {SMALL} B", 20_000, lambda: [ws.send(text) for _ in range(20_000)])
    ws.close()
    for size, count in ((256, 4_000), (LARGE, 500)):
        ws = websocket.create_connection(url, timeout=60)
        payload = bytes(size)
        round_trips(ws, payload, 100)
        timed(
            f"round trips, {size} B", count, lambda ws=ws, payload=payload, count=count: round_trips(ws, payload, count)
        )
        ws.close()
    timed("connect and close", 200, lambda: [websocket.create_connection(url, timeout=60).close() for _ in range(200)])
    return rows


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    results: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}
    for number in range(rounds):
        for side in list(SIDES) if number % 2 else list(SIDES)[::-1]:
            command = [sys.executable, __file__, "--side", SIDES[side]]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            for row, rate in json.loads(done.stdout).items():
                results[side].setdefault(row, []).append(rate)
    theirs, ours = (results[side] for side in SIDES)
    print("| a second | websocket-client | the drop-in | ratio (range of the rounds) |\n| --- | ---: | ---: | ---: |")
    for row, rates in theirs.items():
        ratios = sorted(mine / other for mine, other in zip(ours[row], rates, strict=True))
        spread = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}–{ratios[-1]:.1f})"
        print(f"| {row} | {statistics.median(rates):,.0f} | {statistics.median(ours[row]):,.0f} | {spread} |")


if __name__ == "__main__":
    if "--side" in sys.argv:
        with Server() as server:
            os.environ.pop("http_proxy", None)
            print(json.dumps(measured(sys.argv[-1], server.url("/"))))
    else:
        main()
