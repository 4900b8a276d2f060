"""fastws.sync and the process: signals, Ctrl-C, forks, the end of the interpreter."""

from programs import run_program


def process(program, **options):
    return run_program("asyncio", "import fastws.sync\n" + program, **options)


def test_a_handled_signal_does_not_end_a_recv():
    """PEP 475: Python's handlers run while the call waits, and it goes on."""
    process("""
handled = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: handled.set())

def script(wire):
    while not handled.is_set():
        os.kill(os.getpid(), signal.SIGUSR1)
        handled.wait(0.01)
    wire.send(text("a"))
    wire.answer_close()

for background in (True, False):
    handled.clear()
    with Peer(script) as peer, fastws.sync.connect(peer.url, background=background) as ws:
        assert ws.recv() == "a"
print("ok")
""")


def test_a_handler_that_raises_ends_a_recv_and_nothing_is_lost():
    process("""
class Stop(Exception): pass
stopped = threading.Event()

def stop(*_):
    if not stopped.is_set():
        stopped.set()
        raise Stop

signal.signal(signal.SIGUSR1, stop)

def script(wire):
    opened.wait()
    while not stopped.is_set():
        os.kill(os.getpid(), signal.SIGUSR1)
        stopped.wait(0.01)
    wire.send(text("a"))
    wire.answer_close()

opened = Gate()
with Peer(script) as peer, fastws.sync.connect(peer.url) as ws:
    try:
        opened.open()
        ws.recv()
    except Stop:
        pass
    else:
        raise AssertionError("not stopped")
    assert ws.recv() == "a"
print("ok")
""")


def test_ctrl_c_ends_a_recv_and_the_connection_is_closed():
    process("""
def script(wire):
    opened.wait()
    os.kill(os.getpid(), signal.SIGINT)
    return wire.answer_close()

opened = Gate()
try:
    with Peer(script) as peer:
        with fastws.sync.connect(peer.url) as ws:
            opened.open()
            ws.recv()
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("not interrupted")
assert ws.state.name == "CLOSED"
assert ws.close_info.sent.code == 1011, ws.close_info
print("ok")
""")


def test_ctrl_c_ends_close_and_send_and_connect():
    process("""
gate = Gate()
armed = threading.Event()

def interrupt(*_):
    if armed.is_set():
        armed.clear()
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)

def again():
    armed.wait()
    while armed.is_set():
        os.kill(os.getpid(), signal.SIGINT)

def interrupted(call):
    threading.Thread(target=again).start()
    try:
        armed.set()
        call()
    except KeyboardInterrupt:
        return
    raise AssertionError("not interrupted")

with Peer(lambda _: gate.wait(), buffers=SMALL) as peer, Peer(lambda _: gate.wait(), upgrade=False) as silent:
    ws = fastws.sync.connect(peer.url, close_timeout=None, ping_interval=None)
    interrupted(lambda: ws.send(b"x" * 40_000_000))
    assert ws.state.name == "OPEN"
    interrupted(ws.close)
    assert ws.state.name == "CLOSED", ws
    interrupted(lambda: fastws.sync.connect(silent.url, open_timeout=None))
    gate.open()
print("ok")
""")


def test_a_forked_child_ends_its_own_helpers_and_leaves_those_that_its_parent_had():
    """A thread of the child's may have the number of one that ended in the parent."""
    process("""
import atexit

def opened():
    ws = fastws.sync.connect(peer.url)
    ws.send("a")
    assert ws.recv() == "a"
    return ws

def name(task):
    with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/comm") as file:
        return file.read().strip()

def ended():
    while any(name(task) == "fastws-sync" for task in os.listdir("/proc/self/task")):
        pass

def child():
    for ws in [opened() for _ in range(4)]:
        ws.close()
    ended()
    atexit._run_exitfuncs()

with Peer(answering(lambda payload: text(payload.decode()))) as peer:
    for _ in range(3):
        opened().close()
    ended()
    in_a_child(child)
print("ok")
""")


def test_a_forked_child_is_refused_every_call_and_the_parent_goes_on():
    process("""
def script(wire):
    wire.read_frame()
    wire.send(text("a"))
    return wire.answer_close()

for background in (True, False):
    with Peer(script) as peer:
        with fastws.sync.connect(peer.url, background=background) as ws:
            def child():
                global ws
                for call in (ws.recv, ws.ping, ws.pong, ws.close, ws.wait_closed, ws.stats, ws.flush, ws.fileno,
                             lambda: next(ws), lambda: ws.send("x"), lambda: ws.send(["x"]), lambda: ws.recv(0),
                             lambda: ws.send_many(["x"])):
                    refused(call)
                repr(ws)
                del ws, call
                gc.collect()

            in_a_child(child)
            ws.send("go")
            assert ws.recv(timeout=20) == "a"
    assert [frame.opcode for frame in peer.results[0]] == [CLOSE]
print("ok")
""")


def test_a_forked_child_has_connections_of_its_own_and_ends_well():
    process("""
def script(wire):
    wire.send(text("a"))
    return wire.answer_close()

faulthandler.cancel_dump_traceback_later()  # its thread would be missed by the child
with Peer(script) as peer, Peer(script) as other:
    with fastws.sync.connect(peer.url) as ws:
        def child():
            with fastws.sync.connect(other.url) as mine:
                assert mine.recv(timeout=20) == "a"
            import atexit
            atexit._run_exitfuncs()

        in_a_child(child)
        assert ws.recv(timeout=20) == "a"
print("ok")
""")


def test_the_interpreter_ends_with_open_connections_and_threads_that_wait():
    process(
        """
peer = Peer(lambda wire: wire.send(frame(PING, b"1")) or quiet(wire))
connections = [fastws.sync.connect(peer.url) for _ in range(5)]
threading.Thread(target=connections[0].recv, daemon=True).start()
while connections[1].stats().pongs_sent == 0:
    pass
print("ok")
"""
    )
