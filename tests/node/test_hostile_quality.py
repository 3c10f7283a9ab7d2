"""A paired partner that sends findings, questions and answers about quality of its own making."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.testing import Net, nodes

LIMITS = (4, 5)  # answers and findings that the victim allows in a day
SALT = b"o" * 16


@pytest.fixture(scope="module")
def net(quality_limits) -> Iterator[Net]:
    with nodes("mallory", "victim") as made:
        yield made


def finding(mallory: Any, **changed: Any) -> dict[str, Any]:
    return {
        "format": "atoll.finding/v1", "agreement": mallory.agreement["id"], "asset": "taxes",
        "provider": mallory.victim.identity, "by": mallory.me, "category": "stale", "column": "id", "extent": "few",
    } | changed  # fmt: skip


def body(mallory: Any, document: Any, *keys: SigningKey, **changed: Any) -> dict[str, Any]:
    return {"envelope": mallory.sign("finding/v1", document, *keys), "opening": SALT} | changed


DOCUMENTS: list[tuple[str, dict[str, Any], str]] = [
    ("by the victim", {"by": "victim"}, "E_SIGNATURE"),
    ("about its own table", {"provider": "mallory", "asset": "loans"}, "E_AGREEMENT"),
    ("about another's table", {"asset": "loans"}, "E_NOT_FOUND"),
    ("a category that is not agreed", {"category": "other"}, "E_POLICY"),
    ("a category of no list", {"category": "you are bankrupt"}, "E_FORMAT"),
    ("an extent of no list", {"extent": "12345"}, "E_FORMAT"),
    ("a column that says something", {"column": "call me: +86 138"}, "E_COLUMN"),
    ("a column of control characters", {"column": "id\x1b[2J"}, "E_FORMAT"),
    ("a note", {"note": "free text"}, "E_FORMAT"),
    ("another format", {"format": "atoll.finding/v2"}, "E_FORMAT"),
    ("no such agreement", {"agreement": "agr-" + "0" * 16}, "E_AGREEMENT"),
    ("an agreement that is none", {"agreement": 7}, "E_WIRE"),
    ("a table that is a list", {"asset": ["taxes"]}, "E_FORMAT"),
]


@pytest.mark.parametrize(("changed", "code"), [pytest.param(c, e, id=n) for n, c, e in DOCUMENTS])
def test_findings_that_are_none(mallory, unchanged, changed, code):
    names = {"victim": mallory.victim.identity, "mallory": mallory.me}
    document = finding(
        mallory, **{k: names.get(v, v) if isinstance(v, str) else v for k, v in changed.items()}
    )
    assert mallory.refused("quality.report", body(mallory, document)) == code


def test_findings_that_are_signed_wrong(mallory, unchanged):
    document, stranger = finding(mallory), SigningKey.generate()
    good = body(mallory, document)
    twice = {**good["envelope"], "signatures": good["envelope"]["signatures"] * 2}
    forged = dsse.sign("finding/v1", document)
    forged["signatures"] = [{"keyid": mallory.me, "sig": base64.b64encode(b"0" * 64).decode()}]
    other = {**good["envelope"], "payload": base64.b64encode(b"{}").decode()}
    for envelope, code in (
        (dsse.sign("finding/v1", document), "E_WIRE"),
        (dsse.sign("finding/v1", document, stranger), "E_WIRE"),
        (dsse.sign("finding/v1", document, mallory.keys.signing, stranger), "E_WIRE"),
        (twice, "E_WIRE"),
        (forged, "E_SIGNATURE"),
        (other, "E_SIGNATURE"),
        (mallory.sign("agreement/v1", document), "E_SIGNATURE"),
        ("envelope", "E_FORMAT"),
    ):
        assert mallory.refused("quality.report", {"envelope": envelope, "opening": SALT}) == code
    for salt in (b"", b"o" * 15, b"o" * 17, "o" * 16, None, 16):
        assert mallory.refused("quality.report", good | {"opening": salt}) == "E_WIRE"
    assert mallory.refused("quality.report", good | {"more": 1}) == "E_WIRE"


@pytest.mark.parametrize(("changed", "code"), [
    ({"figures": ["nulls:id"]}, "E_POLICY"), ({"figures": ["rows", "sum:debt"]}, "E_POLICY"),
    ({"figures": [7]}, "E_WIRE"), ({"figures": None}, "E_WIRE"),
    ({"figures": ["rows"] * 5000}, "E_WIRE"), ({"figures": {"rows": 1}}, "E_WIRE"),
    ({"asset": "nothing"}, "E_NOT_FOUND"), ({"asset": None}, "E_NOT_FOUND"), ({"asset": "loans"}, "E_NOT_FOUND"),
    ({"agreement": "agr-" + "0" * 16}, "E_AGREEMENT"), ({"agreement": None}, "E_WIRE"), ({"more": 1}, "E_WIRE"),
])  # fmt: skip
def test_questions_that_are_none(mallory, unchanged, changed, code):
    question = {"agreement": mallory.agreement["id"], "asset": "taxes", "figures": ["rows"]}
    assert mallory.refused("quality.figures", question | changed) == code


ANSWERS: list[tuple[str, Any]] = [
    ("nothing", lambda m, doc, key: {}),
    ("no object", lambda m, doc, key: [1]),
    ("no signature", lambda m, doc, key: {"envelope": dsse.sign("quality-figures/v1", doc), "opening": SALT}),
    ("another's signature", lambda m, doc, key: _answer(doc, SigningKey.generate())),
    ("another kind", lambda m, doc, key: {"envelope": dsse.sign("finding/v1", doc, key), "opening": SALT}),
    ("no opening", lambda m, doc, key: _answer(doc, key) | {"opening": b""}),
    ("another table", lambda m, doc, key: _answer(doc | {"asset": "taxes"}, key)),
    ("another asker", lambda m, doc, key: _answer(doc | {"to": m.me}, key)),
    ("another agreement", lambda m, doc, key: _answer(doc | {"agreement": "agr-" + "1" * 16}, key)),
    ("more figures than asked", lambda m, doc, key: _answer(doc | {"figures": {"rows": "5", "x": "0"}}, key)),
    ("no figures", lambda m, doc, key: _answer(doc | {"figures": {}}, key)),
    ("a figure that is a story", lambda m, doc, key: _answer(doc | {"figures": {"rows": "many, believe me"}}, key)),
    ("a figure that is a number", lambda m, doc, key: _answer(doc | {"figures": {"rows": 5}}, key)),
    ("a figure without end", lambda m, doc, key: _answer(doc | {"figures": {"rows": "1" * 1999}}, key)),
    ("another field", lambda m, doc, key: _answer(doc | {"note": "x"}, key)),
    ("a time that is none", lambda m, doc, key: _answer(doc | {"at": "yesterday"}, key)),
]  # fmt: skip


def _answer(document: Any, key: SigningKey) -> dict[str, Any]:
    return {"envelope": dsse.sign("quality-figures/v1", document, key), "opening": SALT}


@pytest.mark.parametrize("answer", [pytest.param(a, id=n) for n, a in ANSWERS])
def test_answers_that_are_none(mallory, unchanged, answer):
    document = {
        "format": "atoll.quality-figures/v1", "agreement": mallory.agreement["id"], "asset": "loans",
        "provider": mallory.me, "to": mallory.victim.identity, "at": "2026-11-23T16:30:00Z", "figures": {"rows": "5"},
    }  # fmt: skip
    mallory.figures = lambda asked: answer(mallory, document, mallory.keys.signing)
    mallory.connect()
    with pytest.raises(AtollError) as caught:
        mallory.victim.analyst.quality.figures("mallory/loans", mallory.agreement["id"], ["rows"])
    assert caught.value.code in ("E_WIRE", "E_FORMAT", "E_SIGNATURE"), str(caught.value)


def test_an_honest_answer_is_taken(mallory):
    """What the tests above change is the only thing that is wrong with their answers."""
    document = {
        "format": "atoll.quality-figures/v1", "agreement": mallory.agreement["id"], "asset": "loans",
        "provider": mallory.me, "to": mallory.victim.identity, "at": "2026-11-23T16:30:00Z", "figures": {"rows": "5"},
    }  # fmt: skip
    mallory.figures = lambda asked: _answer(document, mallory.keys.signing)
    found = mallory.victim.analyst.quality.figures("mallory/loans", mallory.agreement["id"], ["rows"])
    assert found["figures"] == {"rows": "5"}


def test_the_same_finding_said_again_is_one_and_a_day_has_a_limit(mallory, records, net):
    store = records(net.victim)
    for _ in range(3):
        assert mallory.answered("quality.report", body(mallory, finding(mallory))) is None
    assert store.count("findings") == 1
    for extent in ("some", "many"):
        assert mallory.answered("quality.report", body(mallory, finding(mallory, extent=extent))) is None
    for column in ("id", None):
        document = finding(mallory, category="missing", column=column)
        assert mallory.answered("quality.report", body(mallory, document)) is None
    assert mallory.refused("quality.report", body(mallory, finding(mallory, column=None))) == "E_QUOTA"
    assert mallory.answered("quality.report", body(mallory, finding(mallory))) is None, "known already"
    assert store.count("findings") == LIMITS[1]


def test_questions_have_a_limit_too(mallory, records, net):
    question = {"agreement": mallory.agreement["id"], "asset": "taxes", "figures": ["rows"]}
    for _ in range(LIMITS[0]):
        assert mallory.answered("quality.figures", question) is None
    assert mallory.refused("quality.figures", question) == "E_QUOTA"
