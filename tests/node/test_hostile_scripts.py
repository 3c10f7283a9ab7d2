"""A paired partner that sends packages, words on packages and events of its own making."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.client.authoring import read_folder
from atoll.client.template import new_folder
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.scripts.deployment import Deployment, default_bounds
from atoll.scripts.package import Package, build
from atoll.testing import Net, nodes, until

numbers = itertools.count()


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("mallory", "victim") as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package of a name that no other test has."""
    path = tmp_path / f"rules{next(numbers)}"
    new_folder(path)
    return path


def document(folder: Path, author: str) -> dict[str, Any]:
    source = read_folder(folder)
    return build(source.manifest, source.files, author).document()


def publication(mallory: Any, package: Any, *keys: SigningKey, **changed: Any) -> dict[str, Any]:
    envelope = mallory.sign("script/v1", package, *keys)
    return {"envelope": envelope, "agreement": mallory.agreement["id"]} | changed


def listed(mallory: Any) -> list[tuple[str, str, str]]:
    found = mallory.victim.steward.scripts.packages()
    return sorted((row["digest"], row.get("state", ""), str(row.get("changed"))) for row in found)


@pytest.fixture
def unmoved(mallory: Any, unchanged: None) -> Iterator[None]:
    """No package is kept or changed either."""
    before = listed(mallory)
    yield
    assert listed(mallory) == before


# Packages.


def test_packages_that_are_not_the_senders(mallory: Any, unmoved: None, folder: Path) -> None:
    stranger = SigningKey.generate()
    mine = document(folder, mallory.me)
    anothers = document(folder, str(stranger.public))
    victims = document(folder, mallory.victim.identity)
    forged = mallory.sign("script/v1", mine)
    forged = {
        **forged,
        "signatures": [{**forged["signatures"][0], "sig": base64.b64encode(b"0" * 64).decode()}],
    }
    for body, code in (
        (publication(mallory, anothers, stranger), "E_SCRIPT"),
        (publication(mallory, anothers), "E_SIGNATURE"),
        (publication(mallory, victims), "E_SIGNATURE"),
        (publication(mallory, mine, stranger), "E_SIGNATURE"),
        (publication(mallory, mine, envelope=forged), "E_SIGNATURE"),
        (publication(mallory, mine, envelope=mallory.sign("agreement/v1", mine)), "E_SIGNATURE"),
        (publication(mallory, mine, agreement="agr-" + "0" * 16), "E_AGREEMENT"),
        (publication(mallory, mine, note="look"), "E_WIRE"),
    ):
        assert mallory.refused("script.publish", body) == code, str(body)[:300]


def test_a_package_that_breaks_its_own_manifest(mallory: Any, unmoved: None, folder: Path) -> None:
    mine = document(folder, mallory.me)
    extra = {**mine, "files": {**mine["files"], "more.py": ""}}
    missing = {**mine, "files": {k: v for k, v in mine["files"].items() if k != "rules.py"}}
    outside = {**mine, "files": {**mine["files"], "../rules.py": ""}}
    loose = {**mine, "files": {**mine["files"], "rules.py": "YQ=="[:3] + "\n"}}
    named = {**mine, "manifest": {**mine["manifest"], "name": "../claims"}}
    untyped = {**mine, "manifest": {**mine["manifest"], "limits": {"time_ms": 10**9, "memory_bytes": 1}}}
    for wrong in (extra, missing, outside, loose, named, untyped):
        assert mallory.refused("script.publish", publication(mallory, wrong)) == "E_SCRIPT"


