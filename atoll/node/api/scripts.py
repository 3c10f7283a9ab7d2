"""Packages: signed and published by their author, reviewed and deployed by their host, called, decided."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from fastapi import Header, Request, Response
from pydantic import BaseModel, ConfigDict

from atoll.errors import AtollError
from atoll.node.access import Role
from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1", tags=["scripts"])
_READERS: tuple[Role, ...] = ("steward", "analyst", "auditor", "operator", "administrator")


class Body(BaseModel):
    """Strict: no field that is not known."""

    model_config = ConfigDict(extra="forbid")


class NewPackage(Body):
    """A manifest as JSON, and the bytes of each of its files in base64."""

    manifest: dict[str, Any]
    files: dict[str, str]


class Publication(Body):
    """To whom a package goes, and under which agreement it will run there."""

    partner: str
    agreement: str


class Consent(Body):
    """Bounds that differ from the safe defaults, and the author where several published this package."""

    bounds: dict[str, Any] = {}
    partner: str | None = None


class Reason(Body):
    """A reason, and the author where several published this package."""

    reason: str = ""
    partner: str | None = None


class Switch(Body):
    """The host at which new calls go to this version; needed where there are several."""

    host: str | None = None


class NewCall(Body):
    """One call: subject, arguments, idempotency key (else one is drawn), authorisation by its digest, host."""

    subject: str | int
    arguments: dict[str, Any] = {}
    key: str | None = None
    consent: str | None = None
    host: str | None = None


class Batch(Body):
    """Many calls, each with `subject` and optionally `arguments`, `key`, `consent`."""

    calls: list[dict[str, Any]]
    host: str | None = None


class NewWatch(Body):
    """How often the package's table of subjects is looked at for new subjects; null for announced ones alone."""

    every_seconds: int | None = None
    partner: str | None = None


class Announcement(Body):
    """Subjects that something happened to; `event` tells occasions apart."""

    subjects: list[str | int]
    event: str | None = None
    partner: str | None = None


class Word(Body):
    """A steward's word on a held answer."""

    release: bool
    partner: str | None = None


@router.on("GET", "/scripts", "application", *_READERS)
def packages(node: Here) -> list[dict[str, Any]]:
    """All packages that this node signed or was sent, newest first: what a call of each is, how it stands where."""
    return node.packages.listed()


@router.on("POST", "/scripts", "analyst", "steward", status_code=201)
def sign(node: Here, body: NewPackage) -> dict[str, Any]:
    """Checks a package and signs it as this institution's; a version is signed once."""
    files = {}
    for name, text in body.files.items():
        try:
            files[name] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise AtollError("E_FORMAT", f"files.{name} is not base64") from None
    return node.packages.sign(body.manifest, files)


@router.on("GET", "/scripts/{package}/file", *_READERS, response_class=Response)
def file(node: Here, package: str) -> Response:
    """The signed package file. `package`: digest, NAME@VERSION, or NAME for the newest version."""
    return Response(node.packages.file(package), media_type="application/vnd.atoll.script+json")


@router.on("POST", "/scripts/{package}/publish", "steward")
def publish(node: Here, package: str, body: Publication) -> dict[str, Any]:
    """Sends an own package to a partner, whose steward reviews it."""
    return node.packages.publish(package, body.partner, body.agreement)


@router.on("POST", "/scripts/{package}/review", *_READERS[:3])
def review(node: Here, package: str, body: Consent) -> dict[str, Any]:
    """The page to read before consenting: columns, dependencies, bits, changes, code; within the given bounds."""
    return node.packages.review(package, body.partner, body.bounds)


@router.on("POST", "/scripts/{package}/trial", "steward")
def trial(node: Here, package: str, body: Consent, rows: int = 20) -> dict[str, Any]:
    """Runs the package on the owner's own first subjects; nothing leaves this node."""
    return node.packages.trial(package, rows, body.bounds)


@router.on("POST", "/scripts/{package}/deploy", "steward")
def deploy(node: Here, who: Who, package: str, body: Consent) -> dict[str, Any]:
    """The owner's consent, within bounds; given again, the new bounds hold from then on."""
    return node.packages.deploy(package, who.person, body.bounds, body.partner)


@router.on("POST", "/scripts/{package}/refuse", "steward")
def refuse(node: Here, who: Who, package: str, body: Reason) -> dict[str, Any]:
    """The owner's refusal, with a reason for the author."""
    return node.packages.refuse(package, who.person, body.reason, body.partner)


