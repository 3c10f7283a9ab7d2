"""Rules, results and alerts in the state store, in the transaction of what caused them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from atoll.data.quality import Outcome, Result, Rules
from atoll.errors import AtollError
from atoll.node.clock import Clock, parse, stamp
from atoll.node.logs import logger
from atoll.node.metrics import Metrics
from atoll.node.state.models import QualityAlert, QualityResult, QualityRules
from atoll.node.state.store import Store

Trigger = Literal["add", "refresh", "rules", "schedule"]
# Of each table; older ones go.
KEPT_RESULTS = 100
KEPT_ALERTS = 1000
EVALUATION = "evaluation"


class Results:
    """What this node knows of the quality of its own tables."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store, self._clock, self._metrics = store, clock, metrics
        self._log = logger("quality")

    def start(self) -> None:
        """Counts the alerts that a stop left open."""
        with self._store.read() as session:
            self._count(session)

    # Rules.

    def rules(self, name: str) -> dict[str, Any] | None:
        """The rules of a table, None without any."""
        with self._store.read() as session:
            row = session.get(QualityRules, name)
        return None if row is None else dict(row.rules)

    def set_rules(self, session: Session, name: str, rules: Rules, person: str) -> None:
        """Replaces the rules of a table; alerts of rules that are gone end."""
        now = self._clock()
        every = rules.every_seconds
        session.merge(
            QualityRules(
                asset=name,
                rules=rules.document(),
                next=stamp(now + timedelta(seconds=every)) if every else None,
                by=person,
                created=stamp(now),
            )
        )
        self._end(session, name, keep={rule.key for rule in rules.rules} | {EVALUATION})

    def clear_rules(self, session: Session, name: str) -> None:
        """Forgets the rules of a table; `E_NOT_FOUND` without any. Its results stay, its alerts end."""
        row = session.get(QualityRules, name)
        if row is None:
            raise AtollError("E_NOT_FOUND", f"the table {name!r} has no quality rules")
        session.delete(row)
        self._end(session, name, keep=set())

    def forget(self, session: Session, name: str) -> None:
        """Forgets everything about a table."""
        for kind in (QualityRules, QualityResult, QualityAlert):
            session.execute(delete(kind).where(kind.asset == name))
        self._count(session)

    def due(self) -> list[str]:
        """Tables whose rules are to be evaluated by now, and the next time of each put into the future.

        Missed times are not made up.
        """
        now = self._clock()
        names = []
        with self._store.read() as session:
            if session.scalars(_due(stamp(now)).limit(1)).first() is None:
                return []
        with self._store.write() as session:
            for row in session.scalars(_due(stamp(now))):
                names.append(row.asset)
                following, every = parse(str(row.next)), timedelta(seconds=row.rules["every_seconds"])
                row.next = stamp(following + every * ((now - following) // every + 1))
        return names

    # Results.

    def take(
        self, session: Session, name: str, result: Result, trigger: Trigger, *, used: bool = True
    ) -> None:
        """Keeps a result, and raises and ends alerts by it.

        Args:
            used: False for a version that was refused: then alerts are raised, and none ends.
        """
        now = stamp(self._clock())
        session.add(
            QualityResult(
                asset=name,
                at=now,
                trigger=trigger,
                used=used,
                failing=len(result.broken),
                result=result.document(),
            )
        )
        for outcome in result.broken:
            self._raise(session, name, outcome, now, used)
        if used:
            self._end(session, name, keep={outcome.rule for outcome in result.broken})
        _trim(session, QualityResult, name, KEPT_RESULTS)
        _trim(session, QualityAlert, name, KEPT_ALERTS)
        self._count(session)
        state = "refused" if not used else "broken" if result.broken else "holds"
        self._metrics.quality.labels(outcome=state).inc()
        say = self._log.warning if result.broken else self._log.info
        say(
            "quality", table=name, trigger=trigger, outcome=state, rules=len(result.outcomes),
            broken=[outcome.rule for outcome in result.broken],
        )  # fmt: skip

    def failed(self, name: str, error: AtollError) -> None:
        """An evaluation that came to no result: an alert of its own, with the code alone."""
        now = stamp(self._clock())
        with self._store.write() as session:
            if session.get(QualityRules, name) is None:
                return
            outcome = Outcome(
                rule=EVALUATION, kind="nulls", columns=(), stop=False, state="broken", measured=None, limit="",
                en=f"the rules could not be evaluated: {error.code}", zh=f"规则无法评估：{error.code}",
            )  # fmt: skip
            self._raise(session, name, outcome, now, True)
            self._count(session)
        self._metrics.quality.labels(outcome="failed").inc()
        self._log.warning("quality could not be measured", table=name, code=error.code)

    def newest(self, session: Session, name: str) -> Result | None:
        """The newest result of the version in use; None if there is none."""
        row = session.scalars(
            select(QualityResult)
            .where(QualityResult.asset == name, QualityResult.used.is_(True))
            .order_by(QualityResult.id.desc())
            .limit(1)
        ).first()
        return None if row is None else Result.parse(row.result)

    def describe(self, name: str) -> dict[str, Any]:
        """Rules, the newest result, and the course of the last ones."""
        with self._store.read() as session:
            row = session.get(QualityRules, name)
            newest = self.newest(session, name)
            last = session.scalars(
                select(QualityResult)
                .where(QualityResult.asset == name)
                .order_by(QualityResult.id.desc())
                .limit(20)
            ).all()
        return {
            "name": name,
            "rules": row.rules if row else None,
            "next": row.next if row else None,
            "by": row.by if row else None,
            "created": row.created if row else None,
            "result": newest.document() if newest else None,
            "results": [
                {
                    "at": r.at,
                    "trigger": r.trigger,
                    "used": r.used,
                    "failing": r.failing,
                    "rows": r.result["rows"],
                }
                for r in last
            ],
        }

    # Alerts.

    def _raise(self, session: Session, name: str, outcome: Outcome, now: str, used: bool) -> None:
        en, zh = (outcome.en, outcome.zh) if used else (f"refused: {outcome.en}", f"已拒绝：{outcome.zh}")
        row = session.scalars(
            select(QualityAlert).where(
                QualityAlert.asset == name, QualityAlert.rule == outcome.rule, QualityAlert.ended.is_(None)
            )
        ).first()
        if row is None:
            row = QualityAlert(asset=name, rule=outcome.rule, since=now)
            session.add(row)
        row.stop, row.en, row.zh, row.seen = outcome.stop, en, zh, now
        session.flush()

    def _end(self, session: Session, name: str, keep: set[str]) -> None:
        for row in session.scalars(
            select(QualityAlert).where(QualityAlert.asset == name, QualityAlert.ended.is_(None))
        ):
            if row.rule not in keep:
                row.ended = stamp(self._clock())
        self._count(session)

    def _count(self, session: Session) -> None:
        session.flush()
        query = select(func.count()).select_from(QualityAlert).where(QualityAlert.acknowledged.is_(None))
        self._metrics.quality_alerts.set(session.scalar(query) or 0)

    def alerts(self, table: str | None = None, every: bool = False) -> list[dict[str, Any]]:
        """Alerts of which nobody took note, newest first; with `every` the others too."""
        query = select(QualityAlert).order_by(QualityAlert.id.desc())
        if table is not None:
            query = query.where(QualityAlert.asset == table)
        if not every:
            query = query.where(QualityAlert.acknowledged.is_(None))
        with self._store.read() as session:
            return [_alert(row) for row in session.scalars(query)]

    def acknowledge(self, identifier: int, person: str) -> dict[str, Any]:
        """Notes that a person took note; `E_NOT_FOUND`. A second time changes nothing."""
        with self._store.write() as session:
            known = 0 < identifier < 2**63
            row = session.get(QualityAlert, identifier) if known else None
            if row is None:
                raise AtollError("E_NOT_FOUND", f"there is no alert {identifier}")
            if row.acknowledged is None:
                row.acknowledged, row.by = stamp(self._clock()), person
            self._count(session)
        return _alert(row)


def _due(now: str) -> Any:
    return select(QualityRules).where(QualityRules.next.is_not(None), QualityRules.next <= now)


def _trim(session: Session, kind: type[QualityResult] | type[QualityAlert], name: str, keep: int) -> None:
    session.flush()
    oldest = session.scalars(
        select(kind.id).where(kind.asset == name).order_by(kind.id.desc()).offset(keep).limit(1)
    ).first()
    if oldest is not None:
        session.execute(delete(kind).where(kind.asset == name, kind.id <= oldest))


def _alert(row: QualityAlert) -> dict[str, Any]:
    return {
        "id": row.id,
        "table": row.asset,
        "rule": row.rule,
        "stop": row.stop,
        "text": {"en": row.en, "zh": row.zh},
        "since": row.since,
        "seen": row.seen,
        "ended": row.ended,
        "acknowledged": row.acknowledged,
        "by": row.by,
    }


def refusal(name: str, result: Result) -> AtollError:
    """Why a version was refused, for the owner."""
    stopping = result.stopping
    told = "; ".join(outcome.en for outcome in stopping)
    return AtollError(
        "E_QUALITY",
        f"{name} breaks {len(stopping)} {'rule' if len(stopping) == 1 else 'rules'} that stop it: {told}",
        column=stopping[0].columns[0],
        detail={
            "outcomes": [
                {"rule": o.rule, "measured": o.measured, "limit": o.limit, "text": {"en": o.en, "zh": o.zh}}
                for o in stopping
            ]
        },
    )


def live_rules(name: str, rules: Rules) -> Rules:
    """The rules if a live table can have them: it keeps no version to compare with, or to go on with."""
    for rule in rules.rules:
        if rule.stop or rule.kind == "stability":
            what = "has stop" if rule.stop else "compares with the version before"
            raise AtollError(
                "E_STATE",
                f"{name} is live and keeps no version: rule {rule.key} {what}",
                column=rule.names[0],
                fault="caller",
                cure="Give a live table rules without stop and stability, or add the table as a snapshot.",
            )
    return rules
