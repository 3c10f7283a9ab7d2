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


def estimate(
    operators: Sequence[Json], known: Sequence[int | None], unique: int, calibration: Calibration
) -> Json:
    """Rounds, bytes and seconds by the known sizes; a table of unknown size counts as much as the other one.

    Says as well how transfers are made, in the operator whose comparisons use them up: as the line asks for.

    Args:
        operators: the joint operators of the plan.
        known: keys of both sides, as far as known.
        unique: number of the side each of whose keys stands once.
        calibration: among the parties.

    Raises:
        AtollError: `E_RANGE` for what could overflow; `E_TOO_LARGE` for tables that are too large.
    """
    largest = max((n for n in known if n is not None), default=1)
    left, right = (max(1, largest if n is None else n) for n in known)
    sizes = Sizes.of(operators[0], (left, right), unique)
    line = {"rate": calibration.bytes_per_second, "delay": calibration.round_seconds / 2}
    chosen = mpc.pick_source(cost_of(operators, sizes), **line)
    withheld = next(op for op in operators if op["kind"] == withhold.RULE.kind)
    withheld["parameters"]["transfers"] = transfers(chosen)
    cost = cost_of(operators, sizes)
    rows = min(sizes.placer_items * sizes.multiplicity, sizes.mapper_items)
    seconds = cost.seconds(**line, cores=PARTIES)
    return compiling.estimate(rows, cost.rounds, cost.bytes, calibration.start_seconds + seconds)