@router.on("POST", "/scripts/{package}/withdraw", "steward")
def withdraw(node: Here, who: Who, package: str, body: Reason) -> dict[str, Any]:
    """Ends a consent: no call is answered from now on."""
    return node.packages.withdraw(package, who.person, body.reason, body.partner)


@router.on("POST", "/scripts/{package}/switch", "analyst", "steward")
def switch(node: Here, package: str, body: Switch) -> dict[str, Any]:
    """New calls go to this version from now on; calls on the way end on the version that took them."""
    return node.script_calls.switch(package, body.host)


@router.on("POST", "/scripts/{name}/calls", "application", "analyst", response_model=dict[str, Any])
def call(
    request: Request,
    node: Here,
    who: Who,
    name: str,
    body: NewCall,
    idempotency_key: str | None = Header(default=None),
) -> Response:
    """One call of a deployed package. Under the same key (here or in `Idempotency-Key`) the answer is the same."""
    if body.key is not None and idempotency_key is not None and body.key != idempotency_key:
        raise AtollError("E_FORMAT", "key: the Idempotency-Key header says another one")
    found, stored = node.script_calls.call(
        name,
        body.subject,
        body.arguments,
        key=body.key or idempotency_key,
        host=body.host,
        consent=body.consent,
        person=who.person,
    )
    # Who called stands with the call itself; a second record of it would cost as much as the first.
    request.state.noted = stored
    return Response(json.dumps(found, ensure_ascii=False), media_type="application/json")


@router.on("POST", "/scripts/{name}/batch", "application", "analyst")
def batch(node: Here, who: Who, name: str, body: Batch) -> list[dict[str, Any]]:
    """Up to 10,000 calls, answered in order; a refused one has its `error` in its place."""
    return node.script_calls.batch(name, body.calls, host=body.host, person=who.person)


@router.on("GET", "/script-calls", "application", *_READERS)
def calls(
    node: Here, name: str | None = None, state: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Calls that this node made, newest first."""
    return node.script_calls.listed(name, state, max(1, min(limit, 1000)))


@router.on("GET", "/script-calls/{name}/{key}", "application", *_READERS)
def shown_call(node: Here, name: str, key: str, host: str | None = None) -> dict[str, Any]:
    """One call that this node made: its answer, where its receipt stands, and the reasons in words."""
    return node.script_calls.show(name, key, host)


@router.on("GET", "/script-decisions", "steward", "auditor")
def decisions(
    node: Here, state: str | None = None, name: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """What packages decided at this node, newest first; `state` held lists what waits for a steward."""
    return node.decisions.listed(state, name, max(1, min(limit, 1000)))


@router.on("GET", "/script-decisions/{name}/{key}", "steward", "auditor")
def decision(node: Here, name: str, key: str, partner: str | None = None) -> dict[str, Any]:
    """One decision of a package at this node, with what was asked and the reasons in words."""
    return node.decisions.show(name, key, partner)


@router.on("POST", "/script-decisions/{name}/{key}", "steward")
def settle(node: Here, who: Who, name: str, key: str, body: Word) -> dict[str, Any]:
    """Lets a held answer leave, or makes it no decision."""
    return node.decisions.release(name, key, who.person, body.release, body.partner)


@router.on("GET", "/script-watches", "steward", "operator", "auditor")
def watches(node: Here) -> list[dict[str, Any]]:
    """What this node watches for its partners' packages."""
    return node.script_events.watches()


@router.on("PUT", "/script-watches/{name}", "steward")
def watch(node: Here, who: Who, name: str, body: NewWatch) -> dict[str, Any]:
    """From now on, subjects that are new in the package's table of subjects cause one call each at its author."""
    return node.script_events.watch(name, body.every_seconds, who.person, body.partner)


@router.on("DELETE", "/script-watches/{name}", "steward")
def unwatch(node: Here, name: str, partner: str | None = None) -> dict[str, Any]:
    """Ends a watch; calls that were caused already go on."""
    node.script_events.unwatch(name, partner)
    return {}


@router.on("POST", "/script-events/{name}", "application", "steward")
def announce(node: Here, name: str, body: Announcement) -> dict[str, Any]:
    """For the owner's own systems: something happened to these subjects, so the package is called about each."""
    return node.script_events.announce(name, body.subjects, body.partner, body.event)


@router.on("GET", "/script-events", "application", *_READERS)
def events(
    node: Here, state: str | None = None, name: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Events at this node, newest first: announced ones as host; waiting, done and failed ones as asker."""
    return node.script_events.listed(state, name, max(1, min(limit, 1000)))
