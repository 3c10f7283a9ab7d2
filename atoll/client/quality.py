"""The part of a node's API about the quality of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from atoll.client.resources import Json, Resource
from atoll.client.transport import objects, segment
from atoll.errors import AtollError


def partner_table(text: str) -> tuple[str, str]:
    """`PARTNER/TABLE` as its two parts; `E_FORMAT`."""
    partner, slash, table = text.rpartition("/")
    if not slash or not partner or not table:
        raise AtollError("E_FORMAT", f"{text!r:.80} is not written as PARTNER/TABLE.")
    return partner, table


class Quality(Resource):
    """Quality of own tables and of partners'."""

    def rules(self, name: str) -> Json:
        """Rules of an own table, the newest `result` and the last `results`."""
        return dict(self._call("GET", f"/v1/data/{segment(name)}/rules"))

    def set_rules(self, name: str, rules: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Json:
        """Replaces the rules of an own table, and evaluates them now; answers as `rules`.

            node.quality.set_rules("loans", [{"kind": "nulls", "column": "debt", "at_most": "0.5", "stop": True}])

        Args:
            rules: a list of rules, or a whole document `{"rules": [...], "every_seconds": 3600}`. Shares and indices
                are whole numbers or text, never floats.

        Raises:
            AtollError: `E_FORMAT`, `E_COLUMN`, `E_TYPE`; `E_STATE` for rules that a live table cannot have.
        """
        document = dict(rules) if isinstance(rules, Mapping) else {"rules": [dict(rule) for rule in rules]}
        return dict(self._transport.slow("PUT", f"/v1/data/{segment(name)}/rules", document))

    def clear_rules(self, name: str) -> Json:
        """Forgets the rules of an own table; `E_NOT_FOUND` without any."""
        return dict(self._call("DELETE", f"/v1/data/{segment(name)}/rules"))

    def alerts(self, table: str | None = None, *, every: bool = False) -> list[Json]:
        """Alerts of own tables of which nobody took note, or every one, newest first."""
        return objects(self._call("GET", "/v1/quality/alerts", table=table, every=every))

    def acknowledge(self, alert: int) -> Json:
        """Takes note of an alert, by its `id`."""
        return dict(self._call("POST", f"/v1/quality/alerts/{int(alert)}/acknowledge"))

    def figures(self, table: str, agreement: str, figures: Iterable[str] = ()) -> Json:
        """The agreed quality figures of a partner's table, or these only, as text; None for one not measured.

            node.quality.figures("tax office/taxes", "agr-...")["figures"]["nulls:income"]

        Args:
            table: `PARTNER/TABLE`.

        Raises:
            AtollError: `E_FORMAT`, `E_NOT_FOUND`; `E_POLICY` for figures that are not agreed; `E_QUOTA`; `E_STATE` if
                the partner has not measured the table.
        """
        partner, name = partner_table(table)
        body = {"partner": partner, "table": name, "agreement": agreement, "figures": list(figures)}
        return dict(self._call("POST", "/v1/quality/figures", body))

    def shown(self) -> list[Json]:
        """All figures that were shown to partners, or seen of theirs, newest first, with their evidence."""
        return objects(self._call("GET", "/v1/quality/figures"))

    def report(
        self, table: str, agreement: str, *, category: str, extent: str, column: str | None = None
    ) -> Json:
        """Tells a partner what is wrong with its table.

        Args:
            table: `PARTNER/TABLE`.
            category: `missing`, `stale`, `contradictory`, `malformed`, `duplicate` or `other`.
            extent: `few`, `some` or `many` rows.
            column: one that the agreement names; None for the table as a whole.

        Raises:
            AtollError: `E_FORMAT`, `E_NOT_FOUND`, `E_COLUMN`; `E_POLICY` for a category that is not agreed; `E_QUOTA`.
        """
        partner, name = partner_table(table)
        body = {
            "partner": partner, "table": name, "agreement": agreement, "category": category, "extent": extent,
            "column": column,
        }  # fmt: skip
        return dict(self._call("POST", "/v1/quality/findings", body))

    def findings(self) -> list[Json]:
        """All findings, received and sent, newest first, with their evidence."""
        return objects(self._call("GET", "/v1/quality/findings"))
