"""What must be so after a chaos in virtual time: see chaos.py."""

import itertools
import math

import fastws
from chaos_users import KEYS, Outgoing
from chaos_venue import KEYS as FEED_KEYS
from chaos_venue import number_of
from fastws._watch import ROOM_EVERY
from fastws.errors import ConnectionLost, MaybeSent, NotSent, SubscriberOverflow
from fastws.events import (
    Connected,
    Connecting,
    Disconnected,
    Error,
    FatalError,
    Ready,
    ReconnectScheduled,
    Shutdown,
)

FOLLOWS = {
    None: {Connecting},
    Connecting: {Connected, Error, Shutdown},
    Error: {ReconnectScheduled, Shutdown},
    ReconnectScheduled: {Connecting, Shutdown},
    Connected: {Ready, Disconnected},
    Ready: {Disconnected},
    Disconnected: {Error, ReconnectScheduled, Shutdown},
    FatalError: {Shutdown},
    Shutdown: set(),
}
"""What may follow what among events, where no failure is final. A second connection's are not among them."""


def check(chaos):
    """Raises AssertionError if anything is not as it must be; returns the history of the run."""
    history = History(chaos)
    check_events(history)
    check_attempts(chaos, history)
    check_silence(chaos, history)
    check_full(chaos, history)
    check_markers(chaos, history)
    check_other_readers(chaos)
    check_looks(chaos, history)
    check_orders(chaos)
    check_asked(chaos)
    check_rates(chaos)
    check_subscribed(chaos, history)
    return history


class History:
    """The events of a run, those of changes of connections apart.

    Attributes:
        all: When, and what.
        main: The same without what is told of second connections.
        ready: The same with their Ready.
        taken_over: Generations that began while the one before was ready.
        wires: The wire of each generation.
    """

    def __init__(self, chaos):
        self.all = chaos.events
        self.main = []
        self.ready = []
        self.taken_over = set()
        self.wires = []
        is_up = False
        pending = 0
        for at, event in chaos.events:
            match event:
                case Connecting() | Connected() | Error() if is_up:
                    continue
                case Ready():
                    self.wires.append(chaos.venue.wires[event.id - 1])
                    if is_up:
                        self.taken_over.add(event.generation)
                        self.ready.append((at, event))
                        pending += 1
                        continue
                    is_up = True
                case Disconnected(reason) if reason.kind == "rotation":
                    pending -= 1
                    assert pending == 0, "a rotation's end without a rotation"
                    continue
                case Disconnected():
                    assert pending == 0, "a session ended before the one that it replaced"
                    is_up = False
            self.main.append((at, event))
            self.ready.append((at, event))
        assert pending == 0

    def chains(self, marks):
        """The first and the last generation of each run of generations without a marker between them."""
        ends = [mark[1] for mark in marks if mark[0] == "down"]
        return [(end + 1, following) for end, following in itertools.pairwise((0, *ends))]


def check_events(history):
    last = None
    for at, event in history.main:
        assert type(event) in FOLLOWS[last], f"{event!r} after {last} at {at}"
        last = type(event)
    assert last is Shutdown
    ids = [event.id for _, event in history.all if isinstance(event, Connected)]
    assert ids == list(range(1, len(ids) + 1))
    ready = [event for _, event in history.all if isinstance(event, Ready)]
    assert [event.generation for event in ready] == list(range(1, len(ready) + 1))
    assert [event.id for event in ready] == sorted({event.id for event in ready})


def check_attempts(chaos, history):
    """Each delay is the strategy's, and each dial comes when it is over."""
    twin = fastws.ExponentialBackoff(**chaos.plan.strategy)
    attempt, ready_at, failures, phase, due, is_wanted = 0, None, 0, "connect", None, False
    is_narrow = chaos.client.config.queue_messages < 4096
    for at, event in history.ready:
        match event:
            case Connecting():
                attempt, is_wanted = attempt + 1, False
                assert event.attempt == attempt, f"{event!r} at {at}: {attempt} was due"
                late = 0 if due is None else at - due
                looks = round(late / ROOM_EVERY)  # for room in the streams
                assert abs(late - looks * ROOM_EVERY) < 1e-6, f"a dial at {at}, due at {due}"
                assert looks == 0 or (looks > 0 and is_narrow), f"a dial at {at}, due at {due}"
                phase = "connect"
            case Connected():
                phase = "handshake"
            case Ready():
                if event.generation in history.taken_over:
                    attempt, failures = 0, 0  # nothing is replaced before it is stable
                phase, ready_at = "session", at
            case Disconnected():
                is_wanted = phase == "session" and event.reason.kind == "requested"
                if is_wanted or (phase == "session" and at - ready_at >= 10):
                    attempt, failures = 0, 0
            case ReconnectScheduled() if is_wanted:
                assert (event.delay, event.attempt) == (0, 1), f"{event!r} at {at}: somebody wanted it"
                due = at
            case ReconnectScheduled():
                failure = fastws.Failure(None, phase, attempt, is_first=failures == 0)
                failures += 1
                delay = twin.next_delay(failure)
                if phase == "handshake":
                    delay = max(delay, chaos.plan.handshake_retry_delay)
                assert event.delay == delay, f"{event!r} at {at}: {delay} was due"
                due = at + delay


