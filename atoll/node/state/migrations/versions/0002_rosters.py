"""Rosters of consortia; which pairings they made, and who un-paired a partner"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rosters",
        sa.Column("digest", sa.String(length=160), nullable=False, comment="digest of the document"),
        sa.Column("id", sa.String(length=64), nullable=False, comment="roster identifier"),
        sa.Column("version", sa.Integer(), nullable=False, comment="version of the roster"),
        sa.Column("name", sa.String(length=200), nullable=False, comment="name of the consortium"),
        sa.Column(
            "supersedes",
            sa.String(length=160),
            nullable=True,
            comment="digest of the version before; null on the first",
        ),
        sa.Column("envelope", sa.JSON(), nullable=False, comment="DSSE envelope with the signatures so far"),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="offered, comparing, active, left, superseded, passed over or withdrawn",
        ),
        sa.Column(
            "proposer",
            sa.String(length=160),
            nullable=False,
            comment="the node that brought it here; this node's own key for a file",
        ),
        sa.Column("created", sa.String(length=32), nullable=False, comment="when this node first saw it"),
        sa.Column("changed", sa.String(length=32), nullable=False, comment="when the state last changed"),
        sa.Column(
            "accepted", sa.String(length=32), nullable=True, comment="when it took effect here; null before"
        ),
        sa.Column(
            "accepted_by",
            sa.String(length=128),
            nullable=True,
            comment="the person who accepted it, or confirmed the words of a first one",
        ),
        sa.PrimaryKeyConstraint("digest"),
    )
    with op.batch_alter_table("rosters") as batch_op:
        batch_op.create_index(batch_op.f("ix_rosters_id"), ["id"], unique=False)
    with op.batch_alter_table("peers") as batch_op:
        batch_op.add_column(
            sa.Column(
                "roster",
                sa.String(length=64),
                nullable=True,
                comment="roster whose acceptance made the pairing; null where words did",
            )
        )
        batch_op.add_column(
            sa.Column(
                "removed_by",
                sa.String(length=128),
                nullable=True,
                comment="the person of this node who un-paired it; null where the partner or a roster did",
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("peers") as batch_op:
        batch_op.drop_column("removed_by")
        batch_op.drop_column("roster")
    with op.batch_alter_table("rosters") as batch_op:
        batch_op.drop_index(batch_op.f("ix_rosters_id"))
    op.drop_table("rosters")
