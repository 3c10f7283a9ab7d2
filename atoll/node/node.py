"""One node, put together: opens its folder, starts its parts in order, stops them in reverse."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from atoll.errors import AtollError
from atoll.node.access import Access
from atoll.node.agreements import Agreements
from atoll.node.clock import Clock, seconds, system_clock
from atoll.node.evidence.audits import Audits
from atoll.node.evidence.billing import Billing
from atoll.node.evidence.evidence import Evidence
from atoll.node.evidence.replay_host import ReplayHost
from atoll.node.evidence.replays import Replays
from atoll.node.evidence.retention import Retention
from atoll.node.evidence.shelf import Shelf
from atoll.node.home import Home
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.inputs import note_use
from atoll.node.jobs.manager import Jobs
from atoll.node.logs import logger
from atoll.node.lookup_tables import TableLookups
from atoll.node.lookups import Lookups
from atoll.node.metrics import Metrics
from atoll.node.partners import Partners
from atoll.node.publishing.catalogue import Catalogue
from atoll.node.publishing.consents import Consents
from atoll.node.publishing.offers import Offers
from atoll.node.quality.results import Results
from atoll.node.quality.schedule import Quality
from atoll.node.quality.sharing import Sharing
from atoll.node.rosters.rosters import Rosters
from atoll.node.rowproofs import RowProofs
from atoll.node.scripts.calls import Calls as ScriptCalls
from atoll.node.scripts.decisions import Decisions, subject_key
from atoll.node.scripts.events import Events
from atoll.node.scripts.packages import Packages
from atoll.node.tables import Tables
from atoll.node.vault import Vault
from atoll.node.worker.nursery import Nursery


class Node:
    """An institution's node. `start` opens the partner port; the REST API is served by `atoll.node.api`."""

    def __init__(self, home: Home, passphrase: str, clock: Clock = system_clock) -> None:
        """Opens keys and state; `E_PASSPHRASE`, `E_CONFIG`."""
        self.home, self.config, self.clock = home, home.config, clock
        self.keys = home.keys(passphrase)
        self.store = home.store()
        self.metrics = Metrics()
        self.access = Access(self.store, clock)
        vault = Vault(self.keys.signing.seed)
        self.partners = Partners(
            self.config, self.store, vault, self.keys, clock, self.metrics, self.config["node.language"]
        )
        self.nursery = Nursery()
        self.cells = Nursery("cell")
        self.results = Results(self.store, clock, self.metrics)
        self.tables = Tables(home.path, self.config, self.store, vault, self.nursery, clock, self.results)
        self.row_proofs = RowProofs(self.store, self.tables)
        shelf = Shelf(self.store, self.partners, self.keys.signing, clock, self.metrics)
        self.evidence = Evidence(
            shelf,
            home.path,
            standing_seconds=float(self.config["ledger.standing_seconds"]),
            witness_for=self.config["ledger.witness_for"],
            note_use=lambda *what: note_use(self.jobs.desk, *what),
        )
        self.ledgers = self.evidence.ledgers
        self.rosters = Rosters(self.store, self.partners, self.keys, clock, self.evidence.record_private)
        self.agreements = Agreements(self.store, self.partners, self.keys.signing, clock, self._record)
        self.consents = Consents(self.store, self.partners, self.agreements, vault, self.keys.signing, clock)
        self.offers = Offers(
            self.store,
            self.partners,
            self.agreements,
            self.keys.signing,
            clock,
            self.evidence.record_private,
            self.rosters.members,
        )
        self.partners.on_active = self.offers.on_active
        self.catalogue = Catalogue(
            self.store, self.partners, self.offers, self.agreements, self.keys.identity, clock
        )
        self.rosters.on_changed = self.offers.on_roster_changed
        self.quality = Quality(self.store, self.tables, self.results, clock)
        self.sharing = Sharing(
            self.store,
            self.partners,
            self.agreements,
            self.results,
            self.keys.signing,
            clock,
            self._record,
        )
        self.packages = Packages(
            self.store,
            self.partners,
            self.agreements,
            self.tables,
            self.nursery,
            self.keys.signing,
            self.config,
            clock,
            self._record,
        )
        self.decisions = Decisions(
            self.store,
            self.partners,
            self.packages,
            vault,
            subject_key(self.keys.signing.seed),
            clock,
            self._record,
        )
        self.jobs = Jobs(
            Desk(
                home=home.path,
                config=self.config,
                store=self.store,
                vault=vault,
                signing=self.keys.signing,
                clock=clock,
                metrics=self.metrics,
                partners=self.partners,
                agreements=self.agreements,
                tables=self.tables,
                nursery=self.nursery,
                cells=self.cells,
                packages=self.packages,
                decisions=self.decisions,
                record=self._record,
                require=self.evidence.standing.require,
                receipted=lambda session, envelope: self.billing.note(session, envelope),
            )
        )
        self.tables.on_changed = self.jobs.runs.changed
        self.script_calls = ScriptCalls(
            self.store, self.partners, self.packages, self.jobs, self.consents, vault, clock
        )
        self.lookups = Lookups(self.jobs, self.consents)
        self.table_lookups = TableLookups(self.lookups, self.tables)
        self.packages.on_ended = self._consent_ended
        self.packages.on_hosted = self.cells.start
        self.script_events = Events(
            self.store,
            self.partners,
            self.packages,
            self.script_calls,
            self.tables,
            self.nursery,
            vault,
            subject_key(self.keys.signing.seed),
            self.config["jobs.memory_bytes"],
            clock,
        )
        self.replays = Replays(self.jobs.desk)
        self.evidence.restore.on("replay/v1", self.replays.restored)
        self.replay_host = ReplayHost(self.jobs.desk)
        self.retention = Retention(self.jobs.desk, self.replays.runs)
        self.billing = Billing(shelf, self.jobs.desk, self.evidence.restore)
        self.consents.on_withdrawn = self.jobs.runs.withdrawn
        self.audits = Audits(shelf, self.ledgers, self.jobs.desk, self.consents)
        self._log = logger("node")
        self.ready = False

    def _consent_ended(self, package: str, partner: str) -> None:
        self.script_calls.ended(package, partner)
        self.jobs.runs.consent_ended(package, partner)

    def _record(self, session: Session, agreement: str, kind: str, document: Any, job: str | None) -> None:
        self.ledgers.record(session, agreement, kind, document, job)

    @property
    def name(self) -> str:
        """The institution's name."""
        name: str = self.config["node.name"]
        return name

    def start(self) -> None:
        """Opens the partner port and takes up what a stop left."""
        self.nursery.start()
        if self.packages.hosts():
            self.cells.start()
        self.tables.start()
        self.replays.start()
        self.quality.start()
        self.jobs.look_back()
        self.partners.start()
        self.evidence.start()
        self.jobs.start(self.evidence.standing.wait)
        self.retention.start()
        self.replay_host.start()
        self.script_events.start()
        self.ready = True
        self._log.info(
            "node started", name=self.name, identity=self.keys.identity, partners=self.partners.address
        )

    def stop(self) -> None:
        """Ends jobs with a reason, closes links and store. Safe to call twice."""
        if not self.ready:
            return
        self.ready = False
        self.script_events.stop()
        self.replay_host.stop()
        self.retention.stop()
        self.replays.stop()
        self.jobs.stop()
        self.partners.outbox.flush(timeout=2.0)
        self.evidence.stop()
        self.partners.stop()
        self.quality.stop()
        self.tables.stop()
        self.nursery.stop()
        self.cells.stop()
        self.store.close()
        self._log.info("node stopped", name=self.name)

    def call(self, job: str, payload: bytes, consent: str | None) -> bytes:
        """One call of a standing service that this node asks, on a data subject's authorisation where one is needed."""
        terms = self.jobs.consent_of(job)
        shown = self.consents.shown(consent, **terms) if terms else None
        return self.jobs.runs.call(job, payload, shown)

    def _tls_keys(self) -> list[dict[str, Any]]:
        """Own TLS keys, the newest first, and how many links there are now over each."""
        links = Counter(peer.mine.tls for peer in self.partners.links.connected().values())
        return [
            {
                "fingerprint": tls.fingerprint,
                "not_after": seconds(tls.not_after),
                "links": links[tls.fingerprint],
            }
            for tls in (self.keys.tls, self.keys.older)
            if tls is not None
        ]

    def describe(self) -> dict[str, Any]:
        """What the API says of the node itself."""
        from atoll import __version__

        return {
            "name": self.name,
            "identity": self.keys.identity,
            "tls": self.keys.tls.fingerprint,
            "tls_keys": self._tls_keys(),
            "version": __version__,
            "partner_address": self.partners.address,
            "language": self.config["node.language"],
            "folder": str(self.home.path),
            "links": len(self.partners.links.connected()),
            "waiting_messages": self.partners.outbox.waiting(),
        }


def open_node(path: Path, passphrase: str, clock: Clock = system_clock) -> Node:
    """The node in a folder."""
    home = Home.open(path)
    if not (path / "keys").is_dir():
        raise AtollError("E_CONFIG", f"{path} has no keys", cure="Run `atoll init` first.")
    return Node(home, passphrase, clock)