def check_silence(chaos, history):
    """Nobody who spoke is cut for silence."""
    number = 0
    for at, event in history.all:
        if isinstance(event, Ready):
            number = event.id
        if isinstance(event, Disconnected) and event.reason.kind == "receive_timeout":
            silent = at - chaos.venue.wires[number - 1].spoke_at
            assert silent >= chaos.plan.receive_timeout - 1e-6, f"cut at {at} {silent} s after a message"


# ---- what streams gave


def check_full(chaos, history):
    """Every message of every session that was ready, once and in order; and an outage wherever one may be missing."""
    marks = chaos.full.marks
    ends = [mark[1] for mark in marks if mark[0] == "down"]
    expected = []
    for end in ends:
        expected.append(("down", end))
        if end < len(history.wires):
            expected.append(("outage", end, end + 1))
    assert marks == expected, difference(marks, expected)
    assert ends[-1:] == [len(history.wires)] * bool(history.wires)
    for following in range(2, len(history.wires) + 1):
        if following - 1 not in ends:
            assert following in history.taken_over, f"no outage before generation {following}"
            assert chaos.plan.rotation == "seamless", f"no outage before generation {following}"
    segments = [[]]
    for item in chaos.full.items:
        if isinstance(item, fastws.Message):
            segments[-1].append(item)
        elif isinstance(item, fastws.Down):
            segments.append([])
    assert segments.pop() == []
    transform = transform_of(chaos.plan)
    downs = [item for item in chaos.full.items if isinstance(item, fastws.Down)]
    for (first, last), segment, down in zip(history.chains(marks), segments, downs, strict=True):
        wires = history.wires[first - 1 : last]
        may_pass = down.reason.kind == "shutdown"
        if first == last:
            assert {item.generation for item in segment} <= {first}
            seen, what = [item.data for item in segment], f"generation {first}"
            check_session(wires[0].given, wires[0].claimable, seen, transform, what, may_pass)
        else:
            check_chain(wires, first, segment, transform, may_pass)
    seqs = [item.seq for item in chaos.full.messages]
    assert seqs == list(range(1, len(seqs) + 1))


def check_session(given, claimable, seen, transform, what, may_pass):
    """Exactly what a wire was given; acknowledgements that restoring waited for may be missing.

    When the time for a shutdown is over (``may_pass``) the rest goes past the extensions.
    """
    place, passes = 0, False
    for raw in given:
        message = raw if passes else transform(raw)
        following = seen[place] if place < len(seen) else None
        if may_pass and following == raw != message:
            message, passes = raw, True
        if message is None:
            continue
        if following == message:
            place += 1
        elif raw not in claimable:
            raise AssertionError(f"{what}, message {place}: {message!r} was due, then came {seen[place : place + 4]}")
    assert place == len(seen), f"{what}: nobody gave {seen[place : place + 4]}"


