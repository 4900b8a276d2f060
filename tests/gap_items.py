"""What the tests of sequence gaps take for a stream's items: ``(key, number)``, and all else has no number."""

from fastws.gaps import Snapshot


def extract(message):
    return message if isinstance(message, tuple | Snapshot) else None
