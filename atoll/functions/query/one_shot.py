"""Lookups without a hint: the asker sends its secrets encrypted, and the host multiplies the hint with them.

For an asker of a few keys, which would not take the hint for them. Calls, blocks and records are those of any lookup.
"""

from __future__ import annotations

from typing import Any

from atoll.crypto.lookup import ENCRYPTION_KEYS_BYTES, Epoch, Products
from atoll.crypto.lookup import OneShotAsker as Sealed
from atoll.errors import AtollError
from atoll.functions.query import messages
from atoll.functions.query.asker import Asker, Evaluated
from atoll.functions.query.host import Host

# The part of a worker's memory in which a hint is kept ready for products.
_KEPT_PART = 4


class OneShotAsker(Asker):
    """Keeps nothing of the table but what an epoch says of it."""

    _one_shot: Sealed | None = None
    _sent = False

    def _make_ready_ahead(self) -> None:
        """A question costs the asker little: none is made before its key is known."""

    def _begun(self, epoch: Epoch, name: str) -> Evaluated:
        self._check_memory(epoch.matrix_bytes)
        try:
            self._one_shot = Sealed(epoch, self._context.seed, self._context.attempt, name)
        except AtollError as error:
            raise self._peer.wrong(error.text) from None
        self._sent = False
        return self._one_shot

    def _move(self, version: bytes, length: int) -> None:
        assert self._one_shot is not None
        if length:
            raise self._peer.wrong("a delta has no place in a lookup without a hint")
        self._one_shot.renew(version)

    def _fetch(self, keys: list[Any]) -> list[bytes | None]:
        """The record of each key, by one question each, some in each message."""
        found: list[bytes | None] = []
        assert self._one_shot is not None
        assert self._epoch is not None
        if keys and not self._sent:
            self._peer.say(messages.KEYS, keys=self._one_shot.keys)
            self._sent = True
        for start in range(0, len(keys), messages.QUERIES_AT_ONCE):
            part = keys[start : start + messages.QUERIES_AT_ONCE]
            self._peer.say(messages.QUERIES, queries=self._one_shot.questions(part))
            body = self._peer.read(messages.ANSWERS)
            length = self._epoch.whole_answer_bytes
            answers = self._peer.read_all(body["answers"], len(part), length, "answers")
            try:
                found += [self._one_shot.open(key, answer) for key, answer in zip(part, answers, strict=True)]
            except AtollError as error:
                raise self._peer.wrong(error.text) from None
        return found


class OneShotHost(Host):
    """Keeps its hint, and multiplies it for the asker."""

    _products: Products | None = None
    _has_keys = False

    def _hint(self) -> bytes:
        """Computes the hint of an epoch, of which nothing is sent."""
        self._products = None  # the one before makes room
        self._products = Products(self._holder, self._context.memory_bytes // _KEPT_PART)
        self._has_keys = False
        return b""

    def _take_up(self) -> bytes:
        delta = super()._take_up()
        if delta:
            assert self._products is not None
            self._products.apply(delta)
        return b""

    def _answer(self, keys: int) -> None:
        """One question for each key, whatever it gives: the host cannot tell a hit from a miss."""
        assert self._products is not None
        if not self._has_keys:
            self._take_keys(self._peer.read(messages.KEYS)["keys"])
        while keys:
            count = min(keys, messages.QUERIES_AT_ONCE)
            body = self._peer.read(messages.QUERIES)
            length = self._holder.epoch.question_bytes
            questions = self._peer.read_all(body["queries"], count, length, "queries")
            try:
                answers = self._products.answer(questions)
            except AtollError as error:
                raise self._peer.wrong(error.text) from None
            self._peer.say(messages.ANSWERS, answers=answers)
            keys -= count

    def _take_keys(self, keys: Any) -> None:
        assert self._products is not None
        if not isinstance(keys, bytes) or len(keys) != ENCRYPTION_KEYS_BYTES:
            raise self._peer.wrong(f"keys have {ENCRYPTION_KEYS_BYTES} bytes")
        try:
            self._products.take_keys(keys)
        except AtollError as error:
            raise self._peer.wrong(error.text) from None
        self._has_keys = True