def check_chain(wires, first, segment, transform, may_pass):
    """The feed without a hole and without a repetition over all these wires; other messages as each wire had them.

    When the time for a shutdown is over (``may_pass``) the rest goes past the extensions.
    """
    what = f"generations {first} to {first + len(wires) - 1}"
    numbers = [[number for raw in wire.given if (number := number_of(raw)) is not None] for wire in wires]
    for one, other in itertools.pairwise(numbers):
        assert set(one) & set(other), f"{what}: a change without an outage, and without an overlap"
    assert all(each == list(range(each[0], each[-1] + 1)) for each in numbers), "the venue left something out"
    passed = first_passed(segment, transform) if may_pass else len(segment)
    unseen = number_of(segment[passed].data) if passed < len(segment) else math.inf
    due = range(numbers[0][0], max(each[-1] for each in numbers) + 1)
    due = [n for n in due if n >= unseen or transform(f"0:{n}") is not None]
    seen = [number for item in segment if (number := number_of(item.data)) is not None]
    assert seen == due[: len(seen)], f"{what}: {difference(seen, due)}"
    # What an old wire was given while it closed may have come on no other.
    assert not [n for n in due[len(seen) :] if n <= numbers[-1][-1]], f"{what}: {due[len(seen) :]} did not come"
    given = [set(wire.given) for wire in wires]
    generations = [item.generation for item in segment]
    assert generations == sorted(generations), f"{what}: generations in another order"
    for place, item in enumerate(segment):
        raw = item.data.rstrip("!")
        # What the old wire still brings while it closes is of the generation that has begun.
        brought = set().union(*given[max(item.generation - first - 1, 0) : item.generation - first + 1])
        assert raw in brought, f"{what}: {raw} is not of generation {item.generation}"
        is_right = number_of(raw) is None or item.data == (transform(raw) if place < passed else raw)
        assert is_right, f"{what}: {item.data} was to be changed, or not to be"
    for wire, of_wire in zip(wires, given, strict=True):
        others = [raw for raw in wire.given if number_of(raw) is None]
        came = [item.data for item in segment if number_of(item.data) is None and item.data in of_wire]
        missing = [raw for raw in others if raw not in set(came) and raw not in wire.claimable]
        assert not missing, f"{what}: {missing} did not come"
        assert came == [raw for raw in others if raw in set(came)], f"{what}: in another order: {came}"


def first_passed(segment, transform):
    """The place of the first message of the feed that no extension has seen."""
    for place, item in enumerate(segment):
        raw = item.data.rstrip("!")
        if number_of(raw) is not None and item.data != transform(raw):
            return place
    return len(segment)


def transform_of(plan):
    """What the extensions make of a message of the wire."""

    def transform(raw):
        number = number_of(raw)
        if number is None:
            return raw
        if "drop" in plan.looks and number % 11 == 0:
            return None
        return f"{raw}!" if "change" in plan.looks else raw

    return transform


def check_markers(chaos, history):
    """Each says why the session ended, and how many dials it took."""
    ends = {}
    generation = 0
    for _, event in history.all:
        if isinstance(event, Ready):
            generation = event.generation
        if isinstance(event, Disconnected) and generation:
            # The end of what was replaced is told behind the Ready of what replaced it.
            ends.setdefault(generation - 1 if event.reason.kind == "rotation" else generation, event.reason)
    downs = [item for item in chaos.full.items if isinstance(item, fastws.Down)]
    for item in downs:
        # What closes for a change may still be asked to reconnect, which is then what its event says.
        is_right = item.reason == ends[item.generation] or item.reason.kind == "rotation"
        assert is_right, f"{item!r}, and the event says {ends[item.generation]!r}"
    outages = [item for item in chaos.full.items if isinstance(item, fastws.Outage)]
    assert [item.reason for item in outages] == [item.reason for item in downs][: len(outages)]
    dials, counts = 0, dict.fromkeys(history.taken_over, 0)
    for _, event in history.main:
        if isinstance(event, Connecting):
            dials += 1
        if isinstance(event, Ready):
            counts[event.generation] = dials
            dials = 0
    assert [item.attempts for item in outages] == [counts[item.new_generation] for item in outages]


def check_other_readers(chaos):
    """All streams agree, each as its policy allows."""
    full = chaos.full.messages
    everything = [item.data for item in full]
    outages = sum(mark[0] == "outage" for mark in chaos.full.marks)
    for each in chaos.others:
        assert each.items == everything, difference(each.items, everything)
        assert each.stream.outages == outages
    due = 1
    for generation, first, messages in chaos.batches.items:
        assert first == due
        batch = full[due - 1 : due - 1 + len(messages)]
        assert messages == [item.data for item in batch]
        assert {item.generation for item in batch} == {generation}
        due += len(messages)
    assert due == len(full) + 1
    check_dropping(chaos, everything)
    check_conflating(chaos, full)
    failing = chaos.failing
    assert failing.data == everything[: len(failing.data)]
    if len(failing.data) < len(everything):
        assert isinstance(failing.error, SubscriberOverflow), repr(failing.error)
    wanted = [number if (number := number_of(m)) is not None else m.encode() for m in everything if "0" in m]
    assert chaos.decoded.data == wanted, difference(chaos.decoded.data, wanted)


