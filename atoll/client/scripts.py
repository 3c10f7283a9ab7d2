"""Packages and their calls, as a user of one node sees them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atoll.client.transport import Transport, objects, segment

Json = dict[str, Any]


def call_body(
    subject: str | int, arguments: Json | None, key: str | None, host: str | None, consent: str | None
) -> Json:
    """The body of one call of a package."""
    given = arguments or {}
    return {"subject": subject, "arguments": given, "key": key, "host": host, "consent": consent}


class Scripts:
    """Visiting scripts: `node.scripts`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _at(self, package: str, verb: str) -> str:
        return f"/v1/scripts/{segment(package)}/{verb}"

    # The author.

    def pack(self, folder: str | Path, to: str | Path | None = None) -> Json:
        """Checks a folder, has this node sign it, and writes the signed file to `to` if that is given.

        Raises:
            AtollError: `E_SCRIPT` names the file and line that is wrong; `E_CONFLICT` if this version exists.
        """
        # What an author's machine needs for packages is loaded where it is needed.
        from atoll.client.authoring import read_folder

        source = read_folder(Path(folder))
        files = {name: base64.b64encode(data).decode() for name, data in source.files.items()}
        body = {"manifest": source.manifest.document(), "files": files}
        found = dict(self._transport.call("POST", "/v1/scripts", body))
        if to is not None:
            Path(to).write_bytes(self.file(found["digest"]))
        return found

    def file(self, package: str) -> bytes:
        """The signed package file of a digest, `NAME@VERSION`, or `NAME` for the newest version."""
        return self._transport.bytes(self._at(package, "file"))

    def packages(self) -> list[Json]:
        """All packages that this node signed or was sent, and how each stands at each partner."""
        return objects(self._transport.call("GET", "/v1/scripts"))

    def publish(self, package: str, partner: str, agreement: str) -> Json:
        """Sends an own package to a partner, to be reviewed there and to run under an agreement."""
        body = {"partner": partner, "agreement": agreement}
        return dict(self._transport.call("POST", self._at(package, "publish"), body))

    def switch(self, package: str, host: str | None = None) -> Json:
        """New calls go to this version from now on; calls on the way end on the version that took them."""
        return dict(self._transport.call("POST", self._at(package, "switch"), {"host": host}))

    # The host.

    def review(self, package: str, *, partner: str | None = None, bounds: Json | None = None) -> Json:
        """The page to read before consenting: columns, dependencies, bits, changes, code."""
        body = {"partner": partner, "bounds": bounds or {}}
        return dict(self._transport.call("POST", self._at(package, "review"), body))

    def trial(self, package: str, rows: int = 20, *, bounds: Json | None = None) -> Json:
        """The package run on the owner's own first subjects; nothing leaves the node."""
        body = {"bounds": bounds or {}}
        return dict(self._transport.call("POST", self._at(package, "trial"), body, rows=rows))

    def deploy(self, package: str, *, partner: str | None = None, bounds: Json | None = None) -> Json:
        """The owner's consent, within bounds that differ from the safe defaults."""
        body = {"partner": partner, "bounds": bounds or {}}
        return dict(self._transport.call("POST", self._at(package, "deploy"), body))

    def refuse(self, package: str, reason: str, *, partner: str | None = None) -> Json:
        """The owner's refusal, with a reason for the author."""
        return dict(
            self._transport.call("POST", self._at(package, "refuse"), {"reason": reason, "partner": partner})
        )

    def withdraw(self, package: str, reason: str = "", *, partner: str | None = None) -> Json:
        """Ends a consent."""
        return dict(
            self._transport.call(
                "POST", self._at(package, "withdraw"), {"reason": reason, "partner": partner}
            )
        )

    def decisions(self, *, state: str | None = None, name: str | None = None, limit: int = 100) -> list[Json]:
        """What packages decided at this node, newest first; `state="held"` lists what waits for a steward."""
        return objects(
            self._transport.call("GET", "/v1/script-decisions", state=state, name=name, limit=limit)
        )

    def decision(self, name: str, key: str, *, partner: str | None = None) -> Json:
        """One decision, with what was asked and the reasons in words."""
        return dict(
            self._transport.call(
                "GET", f"/v1/script-decisions/{segment(name)}/{segment(key)}", partner=partner
            )
        )

    def settle(self, name: str, key: str, release: bool, *, partner: str | None = None) -> Json:
        """Lets a held answer leave, or makes it no decision."""
        body = {"release": release, "partner": partner}
        return dict(
            self._transport.call("POST", f"/v1/script-decisions/{segment(name)}/{segment(key)}", body)
        )

    # The caller.

    def call(
        self,
        name: str,
        subject: str | int,
        arguments: Json | None = None,
        *,
        key: str | None = None,
        host: str | None = None,
        consent: str | None = None,
    ) -> Json:
        """One call of a deployed package. Made again under the same key it gives the same answer.

        Returns:
            `state` decided or held; `answer`: the outputs and `reasons`, None for no decision; `key`, `version`.
        """
        body = call_body(subject, arguments, key, host, consent)
        return dict(self._transport.call("POST", self._at(name, "calls"), body))

    def batch(self, name: str, calls: Iterable[Json], *, host: str | None = None) -> list[Json]:
        """Up to 10,000 calls, each with `subject` and optionally `arguments`, `key`, `consent`; in order."""
        return objects(
            self._transport.call("POST", self._at(name, "batch"), {"calls": list(calls), "host": host})
        )

    def calls(self, *, name: str | None = None, state: str | None = None, limit: int = 100) -> list[Json]:
        """Calls that this node made, newest first."""
        return objects(self._transport.call("GET", "/v1/script-calls", name=name, state=state, limit=limit))

    def show_call(self, name: str, key: str, *, host: str | None = None) -> Json:
        """One call that this node made: its answer, where its receipt stands, and the reasons in words."""
        return dict(
            self._transport.call("GET", f"/v1/script-calls/{segment(name)}/{segment(key)}", host=host)
        )

    # Events.

    def watch(self, name: str, every_seconds: int | None = None, *, partner: str | None = None) -> Json:
        """At the host: subjects that are new in the package's table of subjects cause one call each at its author."""
        body = {"every_seconds": every_seconds, "partner": partner}
        return dict(self._transport.call("PUT", f"/v1/script-watches/{segment(name)}", body))

    def unwatch(self, name: str, *, partner: str | None = None) -> None:
        """Ends a watch; calls that were caused already go on."""
        self._transport.call("DELETE", f"/v1/script-watches/{segment(name)}", partner=partner)

    def watches(self) -> list[Json]:
        """What this node watches for its partners' packages."""
        return objects(self._transport.call("GET", "/v1/script-watches"))

    def announce(
        self,
        name: str,
        subjects: Iterable[str | int],
        *,
        event: str | None = None,
        partner: str | None = None,
    ) -> Json:
        """At the host: something happened to these subjects; `event` tells occasions apart."""
        body = {"subjects": list(subjects), "event": event, "partner": partner}
        return dict(self._transport.call("POST", f"/v1/script-events/{segment(name)}", body))

    def events(self, *, state: str | None = None, name: str | None = None, limit: int = 100) -> list[Json]:
        """Events at this node, newest first."""
        return objects(self._transport.call("GET", "/v1/script-events", state=state, name=name, limit=limit))
