"""The worker's side of a join by a kept OPRF: bring what is kept up to date, then ask.

The side that does not receive, the *holder*, keeps key and set; the receiver keeps the outputs.
"""

from __future__ import annotations

from typing import Any

from atoll.crypto import canonical
from atoll.errors import AtollError
from atoll.functions.context import Channel, Context, Kept
from atoll.protocols import kept_oprf
from atoll.protocols.ecdh_psi import Intersection
from atoll.protocols.kept_oprf import Held, kept_items, output_bytes

_ROOM = 1 << 20
"""A new key has outputs long enough for so many keys of the holder, or twice its number now."""


def lineage(plan: dict[str, Any], how: dict[str, Any]) -> bytes:
    """What a key is bound to: holder, receiver, agreement, table, key columns and their normalisation.

    Args:
        plan: a plan with `kept_psi/v1`.
        how: a party's view of it, from `run.sides`; both parties' give the same.
    """
    receiver = how["parameters"]["receivers"][0]
    holder = next(how[side] for side in ("mine", "theirs") if how[side]["party"] != receiver)
    entry = next(i for i in plan["inputs"] if i["id"] == holder["input"])
    return canonical.dumps(
        {
            "holder": holder["party"],
            "receiver": receiver,
            "agreement": entry["agreement"],
            "asset": entry["asset"],
            "columns": list(holder["columns"]),
            "steps": [list(holder["steps"].get(column, ())) for column in holder["columns"]],
        }
    )


def _current(kept: Kept, info: bytes, digests: bytes) -> Held:
    """The set of this run: the next version under the key that is kept, or the first under a new one."""
    count = len(digests) // 32
    held = kept.held()
    if held is not None and held.info == info and output_bytes(count, kept.most_keys) <= held.width:
        return held.following(digests)
    room = max(_ROOM, 2 * count)
    return Held.first(kept.fresh, info, digests, max_held=room, max_asked=kept.most_keys)


def _hold(
    context: Context,
    how: dict[str, Any],
    digests: bytes,
    asked: int,
    channel: Channel,
    options: dict[str, Any],
) -> None:
    """The holder: charges what is asked, updates what the receiver keeps, answers."""
    kept, peer, step = context.kept(), how["theirs"]["party"], how["step"]
    held = _current(kept, lineage(context.plan, how), digests)
    # Durable before anything of it is known elsewhere.
    kept.hold(held)
    opened = False

    def before_open() -> None:
        nonlocal opened
        if not opened:
            kept.charge(held, asked)
            context.before_open([peer])
            opened = True

    def meter(declared: int) -> None:
        if declared != asked:
            raise AtollError(
                "E_PROTOCOL", f"{declared} keys are asked, but {asked} were approved", step=step, party=peer
            )
        before_open()

    held = kept_oprf.serve_update(
        held,
        channel,
        threads=options["threads"],
        before_open=before_open,
        anew=True,
        progress=options["progress"],
    )
    kept.hold(held)
    kept_oprf.answer(held, channel, max_items=asked, meter=meter, **options)


def _receive(
    context: Context,
    how: dict[str, Any],
    digests: bytes,
    held: int,
    channel: Channel,
    options: dict[str, Any],
) -> bytes:
    """The receiver: takes the update, asks, and gives the indices of its keys that the holder has."""
    kept = context.kept()
    store = kept_oprf.take_update(
        kept.store(), channel, max_items=held, save=kept.keep, progress=options["progress"]
    )
    if kept_items(store) != held:
        # The update was of another set than was approved: nothing of what is kept can be relied on.
        kept.forget()
        raise AtollError(
            "E_PROTOCOL",
            f"{kept_items(store)} keys are kept, but {held} were approved",
            step=how["step"],
            party=how["theirs"]["party"],
        )
    return kept_oprf.ask(store, digests, channel, **options)


def intersect(
    context: Context, how: dict[str, Any], digests: bytes, peer_keys: int, channel: Channel
) -> Intersection:
    """Runs this party's side.

    Args:
        how: this party's view of the plan, from `run.sides`.
        digests: own distinct keys, 32 bytes each.
        peer_keys: distinct keys that the other party declared.

    Raises:
        AtollError: `E_QUOTA` at the holder, before anything is sent; `E_BUSY` if another job uses what is kept;
            whatever the channel and the protocol raise.
    """
    options = {
        "seed": context.seed,
        "attempt": context.attempt,
        "name": how["step"],
        "threads": context.threads,
        "progress": lambda done, total: context.progress(done, total, how["step"]),
    }
    if context.me not in how["parameters"]["receivers"]:
        _hold(context, how, digests, peer_keys, channel, options)
        return Intersection(None, None, None)
    matched = _receive(context, how, digests, peer_keys, channel, options)
    return Intersection(matched, None, len(matched) // 4)