def check_dropping(chaos, everything):
    place = 0
    for item in chaos.dropping.items:
        if isinstance(item, fastws.Dropped):
            assert item.first_seq == place + 1
            assert item.count == item.last_seq - item.first_seq + 1
            place = item.last_seq
        elif isinstance(item, fastws.Message):
            assert item.seq == place + 1
            assert item.data == everything[place]
            place += 1
    assert place == len(everything)
    assert chaos.dropping.marks == chaos.full.marks


def check_conflating(chaos, full):
    """Of each key the newest of every session; what came, once; markers all."""
    assert chaos.conflating.marks == chaos.full.marks
    seen = {}
    for item in chaos.conflating.messages:
        assert full[item.seq - 1].data == item.data
        seen.setdefault(item.generation, []).append(item)
    given = {}
    for item in full:
        given.setdefault(item.generation, []).append(item)
    for generation, items in given.items():
        came = [item.seq for item in seen.get(generation, ())]
        assert len(set(came)) == len(came)
        assert [item.seq for item in items if number_of(item.data) is None and item.seq not in set(came)] == []
        for key in range(FEED_KEYS):
            due = [i.seq for i in items if number_of(i.data) is not None and i.data.startswith(f"{key}:")]
            of_key = [seq for seq in came if seq in set(due)]
            assert of_key == sorted(of_key), "a key's messages came in another order"
            assert of_key[-1:] == due[-1:], "the newest of a key is missing"


