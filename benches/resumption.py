"""What resuming TLS sessions saves: connections a second with it and without, for each backend and version of TLS.

One connection after the other, each with a message and its answer; rounds are interleaved, and medians are given.
docs/howto/tls.md has the table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Literal, get_args

import fastws
import machine
import peer

Version = Literal["TLSv1.3", "TLSv1.2"]

Kind = tuple[Version, fastws.tls.Backend]


async def rate(server: peer.Peer, kind: Kind, *, resumption: bool, connects: int) -> float:
    """Connections a second."""
    version, backend = kind
    tls = fastws.TlsConfig(
        backend=backend,
        ca=server.ca_pem.encode(),
        minimum_version=version,
        maximum_version=version,
        resumption=resumption,
    )
    started = 0.0
    for number in range(connects + 1):
        if number == 1:  # the first has nothing to resume
            started = time.perf_counter()
        async with fastws.connect(server.url("/echo", tls=True), tls=tls) as ws:
            await ws.send("x")
            await ws.recv()
    return connects / (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connects", type=int, default=150, help="of a round (default: 150)")
    args = parser.parse_args()
    kinds = [(version, backend) for version in get_args(Version) for backend in get_args(fastws.tls.Backend)]
    rates: dict[tuple[Kind, bool], list[float]] = {}
    with peer.running(feed=False) as server:
        own, _ = machine.cores()
        for _ in range(args.rounds):
            for kind in kinds:
                for resumption in (True, False):
                    found = fastws.run(
                        rate(server, kind, resumption=resumption, connects=args.connects), loop="uvloop", cpu=own
                    )
                    rates.setdefault((kind, resumption), []).append(found)
    print("| | resumed | `resumption=False` | ratio |\n| --- | ---: | ---: | ---: |")
    for kind in kinds:
        resumed, whole = (statistics.median(rates[kind, resumption]) for resumption in (True, False))
        version, backend = kind
        print(
            f'| `"{backend}"`, {version} | {resumed:,.0f} | {whole:,.0f} | {resumed / whole:.2f} |'.replace(
                "TLSv", "TLS "
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
