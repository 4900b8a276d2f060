"""Several lines to one feed, on wires in memory: a connector that knows the lines by their URIs."""

import asyncio

import fastws
from wires import QUIET, MemoryConnector


class Lines:
    """A connector for all lines. `lines` has what each does; one that is not named opens wires."""

    name = "lines"

    def __init__(self, **lines):
        self.lines = {f"ws://{name}/": line for name, line in lines.items()}

    async def connect(self, uri, options):
        return await self.line(uri).connect(uri, options)

    def line(self, uri):
        return self.lines.setdefault(uri, MemoryConnector())

    def wire(self, name):
        return self.lines[f"ws://{name}/"].wires[-1]

    def deliver(self, *messages):
        """What a venue sends: the same on every line."""
        for line in self.lines.values():
            if line.wires and line.wires[-1].is_open:
                line.wires[-1].deliver(*messages)

    def reset(self):
        for line in self.lines.values():
            line.wires[-1].reset()


def redundant(lines, *names, **options):
    """A client of these lines, by default "a" and "b"; a second between attempts."""
    options.setdefault("key", lambda message: message)
    options.setdefault("retry", fastws.FixedDelay(1.0))
    options.setdefault("config", QUIET)
    return fastws.RedundantClient([f"ws://{name}/" for name in names or ("a", "b")], connector=lines, **options)


async def turns():
    """Time for everything that can happen at once."""
    await asyncio.sleep(0.05)


def shapes(items):
    """Messages as what they say, markers as their names and generations."""
    return [
        item.data
        if isinstance(item, fastws.Message)
        else ("Down", item.generation)
        if isinstance(item, fastws.Down)
        else ("Outage", item.old_generation, item.new_generation)
        for item in items
    ]
