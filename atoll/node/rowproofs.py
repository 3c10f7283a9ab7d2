"""Proofs about single rows of own tables, made from the versions that this node keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from atoll.data.rowproof import make_proof
from atoll.data.snapshot import load
from atoll.errors import AtollError
from atoll.node.logs import logger
from atoll.node.state.models import Asset, AssetVersion
from atoll.node.state.store import Store
from atoll.node.tables import Tables


class RowProofs:
    """What the owner hands to an auditor. A proof shows rows in full, so that only a steward makes one."""

    def __init__(self, store: Store, tables: Tables) -> None:
        self._store, self._tables = store, tables
        self._log = logger("tables")

    def prove(
        self, name: str, id: Sequence[Any], version: int | str | None, person: str
    ) -> tuple[str, bytes]:
        """A proof that a version of a table has, or has not, rows of an id; see `atoll.data.rowproof`.

        Args:
            id: one text for each column of the table's key.
            version: number or digest; the version in use if None. A live table's versions have digests only: each was
                read for one job, whose receipt names it.

        Returns:
            The version's digest, and the proof.

        Raises:
            AtollError: `E_NOT_FOUND`; `E_STATE` for a version whose rows were erased, or that has no row tree; what
                `make_proof` raises.
        """
        found = self._version(name, version)
        with self._tables.reading() as work:
            proof = make_proof(load(self._tables.folder(found)), id, work=work)
        # Who asked; never what for.
        self._log.info("row proof", table=name, version=found.digest, person=person, bytes=len(proof))
        return found.digest, proof

    def _version(self, name: str, version: int | str | None) -> AssetVersion:
        with self._store.read() as session:
            asset = session.get(Asset, name)
            if asset is None:
                raise AtollError("E_NOT_FOUND", f"there is no table {name!r}")
            wanted = asset.version if version is None else version
            if wanted is None:
                raise AtollError(
                    "E_STATE",
                    f"{name} is live and has no version of its own",
                    fault="caller",
                    cure="Name the version by its digest, as the approval or receipt of the job that read it has it.",
                )
            query = select(AssetVersion).where(AssetVersion.asset == name)
            if isinstance(wanted, int):
                query = query.where(AssetVersion.number == wanted, AssetVersion.job.is_(None))
            else:
                query = query.where(AssetVersion.digest == wanted)
            found = session.scalars(query).first() if _storable(wanted) else None
        if found is None:
            gone = f"{name} has no version {wanted!s:.100}"
            if asset.mode == "live":
                gone += (
                    "; versions of a live table are erased some time after their job (data.live_keep_days)"
                )
            raise AtollError("E_NOT_FOUND", gone)
        if found.erased is not None:
            raise AtollError(
                "E_STATE",
                f"rows and secrets of version {found.digest} of {name} were erased on {found.erased}",
                fault="owner",
                cure="Nothing can be proved of it any more. A longer data.live_keep_days keeps later versions longer.",
            )
        return found


def _storable(wanted: int | str) -> bool:
    """Whether a database takes it as a value."""
    return 0 < wanted < 2**31 if isinstance(wanted, int) else "\0" not in wanted
