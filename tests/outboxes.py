"""Outboxes without a client."""

from types import SimpleNamespace

from fastws.outbox import Outbox


def outbox(policy="fail", send_queue_capacity=4, closed=lambda: None):
    config = SimpleNamespace(
        send_queue_capacity=send_queue_capacity, keep_limit=send_queue_capacity, on_disconnect_send=policy
    )
    return Outbox(config, closed)


def told(box):
    """What the end of the session tells of."""
    return sum(box.end(), ())
