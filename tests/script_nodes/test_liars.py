"""A host whose node is patched: what it says beyond the package, or twice, is refused by the asker by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.testing import until

from .conftest import World, plain

_SITE = """
from atoll.functions.script import host

decide = host.Host._decide

def lie(self, calls, requests, fresh, answers):
    decide(self, calls, requests, fresh, answers)
    for answer in answers:
        {lie}

host.Host._decide = lie
"""
LIES = {
    "an amount between the steps": "answer['answer'] = dict(answer['answer'], pay=7)",
    "an amount out of range": "answer['answer'] = dict(answer['answer'], pay=2000000)",
    "an output that is not declared": "answer['answer'] = dict(answer['answer'], age=40)",
    "a reason that is not declared": "answer['answer'] = dict(answer['answer'], reasons=['because'])",
    "a package that was not published": "answer['package'] = 'sha256:' + 'ab' * 32",
    "another version, for a new call": "answer['package'] = OTHER",
    "a held answer with content": "answer['status'] = 'held'",
    "an answer without its status": "answer.pop('status')",
    "a refusal that is none": "answer.update(status='refused', answer=None, error='no')",
}

# What the worker refuses before the node sees it.
BROKEN = ("a held answer with content", "an answer without its status", "a refusal that is none")


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=() if n in (0, 6) else pytest.mark.slow) for n, w in enumerate(LIES)]
)
def test_a_lying_host_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    name = world.fresh()
    world.deploy(name, "1.0.0")
    world.deploy(name, "1.0.1")
    other = next(
        p["digest"] for p in world.author.packages() if p["name"] == name and p["version"] == "1.0.1"
    )
    text = _SITE.format(lie=LIES[what]).replace("OTHER", repr(other))
    (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        world.net.hospital.restart()
    try:
        until(
            "the two are linked",
            lambda: all(p["connected"] for p in world.net.insurer.administrator.peers.list()),
        )
        error, found = _asked(world, name, "one")
        if error is not None:
            assert error.code in ("E_PROTOCOL", "E_PEER_ABORT", "E_STATE", "E_WIRE")
            assert world.caller.calls(name=name) == [], "nothing of it is kept"
        else:
            # A broken message ended the service; asked again under its key, the host repeated what it had stored.
            assert what in BROKEN
            assert (found["state"], found["answer"]) == ("decided", plain(20))
    finally:
        world.net.hospital.restart()
    until(
        "the two are linked",
        lambda: all(p["connected"] for p in world.net.insurer.administrator.peers.list()),
    )
    honest = until("an honest host answers", lambda: _asked(world, name, "two")[1], 60)
    assert honest["answer"] == plain(20)


def _asked(world: World, name: str, key: str) -> tuple[AtollError | None, dict[str, Any]]:
    try:
        return None, dict(world.caller.call(name, "C-20", key=key))
    except AtollError as error:
        return error, {}
