"""Control messages of pairing and of sessions, from a peer that sends anything of the right encoding."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.suite import SigningKey
from atoll.crypto.wire import encode_body
from atoll.errors import AtollError
from atoll.net import messages, pairing
from atoll.net.identity import NodeKeys, key_statement, make_tls, read_key_statement
from atoll.net.messages import Scope
from atoll.net.pairing import Invite, OpenInvite

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
BINDING = bytes(range(32))
FUZZ = settings(max_examples=150, deadline=None)
SCOPE = Scope("job-1", 1, "alice", "bob")
NAMES = (
    "invite",
    "commitment",
    "mac",
    "nonce",
    "opening",
    "pair",
    "code",
    "party",
    "step",
    "column",
    "channels",
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.text(max_size=12)
    | st.sampled_from(["sha256:" + "00" * 32, "E_QUOTA", "E_SUCH", "job-1", "alice", "bob"])
    | st.binary(max_size=8)
    | st.sampled_from([bytes(16), bytes(32)]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


def statement(name: str) -> Any:
    keys = NodeKeys(SigningKey.generate(), make_tls(NOW, 30))
    return read_key_statement(key_statement(keys, name, None, NOW), NOW)


DIALER, INVITER = statement("bob"), statement("alice")
INVITE = Invite.create("alice", "127.0.0.1:7443", INVITER.identity, INVITER.tls, NOW, hours=1)


def refused(read: Any, *arguments: Any) -> bool:
    """Whether a reader refuses with a stable code; anything else that it raises is a defect."""
    try:
        read(*arguments)
    except AtollError as error:
        return error.code != "E_INTERNAL"
    return False


@FUZZ
@given(VALUES)
def test_no_message_pairs_without_the_secret(message: Any) -> None:
    committed, _ = pairing.commit(INVITE, DIALER, INVITER, BINDING, NOW)
    _, first = pairing.commit(INVITE, DIALER, INVITER, BINDING, NOW)
    answered, _ = pairing.answer(OpenInvite(INVITE), INVITER, DIALER, BINDING, first, NOW)
    assert refused(pairing.answer, OpenInvite(INVITE), INVITER, DIALER, BINDING, message, NOW)
    assert refused(pairing.finish, answered, message)
    refused(pairing.invite_id, message)
    if not refused(pairing.open_commitment, committed, message):
        assert set(message) == {"nonce"}


@FUZZ
@given(st.sampled_from(["invite", "commitment", "mac"]), VALUES)
def test_one_wrong_field_of_the_first_message_is_refused(name: str, value: Any) -> None:
    _, first = pairing.commit(INVITE, DIALER, INVITER, BINDING, NOW)
    if first[name] != value:
        bad = first | {name: value}
        assert refused(pairing.answer, OpenInvite(INVITE), INVITER, DIALER, BINDING, bad, NOW)


@FUZZ
@given(VALUES)
def test_no_message_confirms_another_pair(message: Any) -> None:
    committed, first = pairing.commit(INVITE, DIALER, INVITER, BINDING, NOW)
    _, reply = pairing.answer(OpenInvite(INVITE), INVITER, DIALER, BINDING, first, NOW)
    pair, _ = pairing.open_commitment(committed, reply)
    assert refused(pair.receive_confirm, message)


@FUZZ
@given(st.text(st.characters(), max_size=30) | st.just("\ud800"))
def test_no_words_but_the_right_ones(words: str) -> None:
    committed, first = pairing.commit(INVITE, DIALER, INVITER, BINDING, NOW)
    _, reply = pairing.answer(OpenInvite(INVITE), INVITER, DIALER, BINDING, first, NOW)
    assert refused(pairing.open_commitment(committed, reply)[0].confirm, words)


FIELDS = st.fixed_dictionaries(
    {
        "job": VALUES | st.just("job-1"),
        "attempt": VALUES | st.just(1) | st.just(True),
        "from": VALUES | st.just("bob"),
        "to": VALUES | st.just("alice"),
        "channels": VALUES | st.dictionaries(st.text(max_size=8), VALUES, max_size=3),
    }
)


@FUZZ
@given(FIELDS | VALUES | st.binary(max_size=40))
def test_anything_as_a_standing(body: Any) -> None:
    payload = body if isinstance(body, bytes) else encode_body(body)
    if not refused(messages.read_resume, SCOPE, payload):
        assert (body["job"], body["attempt"], body["from"], body["to"]) == ("job-1", 1, "bob", "alice")
        assert type(body["attempt"]) is int
    refused(messages.read_credit, payload)


@FUZZ
@given(VALUES | st.binary(max_size=40))
def test_anything_as_a_reason_to_end(body: Any) -> None:
    payload = body if isinstance(body, bytes) else encode_body(body)
    if refused(messages.read_abort, SCOPE, payload):
        return
    told = messages.read_abort(SCOPE, payload)
    # A peer chooses neither our texts nor our codes.
    assert told.code == "E_PEER_ABORT"
    assert len(told.text) < 500
