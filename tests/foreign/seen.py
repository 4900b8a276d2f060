"""What the servers of this folder that are written in Python share."""

import asyncio
import hashlib
import json
import ssl

SUBPROTOCOLS = ("v2.feed", "v1.feed")


class Seen:
    """What a connection has received, and how it ended."""

    def __init__(self):
        self.messages = self.bytes = 0
        self.digest = hashlib.sha256()
        self.ended = asyncio.get_running_loop().create_future()
        self.go = asyncio.Event()

    @classmethod
    def of(cls, query):
        return _seen.setdefault(query["id"], cls()) if "id" in query else cls()

    def take(self, message):
        data = message.encode() if isinstance(message, str) else message
        self.messages += 1
        self.bytes += len(data)
        self.digest.update(data)

    def end(self, code, reason):
        report = {"code": code, "reason": reason, "messages": self.messages, "bytes": self.bytes}
        self.ended.set_result(json.dumps(report | {"digest": self.digest.hexdigest()}))


_seen: dict[str, Seen] = {}


def numbered(query):
    return (number.to_bytes(8) + bytes(int(query["size"]) - 8) for number in range(int(query["count"])))


def context_of(listener):
    if listener["pem"] is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listener["pem"])
    return context
