"""Two or three parties in threads, over channels in memory, running one program."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from atoll.mpc import Session
from atoll.mpc import operations as op
from atoll.protocols import memory


def channels(
    seconds: float = 60.0, capacity: int = 8, parties: int = 3, outside: int = 0
) -> list[dict[int, memory.MemoryChannel]]:
    """For each party its channels to the others; those outside have none to each other."""
    ends: list[dict[int, memory.MemoryChannel]] = [{} for _ in range(parties + outside)]
    for i in range(parties):
        for j in range(i + 1, parties + outside):
            ends[i][j], ends[j][i] = memory.pair(capacity, seconds)
    return ends


def run(
    program: Callable[[Session], Any],
    *,
    links: list[dict[int, Any]] | None = None,
    parties: int = 3,
    outside: int = 0,
    **options: Any,
) -> list[Any]:
    """What the program returns at each party; the first error is raised, the others' ends closed before."""
    results = ends(program, links=links, parties=parties, outside=outside, **options)
    errors = [r for r in results if isinstance(r, BaseException)]
    if errors:
        # A party whose peer went away says so: what made it go says more.
        raise next((e for e in errors if getattr(e, "code", "") != "E_PEER_SILENT"), errors[0])
    return results


def ends(
    program: Callable[[Session], Any],
    *,
    links: list[dict[int, Any]] | None = None,
    parties: int = 3,
    outside: int = 0,
    **options: Any,
) -> list[Any]:
    """What the program returns or raises at each party, which closes its ends when it raises."""
    links = links or channels(parties=parties, outside=outside)

    def party(me: int) -> Any:
        own = options if outside == 0 else {"computing": parties, **options}
        if outside and me >= parties:
            own = {k: v for k, v in own.items() if k != "source"}
        try:
            return program(Session(me, links[me], context=b"test", seed=bytes([me + 1]) * 32, **own))
        except BaseException:
            for channel in links[me].values():
                channel.close()
            raise

    with ThreadPoolExecutor(len(links)) as pool:
        futures = [pool.submit(party, me) for me in range(len(links))]
    return [f.exception() or f.result() for f in futures]


def mine(session: Session, owner: int, values: Any) -> Any:
    """The values, at their owner."""
    return values if session.me == owner else None


def share(
    session: Session, values: Any, owner: int, low: Any = None, high: Any = None, **options: Any
) -> Any:
    """A shared array; of two parties, party 0 has what party 2 would."""
    owner %= len(session.protocol.everybody)
    shape = np.shape(values)
    return session.share(mine(session, owner, values), owner, shape, low=low, high=high, **options)


def hidden(
    session: Session, values: Any, owner: int, low: Any = None, high: Any = None, **options: Any
) -> Any:
    """As `share`, but no party is known to know the values, and shares of two parties are uniform."""
    x = share(session, values, owner, low, high, **options)
    if len(session.protocol.everybody) == 3:
        return x
    return op.made(x, x.shape, x.kind, x.bounds, [x], session.protocol.uniform, wide=x.wide)


def mixed(session: Session, values: Any, low: int, high: int, **options: Any) -> Any:
    """A shared array that no party knows: the sum of an array of party 0 and of one of party 1."""
    values = np.asarray(values)
    part = np.random.default_rng(values.size).integers(low, high, values.shape, endpoint=True)
    first = share(session, values - part, 0, low - high, high - low, **options)
    return first + share(session, part, 1, low, high, **options)


def uneven(parts: list[bytes]) -> float:
    """How far bytes are from uniform: the sum of squares of their counts, in standard deviations from its mean."""
    counts = np.bincount(np.frombuffer(b"".join(parts), np.uint8), minlength=256)
    expected = counts.sum() / 256
    return float((((counts - expected) ** 2 / expected).sum() - 255) / (2 * 255) ** 0.5)
