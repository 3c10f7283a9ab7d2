"""Packages at a node: signed and published as their author, received, reviewed, deployed or refused as their host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.agreements import grants_to
from atoll.crypto import canonical, dsse
from atoll.crypto.document import document_digest, format_time, parse_time
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.agreements import Agreements
from atoll.node.clock import Clock, stamp
from atoll.node.config import Config
from atoll.node.logs import logger
from atoll.node.memo import Memo
from atoll.node.partners import Partners
from atoll.node.state.models import Asset
from atoll.node.state.scripts import Package as Row
from atoll.node.state.scripts import Placement
from atoll.node.state.store import Store
from atoll.node.tables import Tables
from atoll.node.worker.nursery import Nursery
from atoll.node.worker.supervise import run_to_end
from atoll.scripts import deployment as words
from atoll.scripts.deployment import Bounds, Deployment, allowed, default_bounds, open_deployment
from atoll.scripts.examine import Examination, from_document
from atoll.scripts.manifest import column_facts
from atoll.scripts.manifest import parse as parse_manifest
from atoll.scripts.package import KIND, Package, build, open_package
from atoll.scripts.page import explanation, page_lines
from atoll.scripts.review import over_reach, review

_EXAMINE_SECONDS = 60.0
_EXAMINE_BYTES = 1 << 30
# What is kept of one partner at most.
_PACKAGES = 200
_MOST_SAMPLE = 200


class Packages:
    """All packages that this node signed or was sent.

    Args:
        record: appends to an agreement's log, in the caller's transaction: session, agreement, kind, document, job.
    """

    def __init__(
        self,
        store: Store,
        partners: Partners,
        agreements: Agreements,
        tables: Tables,
        nursery: Nursery,
        signing: SigningKey,
        config: Config,
        clock: Clock,
        record: Callable[[Session, str, str, Any, str | None], None],
    ) -> None:
        self._store, self._partners, self._agreements, self._tables = store, partners, agreements, tables
        self._nursery, self._signing, self._config, self._clock = nursery, signing, config, clock
        self._record = record
        self._me = str(signing.public)
        self._log = logger("scripts")
        self._opened: Memo[Package] = Memo(64)
        self._words: Memo[Deployment] = Memo(64)
        # Partners' packages are examined one after the other: each may take all of the memory and time of one.
        self._examining = threading.Lock()
        # Grows with each change of a placement, so that what was read before can be told from what holds now.
        self.changes = 0
        # What else follows from a change: services are started, ended, switched.
        self.on_hosted: Callable[[], None] = lambda: None
        self.on_ended: Callable[[str, str], None] = lambda digest, partner: None
        partners.handle("script.publish", self._published_there)
        partners.handle("script.deployment", self._decided_there)
        partners.outbox.on_refusal("script.publish", self._refused_there)

    # Reading.

    def _names(self) -> dict[str, str]:
        return {p.identity: p.name for p in self._partners.active()} | {self._me: self._partners.name}

    def row(self, reference: str, mine: bool | None = None) -> Row:
        """The package that a digest, `NAME@VERSION`, or the name of its newest version means.

        Args:
            mine: true for packages of this node alone, false for partners' alone.
        """
        name, _, version = reference.partition("@")
        query = select(Row).order_by(Row.created.desc(), Row.digest)
        query = query.where(
            Row.digest == reference
            if ":" in reference
            else (Row.name == name) & (Row.version == version)
            if version
            else Row.name == name
        )
        if mine is not None:
            query = query.where(Row.author == self._me if mine else Row.author != self._me)
        with self._store.read() as session:
            found = session.scalars(query).first()
        if found is None:
            raise AtollError("E_NOT_FOUND", f"there is no package {reference[:80]!r}")
        return found

    def package(self, digest: str) -> Package:
        """The checked package of a digest. It never changes, so it is opened once."""
        return self._opened.get(digest, lambda: open_package(self.row(digest).envelope))

    def placement(self, digest: str, partner: str | None = None) -> Placement:
        """Where a package stands: with `partner`, or with the only one; `E_NOT_FOUND`, `E_FORMAT`."""
        with self._store.read() as session:
            query = select(Placement).where(Placement.digest == digest)
            if partner is not None:
                query = query.where(Placement.partner == self._partners.peer(partner).identity)
            found = session.scalars(query).all()
        if not found:
            raise AtollError("E_NOT_FOUND", "the package was not published there")
        if len(found) > 1:
            raise AtollError("E_FORMAT", "the package stands at several partners: name one")
        return found[0]

    def describe(self, row: Row, place: Placement | None) -> dict[str, Any]:
        """A package, and how it stands at one partner, for the API."""
        names = self._names()
        manifest = self.package(row.digest).manifest
        body: dict[str, Any] = {
            "digest": row.digest,
            "name": row.name,
            "version": row.version,
            "title": manifest.title.document(),
            "purpose": manifest.purpose,
            "subject": manifest.subject.document(),
            "arguments": {name: argument.document() for name, argument in manifest.arguments.items()},
            "outputs": {name: output.document() for name, output in manifest.outputs.items()},
            "author": names.get(row.author, row.author),
            "mine": row.author == self._me,
            "findings": row.examined["findings"],
            "created": row.created,
        }
        if place is not None:
            body |= {
                "partner": names.get(place.partner, place.partner),
                "agreement": place.agreement,
                "state": place.state,
                "active": place.active,
                "job": place.job,
                "changed": place.changed,
                "word": open_deployment(place.deployment).document() if place.deployment else None,
            }
        return body

    def listed(self) -> list[dict[str, Any]]:
        """All packages, newest first; one that stands at several partners stands several times."""
        with self._store.read() as session:
            rows = session.scalars(select(Row).order_by(Row.created.desc(), Row.digest)).all()
            places = session.scalars(select(Placement).order_by(Placement.created)).all()
        found = []
        for row in rows:
            mine = [place for place in places if place.digest == row.digest]
            found += [self.describe(row, place) for place in mine] or [self.describe(row, None)]
        return found

    def file(self, reference: str) -> bytes:
        """The package file."""
        return canonical.dumps(self.row(reference).envelope)

    # The author.

    def sign(self, manifest: Any, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Checks and signs a package; `E_SCRIPT` names the first thing that is wrong with it.

        A version is signed once: the same name and version with other content is `E_CONFLICT`.
        """
        package = build(parse_manifest(manifest), files, self._me)
        envelope = dsse.sign(KIND, package.document(), self._signing)
        examined = self._examine(envelope)
        if examined.findings:
            first = examined.findings[0]
            raise AtollError(
                "E_SCRIPT",
                f"{first.place}: {first.text}",
                detail={"findings": examined.document()["findings"]},
            )
        with self._store.write() as session:
            row = self._keep(session, package, envelope, examined)
        return self.describe(row, None)

    def _examine(self, envelope: dsse.Envelope) -> Examination:
        """Static analysis in a process of its own: what a stranger wrote is parsed there."""
        found = run_to_end(
            self._nursery,
            {"task": "examine", "package": envelope},
            memory_bytes=_EXAMINE_BYTES,
            seconds=_EXAMINE_SECONDS,
        )
        return from_document(found["examined"])

    def _keep(
        self, session: Session, package: Package, envelope: dsse.Envelope, examined: Examination
    ) -> Row:
        digest, manifest = package.digest, package.manifest
        known = session.get(Row, digest)
        if known is not None:
            return known
        other = session.scalars(
            select(Row).where(
                Row.author == package.author, Row.name == manifest.name, Row.version == manifest.version
            )
        ).first()
        if other is not None:
            raise AtollError(
                "E_CONFLICT", f"{manifest.name} {manifest.version} exists with another content",
                cure="Give the changed package a new version.",
            )  # fmt: skip
        row = Row(
            digest=digest, author=package.author, name=manifest.name, version=manifest.version,
            envelope=envelope, examined=examined.document(), created=stamp(self._clock()),
        )  # fmt: skip
        session.add(row)
        return row

    def publish(self, reference: str, partner: str, agreement: str) -> dict[str, Any]:
        """Sends an own package to a partner, to run there under an agreement."""
        row = self.row(reference, mine=True)
        peer = self._partners.peer(partner)
        self._check_agreement(agreement, self._me, peer.identity)
        now = stamp(self._clock())
        with self._store.write() as session:
            place = session.get(Placement, (row.digest, peer.identity))
            if place is None:
                place = Placement(
                    digest=row.digest, partner=peer.identity, mine=True, name=row.name, agreement=agreement,
                    state="published", deployment=None, consent=None, active=False, job=None,
                    created=now, changed=now,
                )  # fmt: skip
                session.add(place)
                document = {"package": row.digest, "name": row.name, "version": row.version}
                self._record(session, agreement, "package", document, None)
            elif place.agreement != agreement:
                raise AtollError(
                    "E_CONFLICT", f"{row.name} {row.version} stands there under another agreement"
                )
            body = {"envelope": row.envelope, "agreement": agreement}
            self._partners.outbox.put(session, peer.identity, "script.publish", body)
        self._partners.outbox.wake()
        return self.describe(row, place)

    def _check_agreement(self, identifier: str, author: str, host: str) -> None:
        state = self._agreements.state(identifier)
        refusal = state.refusal(self._clock())
        if refusal is not None:
            raise refusal
        for key in (author, host):
            if key not in state.agreement.keys:
                raise AtollError("E_AGREEMENT", f"{identifier} is no agreement of these two parties")

    def _refused_there(self, peer: str, body: Any, error: AtollError) -> None:
        digest = document_digest(KIND, dsse.verify(KIND, body["envelope"], []))
        with self._store.write() as session:
            place = session.get(Placement, (digest, peer))
            if place is not None and place.state == "published":
                place.state, place.changed = "refused", stamp(self._clock())
        self._log.warning("a partner's node refused a package", code=error.code, text=error.text)

    def _decided_there(self, remote: Remote, body: Any) -> Any:
        """At the author: the host's word on a package."""
        if not isinstance(body, dict) or set(body) != {"envelope"}:
            raise AtollError("E_WIRE", "not a word on a package")
        word = open_deployment(body["envelope"])
        if word.host != remote.identity or word.author != self._me:
            raise AtollError("E_SCRIPT", "the word is not the sender's, or not for this node", fault="peer")
        with self._store.write() as session:
            place = session.get(Placement, (word.package, remote.identity))
            if place is None or place.agreement != word.agreement:
                raise AtollError("E_SCRIPT", "the package was not published there", fault="peer")
            before = open_deployment(place.deployment) if place.deployment else None
            if before is not None and parse_time(before.at) > parse_time(word.at):
                return {}
            if place.deployment == body["envelope"]:
                return {}
            manifest = open_package(session.get_one(Row, word.package).envelope).manifest
            if (word.name, word.version) != (manifest.name, manifest.version):
                raise AtollError("E_SCRIPT", "the word names another package than its digest", fault="peer")
            if word.bounds is not None:
                allowed(manifest, word.bounds)
            self._take_word(session, place, word, body["envelope"])
            if word.decision == "consent" and not self._has_active(session, place):
                place.active = True
        self._follow(word, remote.identity)
        return {}

    @staticmethod
    def _has_active(session: Session, place: Placement) -> bool:
        return (
            session.scalars(
                select(Placement).where(
                    Placement.partner == place.partner,
                    Placement.name == place.name,
                    Placement.mine,
                    Placement.active,
                )
            ).first()
            is not None
        )

    def _take_word(
        self, session: Session, place: Placement, word: Deployment, envelope: dsse.Envelope
    ) -> None:
        states = {"consent": "deployed", "refuse": "refused", "withdraw": "withdrawn"}
        place.state, place.deployment = states[word.decision], envelope
        place.consent = dsse.identifier(envelope) if word.decision == "consent" else None
        if word.decision != "consent":
            place.active = False
        place.changed = stamp(self._clock())
        self._record(session, place.agreement, "deployment", {"envelope": envelope}, None)

    def _follow(self, word: Deployment, partner: str) -> None:
        self.changes += 1
        if word.decision != "consent":
            self.on_ended(word.package, partner)
        elif word.host == self._me:
            self.on_hosted()

    def hosts(self) -> bool:
        """Whether a partner's package is deployed here."""
        query = select(Placement.digest).where(~Placement.mine, Placement.state == "deployed").limit(1)
        with self._store.read() as session:
            return session.scalars(query).first() is not None

    # The host.

    def _published_there(self, remote: Remote, body: Any) -> Any:
        """A partner sends a package. It only arrives; nothing of it runs before this node's consent."""
        if not isinstance(body, dict) or set(body) != {"envelope", "agreement"}:
            raise AtollError("E_WIRE", "not a package")
        package = open_package(body["envelope"])
        if package.author != remote.identity:
            raise AtollError("E_SCRIPT", "the sender is not the package's author", party=remote.name)
        agreement = str(body["agreement"])
        self._check_agreement(agreement, remote.identity, self._me)
        with self._examining:
            return self._arrived(remote, package, body["envelope"], agreement)

    def _arrived(self, remote: Remote, package: Package, envelope: dsse.Envelope, agreement: str) -> Any:
        digest, now = package.digest, stamp(self._clock())
        with self._store.read() as session:
            if session.get(Placement, (digest, remote.identity)) is not None:
                return {}
            kept = session.scalar(
                select(func.count()).select_from(Placement).where(Placement.partner == remote.identity)
            )
        if (kept or 0) >= _PACKAGES:
            raise AtollError("E_QUOTA", f"{_PACKAGES} packages of that partner are kept", party=remote.name)
        examined = self._examine(envelope)
        with self._store.write() as session:
            row = self._keep(session, package, envelope, examined)
            session.add(
                Placement(
                    digest=digest, partner=remote.identity, mine=False, name=row.name, agreement=agreement,
                    state="published", deployment=None, consent=None, active=False, job=None,
                    created=now, changed=now,
                )
            )  # fmt: skip
            document = {"package": digest, "name": row.name, "version": row.version}
            self._record(session, agreement, "package", document, None)
        self._log.info("package received", name=row.name, version=row.version, peer=remote.name)
        return {}

    def _before(self, session: Session, place: Placement) -> Package | None:
        """The version of the same package that this node consented to last, apart from this one."""
        found = session.scalars(
            select(Placement)
            .where(
                Placement.partner == place.partner,
                Placement.name == place.name,
                Placement.digest != place.digest,
                Placement.deployment.is_not(None),
                Placement.state.in_(("deployed", "withdrawn")),
                ~Placement.mine,
            )
            .order_by(Placement.changed.desc())
        ).first()
        return open_package(session.get_one(Row, found.digest).envelope) if found is not None else None

    def _own_tables(self, package: Package) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = {}
        with self._store.read() as session:
            for item in package.manifest.inputs.values():
                row = session.get(Asset, item.asset)
                found[item.asset] = None if row is None else {c["name"]: c for c in row.schema}
        return found

    def _granted(self, package: Package, place: Placement) -> dict[str, dict[str, tuple[str, ...]]]:
        """What the agreement lets the author's scripts use of this host's tables, for the package's purpose."""
        agreement = self._agreements.state(place.agreement).agreement
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for item in package.manifest.inputs.values():
            asset = agreement.asset_at(self._me, item.asset)
            columns = found.setdefault(item.asset, {})
            for _, grant in (
                grants_to(asset, place.partner, package.manifest.purpose, "script") if asset else ()
            ):
                for name, uses in grant.columns.items():
                    if "script_input" in uses:
                        columns[name] = tuple({*columns.get(name, ()), *uses})
        return found

    def review(
        self, reference: str, partner: str | None = None, bounds: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The page that the owner reads before it consents; of an own package, what its hosts will see."""
        row = self.row(reference)
        package = open_package(row.envelope)
        place, before, granted = None, None, None
        if row.author != self._me:
            place = self.placement(row.digest, partner)
            with self._store.read() as session:
                before = self._before(session, place)
            tables = self._own_tables(package)
            granted = self._granted(package, place)
        else:
            tables = _as_declared(package)
        page = review(
            package, from_document(row.examined), tables=tables, granted=granted, before=before, bounds=bounds
        )
        names = self._names()
        page["author_name"] = names.get(row.author, row.author)
        page["agreement"] = place.agreement if place else None
        page["state"] = place.state if place else "signed"
        page["refused_because"] = over_reach(page)
        page["lines"] = page_lines(page)
        return page

    def trial(self, reference: str, rows: int, bounds: dict[str, Any] | None = None) -> dict[str, Any]:
        """The package run on the owner's own first subjects, with the arguments' defaults; nothing leaves this node."""
        row = self.row(reference, mine=False)
        package = open_package(row.envelope)
        page = self.review(reference)
        if page["refused_because"]:
            raise AtollError("E_SCRIPT", page["refused_because"])
        within = Bounds.parse(default_bounds(**(bounds or {})), code="E_SCRIPT", what="bounds")
        manifest = package.manifest
        versions = {name: self._tables.version(item.asset) for name, item in manifest.inputs.items()}
        return run_to_end(
            self._nursery,
            {
                "task": "trial",
                "package": row.envelope,
                "bounds": within.document(),
                "inputs": {name: str(version.data) for name, version in versions.items()},
                "rows": max(1, min(rows, _MOST_SAMPLE)),
                "today": self._clock().date().isoformat(),
            },
            memory_bytes=self._config["jobs.memory_bytes"],
            seconds=_EXAMINE_SECONDS,
        )

    def deploy(
        self, reference: str, person: str, bounds: dict[str, Any] | None = None, partner: str | None = None
    ) -> dict[str, Any]:
        """The owner's consent, within bounds; given again, the new bounds hold."""
        page = self.review(reference, partner, bounds)
        if page["refused_because"]:
            raise AtollError("E_SCRIPT", f"{page['name']} {page['version']}: {page['refused_because']}")
        within = Bounds.parse(default_bounds(**(bounds or {})), code="E_SCRIPT", what="bounds")
        row = self.row(reference, mine=False)
        allowed(open_package(row.envelope).manifest, within)
        return self._say(row, partner, "consent", within, "", person)

    def refuse(self, reference: str, person: str, reason: str, partner: str | None = None) -> dict[str, Any]:
        """The owner's refusal, with a reason that the author is told."""
        return self._say(self.row(reference, mine=False), partner, "refuse", None, reason, person)

    def withdraw(
        self, reference: str, person: str, reason: str, partner: str | None = None
    ) -> dict[str, Any]:
        """Ends a consent: no call is answered from now on."""
        row = self.row(reference, mine=False)
        if self.placement(row.digest, partner).state != "deployed":
            raise AtollError("E_STATE", f"{row.name} {row.version} is not deployed here")
        return self._say(row, partner, "withdraw", None, reason, person)

    def _say(
        self,
        row: Row,
        partner: str | None,
        decision: str,
        bounds: Bounds | None,
        reason: str,
        person: str,
    ) -> dict[str, Any]:
        place = self.placement(row.digest, partner)
        self._check_agreement(place.agreement, place.partner, self._me)
        word = Deployment.parse(
            {
                "format": words.FORMAT,
                "agreement": place.agreement,
                "host": self._me,
                "author": place.partner,
                "package": row.digest,
                "name": row.name,
                "version": row.version,
                "decision": decision,
                "bounds": bounds.document() if bounds else None,
                "reason": reason,
                "person": person,
                "at": format_time(self._clock()),
            },
            code="E_SCRIPT",
            what="deployment",
        )
        envelope = dsse.sign(words.KIND, word.document(), self._signing)
        with self._store.write() as session:
            stored = session.get_one(Placement, (place.digest, place.partner))
            if decision == "refuse" and stored.state == "deployed":
                raise AtollError("E_STATE", "the package is deployed: withdraw the consent instead")
            self._take_word(session, stored, word, envelope)
            self._partners.outbox.put(session, place.partner, "script.deployment", {"envelope": envelope})
        self._partners.outbox.wake()
        self._follow(word, place.partner)
        return self.describe(row, stored)

    def explain(
        self, digest: str, state: str, answer: dict[str, Any] | None, date: str | None
    ) -> dict[str, list[str]]:
        """What a package decided, for the person whom it is about, in both languages."""
        row = self.row(digest)
        author = self._names().get(row.author, row.author)
        manifest = open_package(row.envelope).manifest
        return explanation(manifest, author=author, state=state, answer=answer, date=date)

    # What plans rest on.

    def consented(self, digest: str, partner: str, consent: str) -> tuple[Package, Deployment]:
        """Package and consent that a plan names, as they stand at this host now.

        Raises:
            AtollError: `E_SCRIPT` if the package is not deployed, or under another consent; `E_EXPIRED`.
        """
        with self._store.read() as session:
            place = session.get(Placement, (digest, partner))
        if place is None or place.mine or place.state != "deployed" or place.consent != consent:
            raise AtollError("E_SCRIPT", "the package is not deployed here under that consent")
        assert place.deployment is not None  # a consent stands
        word = self._words.get(consent, lambda: open_deployment(place.deployment))
        end = words.ends(word)
        if end is not None and self._clock() >= end:
            raise AtollError("E_EXPIRED", f"the consent ended at {word.bounds.not_after}")  # type: ignore[union-attr]
        return self.package(digest), word

    def examination(self, digest: str) -> Examination:
        """What static analysis said about a package."""
        return from_document(self.row(digest).examined)


def _as_declared(package: Package) -> dict[str, dict[str, Any] | None]:
    """Tables that fit a manifest, for the author, who has none of them."""
    found: dict[str, dict[str, Any] | None] = {}
    for item in package.manifest.inputs.values():
        columns = found.setdefault(item.asset, {})
        assert columns is not None  # set above
        key = {"type": package.manifest.subject.type, "precision": None, "scale": None}
        columns.setdefault(item.key, key)
        for name, text in item.columns.items():
            facts = column_facts(text)
            columns[name] = {"type": facts.type, "precision": facts.precision, "scale": facts.scale}
    return found
