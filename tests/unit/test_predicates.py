"""Whether two functions of the user's are one (_predicates.py)."""

import functools

from fastws._predicates import is_same


class Venue:
    def confirms(self, message):
        return message == self

    def __call__(self, message):
        return bool(message)


def made(channel, *, later=False):
    def confirms(message):
        return message == channel and value

    if later:
        return confirms
    value = True
    return confirms


def without_a_channel():
    return lambda message: message is None


def test_functions_of_one_text_are_one_unless_they_refer_to_something_else():
    assert is_same(len, len)
    assert not is_same(len, bool)
    assert is_same(without_a_channel(), without_a_channel())
    assert is_same(made("a"), made("a"))
    assert not is_same(made("a"), made("b"))
    assert not is_same(made("a"), without_a_channel())
    assert not is_same(made("a"), made("a", later=True))
    defaults = [lambda message, channel=channel: message == channel for channel in ("a", "b", "a")]
    assert is_same(defaults[0], defaults[2])
    assert not is_same(defaults[0], defaults[1])
    named = [functools.partial(made, channel) for channel in ("a", "a")]
    assert not is_same(*named)


def test_methods_are_one_if_their_objects_are():
    one, other = Venue(), Venue()
    assert is_same(one.confirms, one.confirms)
    assert not is_same(one.confirms, other.confirms)
    assert is_same(one, one)
    assert not is_same(one, other)
