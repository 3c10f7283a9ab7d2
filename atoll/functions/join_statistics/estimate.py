"""What statistics over a hidden join cost: the program itself, counted on shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll import mpc
from atoll.functions import compiling
from atoll.functions.compiling import Calibration
from atoll.functions.join_statistics.join import Sizes
from atoll.functions.join_statistics.program import program, source, transfers
from atoll.plan.operators import withhold

Json = dict[str, Any]
PARTIES = 2


def cost_of(operators: Sequence[Json], sizes: Sizes) -> mpc.Cost:
    """What the joint operators of a plan cost."""

    def dry(session: mpc.Session) -> None:
        session.open(*program(session, operators, sizes, None).arrays)

    return mpc.estimate(dry, parties=PARTIES, source=source(operators))


def sizes_of(join: Json, known: Sequence[int | None], unique: int) -> Sizes:
    """The sizes of a join as far as they are known; a table of unknown size counts as much as the other one.

    Args:
        join: the `hidden_join` operator.
        known: keys of both sides.
        unique: number of the side each of whose keys stands once.

    Raises:
        AtollError: `E_TOO_LARGE` for tables that are too large.
    """
    largest = max((n for n in known if n is not None), default=1)
    left, right = (max(1, largest if n is None else n) for n in known)
    return Sizes.of(join, (left, right), unique)


def _line(calibration: Calibration) -> dict[str, float]:
    return {"rate": calibration.bytes_per_second, "delay": calibration.round_seconds / 2}


def pick_transfers(operators: Sequence[Json], sizes: Sizes, calibration: Calibration) -> withhold.Transfers:
    """How random transfers are best made on the line between the parties.

    Args:
        operators: the joint operators of the plan, with any choice of transfers.
        sizes: of the join.
        calibration: among the parties.
    """
    return transfers(mpc.pick_source(cost_of(operators, sizes), **_line(calibration)))


def estimate(operators: Sequence[Json], sizes: Sizes, calibration: Calibration) -> Json:
    """Rounds, bytes and seconds; arguments as of `pick_transfers`."""
    cost = cost_of(operators, sizes)
    rows = min(sizes.placer_items * sizes.multiplicity, sizes.mapper_items)
    seconds = cost.seconds(**_line(calibration), cores=PARTIES)
    return compiling.estimate(rows, cost.rounds, cost.bytes, calibration.start_seconds + seconds)
