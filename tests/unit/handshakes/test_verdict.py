"""What the defaults make of a venue's answer (handshakes/verdict.py)."""

import pytest

from fastws.handshakes.verdict import AUTHENTICATION, SUBSCRIPTION, Verdict, judge

YES, NO, LATER = Verdict.CONFIRMED, Verdict.DENIED, Verdict.UNAVAILABLE


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        # As venues write it.
        ({"event": "login", "code": "0", "msg": ""}, YES),
        ({"event": "error", "code": "60009", "msg": "Login failed"}, NO),
        ({"event": "auth", "status": "OK", "userId": 7}, YES),
        ({"event": "auth", "status": "FAILED", "code": 10100}, NO),
        ({"success": True, "ret_msg": "", "op": "auth"}, YES),
        ({"success": False, "ret_msg": "expired", "op": "auth"}, NO),
        ({"retCode": 0, "op": "auth"}, YES),
        ({"success": True, "request": {"op": "authKeyExpires"}}, YES),
        ({"jsonrpc": "2.0", "id": 1, "result": {"access_token": "x"}}, YES),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 13004, "message": "invalid_credentials"}}, NO),
        ([{"ev": "status", "status": "connected"}], None),
        ([{"ev": "status", "status": "auth_success"}], YES),
        ([{"ev": "status", "status": "auth_failed"}], NO),
        ({"type": "auth_required"}, None),
        ({"type": "auth_ok"}, YES),
        ({"type": "auth_invalid", "message": "x"}, NO),
        ({"action": "auth", "code": 200}, YES),
        ({"type": "authorize_success", "connection_id": "1"}, YES),
        # By the fields.
        ({"error": None}, YES),
        ({"error": ""}, YES),
        ({"error": False}, YES),
        ({"type": "auth", "error": None}, YES),
        ({"error": "no"}, NO),
        ({"errors": ["no"]}, NO),
        ({"type": "AuthenticationError"}, NO),
        ({"type": "authenticated"}, YES),
        ({"type": "auth"}, None),
        ({"status": "ok"}, YES),
        ({"status": "pending"}, None),
        ({"status": 200}, YES),
        ({"status": 401}, NO),
        ({"status": 503}, LATER),
        ({"code": 4403, "reason": "x"}, NO),
        ({"error": "rate limit exceeded"}, LATER),
        ({"error": {"code": 429, "message": "x"}}, LATER),
        ({"result": False}, NO),
        ({"result": "invalid key"}, NO),
        ({"status": "not authenticated"}, NO),
        ({"type": "ticker", "error": None}, None),
        ({"type": "ticker", "success": True}, None),
        ({"type": "subscribe", "success": True}, None),
        ({"code": "AAPL", "price": 1}, None),
        ({"type": "welcome"}, None),
        ({}, None),
        ([1, 2, "error"], None),
        # Plain text.
        ("OK", YES),
        ("authenticated", YES),
        ("login successful", YES),
        ("ERROR bad token", NO),
        ("Unauthorized", NO),
        ("not authenticated", NO),
        ("error: too many requests", LATER),
        ("tick 42", None),
        ("ok " * 100, None),
        (b"\x00ok", None),
        (42, None),
        (None, None),
    ],
)
def test_what_the_default_makes_of_an_answer(message, verdict):
    assert judge(message, AUTHENTICATION) is verdict


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ({"event": "subscribe", "arg": {"channel": "tickers"}}, YES),
        ({"event": "subscriptionStatus", "status": "subscribed"}, YES),
        ({"event": "subscriptionStatus", "status": "error"}, NO),
        ({"event": "subscriptionStatus", "status": "unsubscribed"}, None),
        ({"type": "subscribed"}, YES),
        ({"type": "unsubscribed"}, None),
        ({"op": "subscribe", "success": False}, NO),
    ],
)
def test_what_the_default_makes_of_a_subscription(message, verdict):
    assert judge(message, SUBSCRIPTION) is verdict
