"""The smallest program: send a message, read the answer.

With a URL it talks to your server; without one it starts the embedded server and talks to that.
"""

import sys

import fastws
from fastws.testing import Server


async def talk(url: str) -> None:
    async with fastws.connect(url) as ws:
        await ws.send("hello")
        print(await ws.recv())


if len(sys.argv) > 1:
    fastws.run(talk(sys.argv[1]))
else:
    with Server() as server:
        fastws.run(talk(server.url("/echo")))
