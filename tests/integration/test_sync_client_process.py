"""fastws.sync.WebSocketClient and the process: signals, Ctrl-C, forks, the end of the interpreter."""

from programs import run_program

PRELUDE = """
import fastws.sync, time
from fastws.testing import Server

def clients():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastws client")]

def later(call, *arguments):
    threading.Thread(target=call, args=arguments).start()

"""


def process(program, **options):
    return run_program("asyncio", PRELUDE + program, **options)


def test_ctrl_c_ends_an_iteration_and_the_client_closes_cleanly():
    process("""
def script(wire):
    wire.send(text("a"))
    wire.read_frame()
    os.kill(os.getpid(), signal.SIGINT)
    return wire.answer_close()

with Peer(script) as peer:
    try:
        with fastws.sync.WebSocketClient(peer.url) as client:
            for message in client.stream():
                client.send_nowait("go")
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("not interrupted")
assert [frame.opcode for frame in peer.results[0]] == [CLOSE]
assert not clients()
print("ok")
""")


def test_ctrl_c_of_a_terminal_ends_a_program():
    """A real SIGINT from another process, while the main thread waits."""
    process(
        """
import subprocess

with Server() as server:
    program = '''
import fastws.sync, sys
client = fastws.sync.WebSocketClient(sys.argv[1])
with client:
    print("ready", flush=True)
    {wait}
'''
    for wait in ("client.stream().recv()", "client.stream().recv(timeout=60)", "list(client.events())",
                 "client.request('x', match=lambda _: False, timeout=60)", "list(client.stream().batches())"):
        child = subprocess.Popen([sys.executable, "-c", program.format(wait=wait), server.url("/sink")],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
        assert child.returncode == -signal.SIGINT, (wait, child.returncode, err)
        assert err.rstrip().endswith("KeyboardInterrupt"), err
        assert "Warning" not in err, err
print("ok")
"""
    )


def test_ctrl_c_ends_run_and_a_second_one_gives_the_peer_up():
    process("""
gate = Gate()
signal.signal(signal.SIGINT, signal.default_int_handler)

def script(wire):
    os.kill(os.getpid(), signal.SIGINT)
    wire.read_frame()  # the Close, which is not answered
    os.kill(os.getpid(), signal.SIGINT)
    gate.wait()

config = fastws.ClientConfig(shutdown_timeout=60, close_timeout=60)
with Peer(script) as peer:
    client = fastws.sync.WebSocketClient(peer.url, config=config)
    began = time.monotonic()
    try:
        client.run()
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("not interrupted")
    assert time.monotonic() - began < 30
    assert not clients()
    gate.open()
print("ok")
""")


def test_a_handled_signal_does_not_end_a_call_and_may_use_the_client():
    """PEP 475: Python's handlers run while the call waits, and it goes on."""
    process("""
handled = threading.Event()
with Server() as server, fastws.sync.WebSocketClient(server.url("/echo")) as client:
    stream = client.stream()

    def handler(*_):
        client.send_nowait("from a handler")
        handled.set()

    signal.signal(signal.SIGUSR1, handler)
    later(lambda: [os.kill(os.getpid(), signal.SIGUSR1), handled.wait()])
    assert stream.recv() == "from a handler"
    for call in (lambda: client.send("x" * 100), client.snapshot, client.stats, lambda: client.ping(timeout=20)):
        for _ in range(50):
            later(os.kill, os.getpid(), signal.SIGUSR1)
            call()
print("ok")
""")


def test_nothing_is_lost_by_handlers_that_raise():
    process("""
class Stop(Exception): pass

def stop(*_):
    global armed
    if armed:
        armed = False
        raise Stop

COUNT = 20_000
armed = False
signal.signal(signal.SIGUSR1, stop)
over = threading.Event()

def disturb():
    while not over.wait(0.0005):
        os.kill(os.getpid(), signal.SIGUSR1)

with Server() as server, fastws.sync.WebSocketClient(server.url(f"/paced?rate=20000&n={COUNT}&size=32")) as client:
    stream, stops, got = client.stream(), 0, []
    later(disturb)
    while len(got) < COUNT:
        try:
            armed = True
            got.append(stream.recv(timeout=20))
            armed = False
        except Stop:
            stops += 1
    over.set()
    assert [int.from_bytes(message[8:16], "little") for message in got] == [*range(COUNT)]
    assert stops
print("ok")
""")


def test_a_forked_child_is_refused_every_call_and_the_parent_goes_on():
    process("""
with Server() as server:
    with fastws.sync.WebSocketClient(server.url("/echo")) as client:
        stream, events = client.stream(), client.events()
        events.recv()

        def child():
            global client, stream, events
            for call in (stream.recv, events.recv, client.ping, client.run, client.start, client.shutdown,
                         client.snapshot, client.stats, client.stream, client.wait_ready, stream.close,
                         lambda: client.send("x"), lambda: client.send_nowait("x"), lambda: client.send_many(["x"]),
                         lambda: client.subscriptions.add("k", message="x"), lambda: next(stream)):
                refused(call)
            assert not client.is_running
            repr(client), repr(stream)
            del call, client, stream, events
            gc.collect()
            import atexit
            atexit._run_exitfuncs()

        in_a_child(child)
        client.send("a")
        assert stream.recv(timeout=20) == "a"
print("ok")
""")


def test_the_interpreter_ends_with_clients_that_run_and_says_so():
    process(
        """
server = Server()
clients = [fastws.sync.WebSocketClient(server.url("/blast")).start(20) for _ in range(3)]
waiting = fastws.sync.WebSocketClient("ws://127.0.0.1:1/", retry=fastws.FixedDelay(60))
threading.Thread(target=waiting.run, daemon=True).start()
threading.Thread(target=clients[0].stream().recv, daemon=True).start()
print("ok")
""",
        warned=["a client ran when the interpreter ended"],
    )


def test_an_exception_at_the_top_ends_the_program():
    process(
        """
server = Server()
client = fastws.sync.WebSocketClient(server.url("/echo")).start(20)
print("ok", flush=True)
raise ZeroDivisionError
""",
        code=1,
        warned=["ZeroDivisionError", "a client ran when the interpreter ended"],
    )
