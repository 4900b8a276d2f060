"""The command ``fastws`` (also ``python -m fastws``)."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from . import _core  # noqa: F401 - the native half knows whether this is our package
from .version import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        try:
            from .demo.runner import main as demo
        except KeyboardInterrupt:
            return 130

        return demo(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "serve" and options.ca_file is not None and not options.tls:
        parser.error("--ca-file is the authority of the certificate of --tls")
    if options.command == "serve":
        return _serve(options)
    parser.print_help()
    return 2


def _serve(options: argparse.Namespace) -> int:
    from .testing import Server

    try:
        server = Server(options.host, options.port, tls=options.tls, threads=options.threads)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"fastws serve: {getattr(error, 'strerror', None) or error}\n")
        return 1
    with server:
        for path in options.feed:
            name = path.name.removesuffix(".gz").removesuffix(".jsonl")
            try:
                server.load_feed(name, path)
            except (OSError, ValueError) as error:
                said = f"{path}: {error.strerror}" if isinstance(error, OSError) else error
                sys.stderr.write(f"fastws serve: {said}\n")
                return 1
            print(server.url(f"/replay/{name}"))
        if options.ca_file is not None:
            try:
                options.ca_file.write_bytes(server.ca_pem)
            except OSError as error:
                sys.stderr.write(f"fastws serve: --ca-file: {error}\n")
                return 1
        # Before the URL is said: who reads it may end us at once.
        ended = threading.Event()
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, lambda *_: ended.set())
        try:
            print(server.url(), flush=True)
            ended.wait()
        except KeyboardInterrupt:
            return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastws", description="The WebSocket client fastws: demo and test server.")
    parser.add_argument("--version", action="version", version=f"fastws {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the embedded server until Ctrl-C",
        description="Runs the embedded test server: /echo, /blast, /paced, /replay/NAME, /sink, /silence, /close, "
        "/status/CODE, each with faults on request. Prints its URL.",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address or name to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8765, help="port to listen on; 0 for a free one (default: 8765)")
    serve.add_argument("--tls", action="store_true", help="speak TLS, with a certificate made for the occasion")
    serve.add_argument("--ca-file", type=Path, metavar="PATH", help="write the certificate authority here, as PEM")
    serve.add_argument(
        "--feed",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a recorded feed to replay (JSON Lines, gzip'd or not)",
    )
    serve.add_argument("--threads", type=int, default=1, help="threads of the server (default: 1)")
    commands.add_parser("demo", help="play an exchange session and prove that nothing was lost")
    return parser


if __name__ == "__main__":
    sys.exit(main())