def check_looks(chaos, history):
    """A tap sees what extensions get and what they let go; an extension's hooks come in pairs."""
    plan, transform = chaos.plan, transform_of(chaos.plan)
    everything = [item.data for item in chaos.full.messages]
    if plan.taps:
        check_session(chaos.tapped.received, (), everything, transform, "the tap", may_pass=True)
        wired = [text for _, _, text in chaos.venue.sent if is_users(text)]
        # What a wire may have sent that was cut or given up was not accepted.
        doubtful = {order.text for order in chaos.trader.orders if order.said == "maybe"} if plan.is_tight else set()
        doubtful |= {text for text, unsent in unsent_of(chaos).items() if unsent.outcome == "maybe_sent"}
        unseen = {text for text in wired if text.rstrip("~") not in doubtful} - set(chaos.tapped.sent)
        assert not unseen or (plan.is_tight and all(text.startswith("ask") for text in unseen)), f"not tapped: {unseen}"
    else:
        assert chaos.tapped == type(chaos.tapped)()
    for each in chaos.looking:
        *pairs, last = each.hooks
        assert last == "shutdown"
        assert pairs == ["connect", "disconnect"] * (len(pairs) // 2)
        assert len(pairs) // 2 >= len(history.wires)


# ---- what was sent


def unsent_of(chaos):
    """What was told not, or maybe not, to be sent, by its text."""
    left = {unsent.message.rstrip("~"): unsent for unsent in chaos.left}
    for _, event in chaos.events:
        if isinstance(event, Disconnected):
            left |= {unsent.message.rstrip("~"): unsent for unsent in event.unsent}
    return left


def is_users(text):
    return text.startswith(("order", "ask"))


def check_orders(chaos):
    """Each went once or not at all, in order, in time, and everybody was told the truth."""
    log = [(at, text.rstrip("~")) for at, _, text in chaos.venue.sent if is_users(text)]
    sent = {text: at for at, text in log}
    assert len(sent) == len(log), "an order went twice"
    left = unsent_of(chaos)
    maybe = {text for text, unsent in left.items() if unsent.outcome == "maybe_sent"}
    assert not maybe or chaos.plan.is_tight, "only a wire that waits by itself leaves a doubt"
    assert not (set(left) - maybe) & set(sent), "sent, and said not to be"
    missing, expired = [], 0
    over = max((at for at, _ in chaos.events), default=0.0)
    for order in chaos.trader.orders:
        is_sent = order.text in sent
        if order.said == "maybe":
            assert chaos.plan.is_tight
        elif order.said != "accepted":
            assert not is_sent, f"{order} was sent"
            assert order.said == "refused" or Outgoing.stops(order.text)
        elif not is_sent and order.text not in left:
            if order.expires is not None and order.expires <= over + 1e-6:
                expired += 1  # in an outage that a shutdown ended: its receipt says so, and it is counted
            else:
                missing.append(order)
        if order.receipt is not None:
            assert order.receipt.done(), f"nobody said what became of {order}"
            error = order.receipt.exception()
            if not isinstance(error, MaybeSent):
                assert (error is None) is is_sent, f"{order}: {error!r}, sent: {is_sent}"
                assert error is None or isinstance(error, NotSent)
        if is_sent and order.expires is not None:
            assert sent[order.text] <= order.expires, f"{order} was sent at {sent[order.text]}"
        if order.text in left and left[order.text].outcome == "failed":
            assert order.expires is not None, f"{order} did not expire"
    assert expired <= chaos.client._outbox.expired + chaos.client._outbox.dropped
    dropped = chaos.client._outbox.dropped
    assert dropped == 0 or chaos.plan.policy == "drop"
    asked = [each for each in chaos.asker.asked if each.order.text not in sent and each.order.text not in left]
    assert len(missing) <= dropped <= len(missing) + expired + len(asked), f"accepted, and nobody knows: {missing[:5]}"
    urgent = {order.text for order in chaos.trader.orders if order.is_urgent}
    numbers = [int(text.split()[1]) for _, text in log if text.startswith("order") and text not in urgent]
    assert numbers == sorted(numbers), "orders went in another order"
    for wire in chaos.venue.wires:
        assert wire.sent[:1] in ([], ["login"])
        assert wire.sent.count("login") <= 1


def check_asked(chaos):
    sent = {text for _, _, text in chaos.venue.sent}
    answers = {raw for wire in chaos.venue.wires for raw in wire.given if raw.startswith("answer")}
    for asked in chaos.asker.asked:
        if asked.answer is not None:
            assert asked.answer in answers
        is_unsent = isinstance(asked.error, NotSent) or getattr(asked.error, "outcome", "") == "not_sent"
        if asked.order.said == "refused" or is_unsent:
            assert asked.order.text not in sent, f"{asked} was sent"
        if isinstance(asked.error, ConnectionLost):
            assert asked.ended <= asked.began + asked.timeout + 1e-6
        if asked.ended:
            assert asked.ended - asked.began <= asked.timeout + 1e-6, f"{asked} took too long"


def check_rates(chaos):
    """No connection had more than the limit allows, of all frames or of those of a key."""
    limits = chaos.plan.rate
    if limits is None:
        return
    if isinstance(limits, fastws.RateLimit):
        limits = fastws.RateLimits(limits)
    keys = {order.text: order.key for order in chaos.trader.orders}
    for wire in chaos.venue.wires:
        frames = list(zip(wire.sent_at, wire.sent, strict=True))
        check_rate(limits.default, wire.opened_at, [at for at, _ in frames])
        for key, limit in limits.keys.items():
            check_rate(limit, wire.opened_at, [at for at, text in frames if keys.get(text.rstrip("~")) == key])


def check_rate(limit, began, moments):
    tokens, last = float(limit.burst), began
    for at in moments:
        tokens = min(tokens + (at - last) * limit.n / limit.per, limit.burst) - 1
        last = at
        assert tokens > -1e-6, f"{limit!r} exceeded at {at}"


def check_subscribed(chaos, history):
    """A wire that is ready has the subscriptions of the registry, soon after they were changed."""
    soon = 8.0 if chaos.plan.rate is not None or chaos.plan.is_tight else 2.0
    began = {event.generation: at for at, event in history.all if isinstance(event, Ready)}
    for generation, wire in enumerate(history.wires, 1):
        if wire.is_silent or wire.ended_at is None:
            continue
        for key in KEYS:
            changes = [change for change in chaos.subscriber.log if change[1] == key and change[0] <= wire.ended_at]
            if not changes or wire.ended_at - max(changes[-1][0], began[generation]) < soon:
                continue
            at, _, is_wanted = changes[-1]
            assert (key in wire.subscribed) is is_wanted, (
                f"{key} was {'added' if is_wanted else 'removed'} at {at}, and the wire that was open "
                f"from {wire.opened_at} to {wire.ended_at} was not told"
            )


def difference(seen, expected):
    for place, (one, other) in enumerate(zip(seen, expected, strict=False)):
        if one != other:
            return f"item {place}: {other} was due, {one} came; then {seen[place + 1 : place + 4]}"
    rest = (seen + expected)[min(len(seen), len(expected)) :][:3]
    return f"{len(seen)} came, {len(expected)} were due; the first that differs: {rest}"