def test_rules_that_import_arrive_and_cannot_be_deployed(mallory: Any, folder: Path) -> None:
    """What a stranger wrote is looked at in a process of its own, and runs nowhere."""
    rules = folder / "rules.py"
    rules.write_text("import os\n" + rules.read_text())
    mine = document(folder, mallory.me)
    assert mallory.answered("script.publish", publication(mallory, mine)) is None
    name = mine["manifest"]["name"]
    scripts = mallory.victim.steward.scripts
    page = scripts.review(name)
    assert page["findings"][0]["place"] == "rules.py:1:1"
    for act in (scripts.deploy, scripts.trial):
        with pytest.raises(AtollError, match=r"rules\.py:1:1"):
            act(name)
    # Sent again it is the same package; another content under its version is none.
    assert mallory.answered("script.publish", publication(mallory, mine)) is None
    rules.write_text(rules.read_text().replace("import os\n", ""))
    assert (
        mallory.refused("script.publish", publication(mallory, document(folder, mallory.me))) == "E_CONFLICT"
    )


# Words of the host, about a package of the victim's.


@pytest.fixture
def published(mallory: Any, folder: Path) -> dict[str, Any]:
    packed = mallory.victim.analyst.scripts.pack(folder)
    mallory.victim.steward.scripts.publish(packed["digest"], "mallory", mallory.agreement["id"])
    until("it is sent", lambda: mallory.victim.administrator.info()["waiting_messages"] == 0, 60)
    return packed


def word(mallory: Any, packed: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "format": "atoll.deployment/v1", "agreement": mallory.agreement["id"], "host": mallory.me,
        "author": mallory.victim.identity, "package": packed["digest"], "name": packed["name"],
        "version": packed["version"], "decision": "consent", "bounds": default_bounds(), "reason": "",
        "person": "Mallory", "at": "2026-11-23T16:30:00Z",
    } | changed  # fmt: skip


WORDS: list[tuple[str, dict[str, Any], str]] = [
    ("as another host", {"host": "victim"}, "E_SIGNATURE"),
    ("for another author", {"author": "mallory"}, "E_SCRIPT"),
    ("about a package of nobody's", {"package": "sha256:" + "0" * 64}, "E_SCRIPT"),
    ("under another agreement", {"agreement": "agr-" + "0" * 16}, "E_SCRIPT"),
    ("of another name", {"name": "claims"}, "E_SCRIPT"),
    ("of another version", {"version": "9.9.9"}, "E_SCRIPT"),
    ("bounds that cover no call", {"bounds": default_bounds(subject_millibits=1)}, "E_SCRIPT"),
    ("bounds of other outputs", {"bounds": default_bounds(steps={"amount": 5})}, "E_SCRIPT"),
    ("no bounds", {"bounds": None}, "E_SCRIPT"),
    ("a refusal with bounds", {"decision": "refuse"}, "E_SCRIPT"),
    ("a decision of no list", {"decision": "maybe", "bounds": None}, "E_SCRIPT"),
    ("a note", {"note": "free text"}, "E_SCRIPT"),
    ("a time that is none", {"at": "yesterday"}, "E_SCRIPT"),
]


@pytest.mark.parametrize(("changed", "code"), [pytest.param(c, e, id=n) for n, c, e in WORDS])
def test_words_that_are_none(
    mallory: Any, published: dict[str, Any], unmoved: None, changed: dict[str, Any], code: str
) -> None:
    names = {"victim": mallory.victim.identity, "mallory": mallory.me}
    named = {k: names.get(v, v) if isinstance(v, str) and k != "person" else v for k, v in changed.items()}
    envelope = mallory.sign("deployment/v1", word(mallory, published, **named))
    assert mallory.refused("script.deployment", {"envelope": envelope}) == code


def test_an_old_consent_does_not_undo_a_withdrawal(mallory: Any, published: dict[str, Any]) -> None:
    def say(**changed: Any) -> str | None:
        envelope = mallory.sign("deployment/v1", word(mallory, published, **changed))
        return mallory.answered("script.deployment", {"envelope": envelope})

    def state() -> str:
        rows = mallory.victim.steward.scripts.packages()
        return str(next(row["state"] for row in rows if row["digest"] == published["digest"]))

    assert say() is None
    assert state() == "deployed"
    assert say(decision="withdraw", bounds=None, at="2026-11-23T16:31:00Z") is None
    assert state() == "withdrawn"
    assert say() is None
    assert state() == "withdrawn"


