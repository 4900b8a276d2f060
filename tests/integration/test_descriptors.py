"""The numbers of closed descriptors are used again; who still has one breaks somebody else's file."""

REUSED = """
        # The number of a closed descriptor is used again by something that epoll refuses: uvloop aborts the process if
        # it still has the number. The loop must only ever know the hub, and the hub must forget a descriptor first.
        def reuse(fd):
            assert not is_open(fd)
            plain = os.open(__import__("tempfile").mkstemp()[1], os.O_RDWR)
            if plain != fd:
                os.dup2(plain, fd)
                os.close(plain)

        async def turns():
            for _ in range(5):
                await asyncio.sleep(0.001)
"""


def test_the_number_of_a_closed_connection_is_reused_by_a_regular_file(process):
    process(
        REUSED
        + """
        async def main():
            for _ in range(3):
                ws = await peer.connect()
                fd = ws.fileno()
                await ws.close()
                reuse(fd)
                await turns()
                other = await peer.connect()
                await other.close()
                await turns()
                os.close(fd)

        with Peer() as peer:
            run(main())
        print("ok")
        """
    )


def test_the_number_of_a_dropped_connection_is_reused_by_a_regular_file(process):
    process(
        REUSED
        + """
        async def main():
            keep = await peer.connect()
            for _ in range(3):
                ws = await peer.connect()
                fd = ws.fileno()
                del ws
                reuse(fd)
                await turns()
                assert keep.state is fastws.State.OPEN
                os.close(fd)
            del keep
            await turns()

        with Peer(quiet) as peer:
            run(main())
        print("ok")
        """,
        warned=["unclosed"],
    )


def test_the_number_of_the_hubs_own_descriptor_is_reused_after_its_loop_left_it(process):
    process(
        REUSED
        + """
        def pollers():
            found = []
            for fd in range(3, 100):
                with contextlib.suppress(OSError):
                    if "eventpoll" in os.readlink(f"/proc/self/fd/{fd}"):
                        found.append(fd)
            return found

        async def main():
            before = pollers()
            ws = await peer.connect()
            fds = [fd for fd in pollers() if fd not in before]
            assert len(fds) == 1
            del ws
            gc.collect()
            await turns()
            gc.collect()
            await turns()
            # The hub is gone with its last connection, or it is kept for the next; its number must not be watched.
            for fd in fds:
                if not is_open(fd):
                    reuse(fd)
            await turns()
            async with peer.connect(close_timeout=0.01):
                await turns()
            await turns()

        with Peer(quiet) as peer:
            run(main())
        print("ok")
        """,
        warned=["unclosed"],
    )


def test_the_number_of_a_connection_whose_dial_was_cancelled_is_reused(process):
    process(
        REUSED
        + """
        async def main():
            for _ in range(3):
                before = {int(fd) for fd in os.listdir("/proc/self/fd")}
                task = asyncio.create_task(peer.connect().__aenter__())
                while not peer.accepted:
                    await asyncio.sleep(0.001)
                await turns()
                new = [fd for fd in {int(fd) for fd in os.listdir("/proc/self/fd")} - before if is_open(fd)]
                task.cancel()
                await asyncio.wait({task})
                for fd in new:
                    if not is_open(fd):
                        reuse(fd)
                await turns()

        with Peer(mute, upgrade=False) as peer:
            run(main())
        print("ok")
        """
    )
