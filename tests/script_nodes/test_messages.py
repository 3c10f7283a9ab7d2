"""What an asker takes from a host as an answer: its form, to the letter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.crypto.suite import digest
from atoll.errors import AtollError
from atoll.functions.script.messages import ANSWERS, DECIDED, HELD, REFUSED, Peer, read_answers

PEER = Peer("v-0", "host")
TEXTS = {"as_of": "2026-11-26T07:00:00Z", "data": digest(b"data"), "package": digest(b"package")}


def answer(**changed: Any) -> dict[str, Any]:
    return {"status": DECIDED, "again": False, "answer": {"pay": 0}, "error": None, **TEXTS} | changed


def refusal(**changed: Any) -> dict[str, Any]:
    error = AtollError("E_QUOTA", "too many").to_wire()
    return answer(status=REFUSED, answer=None, error=error, as_of="", data="", package="") | changed


def read(*answers: Any) -> Any:
    return read_answers(PEER, {"kind": ANSWERS, "answers": list(answers)}, len(answers))


def test_answers_of_each_kind_are_read() -> None:
    given = [answer(), answer(answer=None, again=True), answer(status=HELD, answer=None), refusal()]
    assert read(*given) == given


@pytest.mark.parametrize(
    "wrong",
    [
        answer(as_of="2026-11-26T07:00:00Z\n"), answer(as_of="\x1b[2J2026-11-26T07:00:00Z"), answer(as_of=""),
        answer(as_of="2026-11-26"), answer(as_of="2026-13-26T07:00:00Z"), answer(as_of="2026-11-26T07:00:00+00:00"),
        answer(as_of=7), answer(as_of=None),
        answer(data=TEXTS["data"] + "\n"), answer(data="\x1b]0;" + TEXTS["data"]), answer(data=""),
        answer(data=TEXTS["data"][:-2]), answer(data=TEXTS["data"].upper()), answer(data=b"data"),
        answer(data="md9:" + "00" * 32), answer(data="sha256:" + "0" * 2**20),
        answer(package=TEXTS["package"] + "\x00"), answer(package="claims@1.0.0"), answer(package=""),
        answer(package="sha256:\u202e" + "0" * 63), answer(package=None),
        refusal(as_of=TEXTS["as_of"]), refusal(data="\x1b[2J"), refusal(package="\n"), refusal(error=None),
        refusal(answer={"pay": 0}), answer(status=HELD), answer(error={}), answer(status="maybe"),
        answer(again=1), answer(note=""), "answer", None,
    ],
    ids=range(33),
)  # fmt: skip
def test_an_answer_that_is_none_breaks_the_protocol(wrong: Any) -> None:
    with pytest.raises(AtollError) as caught:
        read(answer(), wrong)
    assert caught.value.code == "E_PROTOCOL"
    assert caught.value.party == "host"


@given(st.sampled_from(sorted(TEXTS)), st.text(max_size=90))
def test_no_other_text_stands_where_a_time_or_a_digest_does(field: str, text: str) -> None:
    with pytest.raises(AtollError) as caught:
        read(answer(**{field: text}))
    assert caught.value.code == "E_PROTOCOL"


@given(st.sampled_from(sorted(TEXTS)), st.integers(0, 80), st.characters(categories=["Cc", "Cf", "Zl", "Zp"]))
def test_a_character_that_nobody_sees_is_found_anywhere(field: str, at: int, sign: str) -> None:
    text = TEXTS[field]
    with pytest.raises(AtollError):
        read(answer(**{field: text[:at] + sign + text[at:]}))


@pytest.mark.parametrize("count", [0, 2])
def test_as_many_answers_as_calls(count: int) -> None:
    with pytest.raises(AtollError) as caught:
        read_answers(PEER, {"kind": ANSWERS, "answers": [answer()] * count}, 1)
    assert caught.value.code == "E_PROTOCOL"