def test_events_of_a_package_that_is_not_deployed_there(mallory: Any, unmoved: None) -> None:
    event = {"key": "ev-1", "subject": "C-1"}
    assert mallory.refused("script.event", {"name": "nothing", "events": [event]}) == "E_SCRIPT"


def test_events_that_are_none(mallory: Any, published: dict[str, Any], unmoved: None) -> None:
    name = published["name"]
    event = {"key": "ev-1", "subject": "C-1"}
    for events in (
        [], {}, [event] * 501, [{**event, "key": ""}], [{**event, "key": "k" * 65}], [{**event, "key": 7}],
        [{**event, "subject": 7}], [{**event, "subject": "x" * 201}], [{**event, "note": ""}], [{"key": "ev-1"}],
        ["ev-1"], None,
    ):  # fmt: skip
        assert mallory.refused("script.event", {"name": name, "events": events}) == "E_WIRE", str(events)[
            :200
        ]
    assert mallory.victim.steward.scripts.events() == []


# Garbage.

leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=12)
    | st.binary(max_size=40)
)
garbage = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    "script.publish": ("envelope", "agreement"),
    "script.deployment": ("envelope",),
    "script.event": ("name", "events"),
}


def _spoiled(value: Any, path: list[int], other: Any) -> Any:
    """A copy of a document with one place in it replaced."""
    if not path or not value or not isinstance(value, dict | list):
        return other
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        at = first % len(value)
        return [_spoiled(item, rest, other) if i == at else item for i, item in enumerate(value)]
    name = sorted(value)[first % len(value)]
    return {key: _spoiled(item, rest, other) if key == name else item for key, item in value.items()}


def _canonical(value: Any) -> bool:
    try:
        canonical.dumps(value)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("verb", FIELDS)
def test_garbage_is_refused(
    mallory: Any, published: dict[str, Any], folder: Path, unmoved: None, verb: str
) -> None:
    """Bodies of any shape, and signed documents with one place in them replaced."""
    good = {"script.publish": document(folder, mallory.me), "script.deployment": word(mallory, published)}
    kind = {"script.publish": "script/v1", "script.deployment": "deployment/v1"}.get(verb, "")
    texts = [
        mallory.me,
        mallory.victim.identity,
        mallory.agreement["id"],
        published["name"],
        "sha256:" + "0" * 64,
    ]
    json_like = garbage.filter(_canonical)

    def field(name: str) -> st.SearchStrategy[Any]:
        if name != "envelope":
            return st.sampled_from(texts) | garbage
        path = st.lists(st.integers(0, 20), min_size=1, max_size=5)
        nonsense = json_like | st.builds(
            _spoiled, st.just(good[verb]), path, json_like | st.sampled_from(texts)
        )
        # Signed by a stranger, so that what is well-formed by chance is not taken.
        stranger = SigningKey.generate()
        return nonsense.map(lambda d: dsse.sign(kind, d, stranger)) | nonsense.filter(
            lambda d: not _well_formed(verb, d)
        ).map(lambda d: mallory.sign(kind, d))

    shaped = st.fixed_dictionaries({name: field(name) for name in FIELDS[verb]})

    @settings(
        max_examples=100, suppress_health_check=list(HealthCheck), deadline=None, database=None, derandomize=True
    )  # fmt: skip
    @given(st.one_of(shaped, shaped, shaped, garbage))
    def attack(body: Any) -> None:
        code = mallory.answered(verb, body)
        assert code not in (None, "E_INTERNAL", "E_UNREACHABLE"), f"{verb} {body!r}"

    attack()


def _well_formed(verb: str, found: Any) -> bool:
    """Whether a document is one that its sender may send, as a changed reason or purpose makes it."""

    try:
        (Package if verb == "script.publish" else Deployment).parse(found, code="E_SCRIPT", what="document")
    except AtollError:
        return False
    return True
