"""What asker and host say to each other about calls, read as strictly as anything that a partner sends.

A group of calls goes out in one message and is answered by one, in the same order. `batch` says on which grid its
answers leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.crypto import canonical
from atoll.crypto.document import parse_time
from atoll.crypto.suite import digest_bytes
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.calls import SALT_BYTES

CALLS, ANSWERS, CLOSE, STOP = "calls", "answers", "close", "stop"
FIELDS: dict[str, set[str]] = {CALLS: {"batch", "calls"}, ANSWERS: {"answers"}, CLOSE: set(), STOP: set()}
MAX_GROUP = 1000
MAX_KEY = 64
MAX_SUBJECT = 200
_MAX_TEXT = 200
_CALL = {"key", "subject", "arguments", "salt", "commitment", "authorisation"}
_ANSWER = {"status", "again", "answer", "as_of", "data", "package", "error"}
DECIDED, HELD, REFUSED = "decided", "held", "refused"


@dataclass(frozen=True)
class Peer:
    """Where a message came from, for errors."""

    step: str
    key: str

    def wrong(self, text: str) -> AtollError:
        """A message that breaks the protocol."""
        return AtollError("E_PROTOCOL", text, step=self.step, party=self.key)


def read(peer: Peer, message: bytes, kinds: tuple[str, ...]) -> dict[str, Any]:
    """A message of one of these kinds, with exactly the fields of its kind."""
    try:
        body = decode_body(message)
    except AtollError as error:
        raise peer.wrong(f"a message is malformed: {error.text}") from None
    kind = body.get("kind") if isinstance(body, dict) else None
    if kind not in kinds or set(body) != {"kind", *FIELDS[kind]}:
        raise peer.wrong("a message has no place here")
    return dict(body)


def say(kind: str, **body: Any) -> bytes:
    """The bytes of a message."""
    return encode_body({"kind": kind, **body})


def is_key(value: Any) -> bool:
    """Whether a value can be an idempotency key: 1 to 64 printable ASCII characters without space."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_KEY
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def is_subject(value: Any, type: str) -> bool:
    """Whether a value can be a call's subject of that type."""
    if type == "int64":
        return isinstance(value, int) and not isinstance(value, bool) and -(2**53) < value < 2**53
    return isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT and value.isprintable()


def read_calls(peer: Peer, body: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """The calls of a group, their form checked: at most `most`, no key twice."""
    calls = body["calls"]
    if type(body["batch"]) is not bool or not isinstance(calls, list) or not 0 < len(calls) <= most:
        raise peer.wrong(f"a group is 1 to {most} calls")
    for call in calls:
        if not isinstance(call, dict) or set(call) != _CALL or not isinstance(call["arguments"], dict):
            raise peer.wrong("a call has other fields than a call has")
        if not is_key(call["key"]):
            raise peer.wrong("a call's key is none")
        if not isinstance(call["salt"], bytes) or len(call["salt"]) != SALT_BYTES:
            raise peer.wrong(f"a salt has {SALT_BYTES} bytes")
    if len({call["key"] for call in calls}) != len(calls):
        raise peer.wrong("a group holds a key twice")
    return calls


def read_answers(peer: Peer, body: Mapping[str, Any], wanted: int) -> list[dict[str, Any]]:
    """The answers to a group of so many calls, their form checked."""
    answers = body["answers"]
    if not isinstance(answers, list) or len(answers) != wanted:
        raise peer.wrong(f"{wanted} calls have as many answers")
    for answer in answers:
        fits = isinstance(answer, dict) and set(answer) == _ANSWER and type(answer["again"]) is bool
        if not fits or answer["status"] not in (DECIDED, HELD, REFUSED):
            raise peer.wrong("an answer is none")
        refused = answer["status"] == REFUSED
        if refused != (answer["error"] is not None) or not _says(answer, refused):
            raise peer.wrong("an answer is none")
        if answer["status"] != DECIDED and answer["answer"] is not None:
            raise peer.wrong("an answer that is held or refused has content")
    return answers


def _says(answer: Mapping[str, Any], refused: bool) -> bool:
    """Whether an answer's texts are a time and two digests, and a refusal's are empty."""
    texts = [answer[field] for field in ("as_of", "data", "package")]
    if not all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in texts):
        return False
    if refused:
        return texts == ["", "", ""]
    try:
        parse_time(texts[0])
        digest_bytes(texts[1])
        digest_bytes(texts[2])
    except AtollError:
        return False
    return True


def asked_bytes(call: Mapping[str, Any]) -> bytes:
    """What makes two calls of one key the same call, whichever version answers."""
    return canonical.dumps({"subject": call["subject"], "arguments": dict(call["arguments"])})


def request_bytes(package: str, call: Mapping[str, Any]) -> bytes:
    """What a call's record says was asked."""
    return canonical.dumps(
        {
            "package": package,
            "key": call["key"],
            "subject": call["subject"],
            "arguments": dict(call["arguments"]),
        }
    )


def answer_bytes(answer: Mapping[str, Any]) -> bytes:
    """What a call's record says was answered."""
    return canonical.dumps(
        {field: answer[field] for field in ("status", "answer", "as_of", "data", "package")}
    )
