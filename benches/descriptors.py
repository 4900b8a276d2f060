"""File descriptors: a connection takes one on each side, and systems allow a process few of them until it asks."""

from __future__ import annotations

import resource

OWN = 100
"""What a process needs besides its connections: the event loop, modules, pipes."""


class TooFew(SystemExit):
    """The system allows fewer descriptors than are needed; says how to raise the limit."""


def ensure(connections: int, whose: str) -> int:
    """Raises this process's limit so that it may have so many connections; returns the limit.

    Raises TooFew if the system does not allow it.
    """
    wanted = connections + OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    most = hard if hard == resource.RLIM_INFINITY else max(hard, wanted)
    try:
        # Only a privileged process may raise the hard limit, and none above the system's own (fs.nr_open on Linux).
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (ValueError, OSError):
        allowed = "no limit" if hard == resource.RLIM_INFINITY else f"{hard:,}"
        raise TooFew(
            f"{whose} needs {wanted:,} file descriptors: {connections:,} connections and {OWN} of its own. "
            f"Allowed are {soft:,}, and {allowed} if asked for (RLIMIT_NOFILE).\n"
            f"To raise the limit of this shell, then start again: sudo prlimit --pid $$ --nofile={wanted}:{wanted}\n"
            f"For good: LimitNOFILE={wanted} in a systemd unit, or '* - nofile {wanted}' in /etc/security/limits.conf."
        ) from None
    return wanted
