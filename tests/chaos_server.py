"""The embedded server in a process of its own: what it keeps is not in the memory of the clients.

The server keeps a report of each connection, with the frames it received, for as long as it lives.
"""

import contextlib
from multiprocessing import get_context
from multiprocessing.managers import BaseManager

import chaos_steps
from fastws.testing import Server


class Peer:
    """The server and its venue, as they are asked from another process."""

    def __init__(self, *, tls, feed, tokens, faults):
        self.server = Server(tls=tls, record=True)
        self.server.add_feed("ticks", feed)
        chaos_steps.prepare(self.server)
        self.venue = self.server.add_venue("/venue", "ticks", tokens=tokens, faults=faults, autostart=False)

    def address(self):
        """Its URL, its port, and the authority to trust, if it speaks TLS."""
        return self.server.url(""), self.server.port, self.server.ca_pem

    def start(self):
        """Starts the venue's clock."""
        self.venue.start()

    def reports(self):
        """What the server saw of each connection, what the venue did, and by connection the indexes that it sent."""
        venue = self.venue.report()
        indexes = {session.connection_id: self.venue.indexes(session) for session in venue.sessions}
        return self.server.connections(), venue, indexes


class _Processes(BaseManager):
    pass


_Processes.register("Peer", Peer)


class PeerElsewhere:
    """A peer that runs."""

    def __init__(self, peer):
        self._peer = peer
        self._url, self.port, self.ca_pem = peer.address()

    def url(self, target):
        return self._url.removesuffix("/") + target

    def start(self):
        self._peer.start()

    def stop(self):
        """Keeps what it saw, for ``connections``, ``venue`` and ``indexes``: to be called when nobody is connected."""
        self.connections, self.venue, self._indexes = self._peer.reports()

    def indexes(self, session):
        """Which messages of the feed a session was sent, in order."""
        return self._indexes[session.connection_id]


@contextlib.contextmanager
def peer_elsewhere(**options):
    """A ``Peer`` in a process of its own, for as long as the context lasts."""
    with _Processes(ctx=get_context("spawn")) as processes:
        yield PeerElsewhere(processes.Peer(**options))
