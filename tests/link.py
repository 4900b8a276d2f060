"""A TCP link between a client and a server that can be cut, closed, truncated and delayed. It runs in a thread."""

import asyncio
import contextlib
import socket
import struct
import threading


class Link:
    """Listens on ``port`` and carries every connection to ``target``, a port of this machine.

    With ``buffer`` the kernel keeps little of what comes from the clients: about so many bytes, and what they may send.
    """

    def __init__(self, target, buffer=None):
        self.target = target
        self.delay = 0.0
        self._pairs = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        started = threading.Event()
        self._loop.call_soon(started.set)
        self._thread.start()
        started.wait()
        listener = socket.create_server(("127.0.0.1", 0))
        if buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            # The client's side keeps a few segments, and those of the loopback have 64 KiB.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self._server = self._do(asyncio.start_server(self._accept, sock=listener))
        self.port = listener.getsockname()[1]

    def cut(self):
        """Reset all connections, at both ends."""
        self._loop.call_soon_threadsafe(self._end, "reset", None)

    def close(self):
        """FIN on all connections, at both ends."""
        self._loop.call_soon_threadsafe(self._end, "fin", None)

    def truncate(self, count):
        """Close every connection after so many more bytes to the client."""
        self._loop.call_soon_threadsafe(self._end, "truncate", count)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _stop(self):
        self._server.close()
        self._end("reset", None)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, how, count):
        for pair in tuple(self._pairs):
            if how == "truncate":
                pair.left = count
            else:
                pair.end(how)

    async def _accept(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._carry(pair, reader, far_writer, is_down=False),
                self._carry(pair, far_reader, writer, is_down=True),
            )
        finally:
            self._pairs.discard(pair)
            pair.end("fin")
            for each in pair.writers:  # whose streams complain of a reset that nobody asks for
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(1):
                        await each.wait_closed()

    async def _carry(self, pair, reader, writer, *, is_down):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if is_down and pair.left is not None:
                    data, ends = data[: pair.left], len(data) >= pair.left
                    pair.left -= len(data)
                    writer.write(data)
                    if ends:
                        break
                else:
                    writer.write(data)
                await writer.drain()
        pair.end("fin")


class _Pair:
    def __init__(self, *writers):
        self.writers = writers
        self.left = None

    def end(self, how):
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if how == "reset" and sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()
