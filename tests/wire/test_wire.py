"""What crosses the connections of whole jobs, captured inside TLS, holds no planted value in any form.

Each process of each node writes down the plaintext of everything that it sends, at the one place where bytes
enter TLS: hello and refusal, control messages, pairing, and the workers' channels. The search itself is tested
on protocols that leak on purpose.
"""

from __future__ import annotations

import hashlib
import queue
import random
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from atoll.errors import AtollError
from atoll.net.dial import dial
from atoll.net.identity import ephemeral_tls
from atoll.net.session import Session
from atoll.testing import Net, nodes, until

NAMES = ("alice", "bob", "carol")
SEGMENTS = ("retail", "corporate", "treasury")


def planted() -> dict[str, dict[str, list[Any]]]:
    """Rows of three institutions: resident ids, names and amounts, all with enough digits to be searched for."""
    draw = random.Random(20261123)
    shared = [f"{draw.randrange(1, 10**18):018d}" for _ in range(30)]
    surnames, given = "欧阳司徒诸葛夏侯", "浩然思远晓雯建国"
    found = {}
    for name in NAMES:
        ids = shared[:20] + [f"{draw.randrange(1, 10**18):018d}" for _ in range(20)]
        found[name] = {
            "id": ids,
            "person": [
                f"{surnames[draw.randrange(4) * 2 :][:2]}{given[draw.randrange(4) * 2 :][:2]}{number:02d}"
                for number in range(40)
            ],
            "segment": [SEGMENTS[i % 3] for i in range(40)],
            "debt": [Decimal(draw.randrange(10**9, 10**11)).scaleb(-2) for _ in range(40)],
        }
    return found


ROWS = planted()
BOUNDED = {"columns": {"debt": {"range": ["0", "1000000000"]}}}
# One row at bob stands in a segment that no plan names.
ODD = {**ROWS["bob"], "segment": ["UNHEARD-OF-SEGMENT", *ROWS["bob"]["segment"][1:]]}


def table(rows: dict[str, list[Any]]) -> pa.Table:
    return pa.table({**rows, "debt": pa.array(rows["debt"], pa.decimal128(18, 2))})


@pytest.fixture(scope="module")
def net(capture: Any) -> Iterator[Net]:
    with nodes(*NAMES) as made:
        for name in NAMES:
            made[name].steward.data.add("loans", table(ROWS[name]), keys=["id"], declaration=BOUNDED)
        yield made


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    net.bob.steward.data.add("odd", table(ODD))
    uses = {
        "id": ["join_key", "reveal"],
        "person": ["reveal"],
        "segment": ["group_key", "reveal"],
        "debt": ["aggregate", "reveal"],
    }
    tables = {name: {"loans": uses} for name in NAMES}
    weaker = {"variants": ["semi-honest", "low-communication", "kept"]}
    functions = ["join", "totals", "intersect", "join_totals", "join_statistics"]
    return net.agreement(
        tables | {"bob": {"loans": uses, "odd": uses}},
        join=weaker,
        functions=functions,
        also_disclose=["own_matched_sum", "matched_product"],
    )


def values(*names: str) -> list[Any]:
    """All values of the tables but the segments, which the plan itself names."""
    found: list[Any] = []
    for name in names or NAMES:
        found += ROWS[name]["id"] + ROWS[name]["person"] + ROWS[name]["debt"]
    return list(dict.fromkeys(found))


def own_sums(name: str) -> list[Decimal]:
    """What an institution must not show: its own sums, of which only the total of all is opened."""
    rows = ROWS[name]
    pairs = list(zip(rows["segment"], rows["debt"], strict=True))
    return [sum((debt for segment, debt in pairs if segment == wanted), Decimal(0)) for wanted in SEGMENTS]


def everything_said(job: Any, net: Net) -> None:
    job.wait(timeout=90)
    until("all signed", lambda: not job.receipt()["missing"])
    for node in net:
        until(f"{node.name} is quiet", lambda n=node: n.administrator.info()["waiting_messages"] == 0)


def enough(sent: dict[str, bytes]) -> None:
    """The capture is of what it should be: control messages and workers' channels, from several processes."""
    labels = b"".join(data for name, data in sent.items() if name.endswith("labels")).decode()
    for verb in (
        "plan.propose",
        "plan.decision",
        "job.start",
        "job.provisional",
        "job.receipt",
        "ledger.extend",
    ):
        assert f" {verb} " in labels, f"no {verb} in the capture"
    assert len({name.partition("-")[0] for name in sent}) >= 4, "nodes and workers"


JOINS: list[dict[str, Any]] = [
    {"receivers": "both", "protocol": "ecdh-psi/v1"},
    {"receivers": "me", "protocol": "ecdh-psi/v1"},
    {"reveal": "size"},
    {"receivers": "both", "security": "malicious"},
    {"receivers": "peer", "protocol": "vole-psi/v1", "security": "semi-honest"},
    {"receivers": "both", "variant": "low-communication"},
    {"receivers": "me", "protocol": "kept-oprf-psi/v1"},
    {"receivers": "peer", "protocol": "kept-oprf-psi/v1"},
]


@pytest.mark.parametrize("how", JOINS, ids=str)
def test_a_whole_join_shows_no_value(
    net: Net, agreement: str, capture: Any, leaks: Any, how: dict[str, Any]
) -> None:
    capture.take()
    job = net.alice.analyst.join(agreement, "loans@alice", "loans@bob", on="id", purpose="test", **how)
    everything_said(job, net)
    if how.get("receivers") != "peer":
        assert job.document["result"]["rows"] == (1 if how.get("reveal") == "size" else 20)
    sent = capture.take()
    enough(sent)
    assert leaks(sent.values(), values()) == []


@pytest.mark.parametrize("how", [{"receivers": "both"}, {"minimum_group": 21}], ids=str)
def test_whole_totals_of_a_hidden_join_show_no_value_and_no_sum(
    net: Net, agreement: str, capture: Any, leaks: Any, how: dict[str, Any]
) -> None:
    """The shares of sums that travel are no sums; with too few matches none travels."""
    capture.take()
    options = {"left_values": "debt", "right_values": "debt", "maximum_rows": 1000} | how
    tables = ("loans@alice", "loans@bob")
    job = net.alice.analyst.join_totals(agreement, *tables, on="id", purpose="test", **options)
    everything_said(job, net)
    (row,) = job.result().arrow().to_pylist()
    assert row["enough"] == ("receivers" in how)
    sums = [sum(ROWS[name]["debt"][:20], Decimal(0)) for name in ("alice", "bob")]
    sent = capture.take()
    enough(sent)
    found = leaks(sent.values(), [*values(), *own_sums("alice"), *own_sums("bob"), *sums])
    assert found == []


@pytest.mark.parametrize("how", [{"receivers": "both"}, {"minimum_group": 21}], ids=str)
def test_whole_statistics_of_a_hidden_join_show_no_value_and_no_sum(
    net: Net, agreement: str, capture: Any, leaks: Any, how: dict[str, Any]
) -> None:
    """Shares of sums, squares and products travel, and none of them is what it is a share of."""
    capture.take()
    wanted = ["variance(left.debt)", "correlation(left.debt, right.debt)"]
    job = net.alice.analyst.join_statistics(
        agreement,
        "loans@alice",
        "loans@bob",
        statistics=wanted,
        on="id",
        purpose="test",
        maximum_rows=1000,
        **how,
    )
    everything_said(job, net)
    (row,) = job.result().arrow().to_pylist()
    assert row["enough"] == ("receivers" in how)
    debts = [ROWS[name]["debt"][:20] for name in ("alice", "bob")]
    sums = [sum(d, Decimal(0)) for d in debts] + [sum((x * x for x in d), Decimal(0)) for d in debts]
    sent = capture.take()
    enough(sent)
    found = leaks(sent.values(), [*values(), *own_sums("alice"), *own_sums("bob"), *sums])
    assert found == []


@pytest.mark.parametrize("how", [{"everyone": True}, {"leader": "bob"}, {"reveal": "size"}], ids=str)
def test_a_whole_intersection_of_three_shows_no_value(
    net: Net, agreement: str, capture: Any, leaks: Any, how: dict[str, Any]
) -> None:
    capture.take()
    tables = [f"loans@{name}" for name in NAMES]
    job = net.alice.analyst.intersect(agreement, tables, on="id", purpose="test", **how)
    everything_said(job, net)
    leader = net[how.get("leader", "alice")].analyst.jobs.get(job.id)
    assert leader.document["result"]["rows"] == (1 if how.get("reveal") == "size" else 20)
    sent = capture.take()
    enough(sent)
    assert leaks(sent.values(), values()) == []


def test_whole_totals_show_no_value_and_no_own_sum(
    net: Net, agreement: str, capture: Any, leaks: Any
) -> None:
    capture.take()
    job = net.alice.analyst.totals(
        agreement, "loans", group="segment", segments=SEGMENTS, values=["debt"], purpose="test"
    )
    everything_said(job, net)
    table = job.result().arrow()
    sums = dict(zip(*(table.column(i).to_pylist() for i in (0, 1)), strict=True))
    for number, segment in enumerate(SEGMENTS):
        assert sums[segment] == sum(own_sums(name)[number] for name in NAMES)
    sent = capture.take()
    enough(sent)
    hidden = values() + [s for name in NAMES for s in own_sums(name)] + list(sums.values())
    assert leaks(sent.values(), hidden) == []


def test_a_node_that_refuses_for_a_value_does_not_send_it(
    net: Net, agreement: str, capture: Any, leaks: Any
) -> None:
    """Two renderings: the owner reads the value, and the peers' wire never carries it."""
    capture.take()
    assets = ["loans@alice", "odd@bob", "loans@carol"]
    job = net.alice.analyst.totals(
        agreement, assets, group="segment", segments=SEGMENTS, values=["debt"], purpose="test"
    )
    with pytest.raises(AtollError) as caught:
        job.wait(timeout=60)
    assert ODD["segment"][0] not in str(caught.value.to_problem())
    theirs = until("bob's end", lambda: net.bob.analyst.jobs.get(job.id).error)
    assert ODD["segment"][0] in theirs.text, "the owner reads what is wrong"
    for node in net:
        until(f"{node.name} is quiet", lambda n=node: n.administrator.info()["waiting_messages"] == 0)
    assert leaks(capture.take().values(), [*values(), ODD["segment"][0]]) == []


def test_no_value_of_a_partner_is_in_the_own_store_or_log(net: Net, leaks: Any) -> None:
    for node in net:
        own = ROWS[node.name]
        others = [n for n in NAMES if n != node.name]
        private = [v for n in others for v in (ROWS[n]["id"][-1], ROWS[n]["person"][7], ROWS[n]["debt"][5])]
        store = [p.read_bytes() for p in node.folder.glob("state.sqlite*")]
        results = [p.read_bytes() for p in node.folder.glob("jobs/*/*")]
        assert leaks([*store, *results, node.log().encode()], private) == [], node.name
        assert leaks([node.log().encode()], [own["id"][0], own["person"][0], own["debt"][0]]) == [], (
            "no log has values"
        )


# Protocols that leak on purpose: the search must catch each of them.


def leaking_md5(send: Callable[[bytes], None]) -> None:
    """Sends the first four bytes of each id's MD5, sorted: what some products call a blind comparison."""
    send(b"".join(sorted(hashlib.md5(i.encode()).digest()[:4] for i in ROWS["alice"]["id"])))


def leaking_integers(send: Callable[[bytes], None]) -> None:
    """Sends sums as 16-byte integers, two messages each, cut in the middle."""
    for debt in ROWS["alice"]["debt"]:
        raw = int(debt.scaleb(2)).to_bytes(16, "big")
        send(raw[:13])
        send(raw[13:])


def leaking_error(send: Callable[[bytes], None]) -> None:
    """Sends a row's name in an error text."""
    send(f'{{"code": "E_DATA", "text": "row 7: {ROWS["alice"]["person"][7]}"}}'.encode())


def clean(send: Callable[[bytes], None]) -> None:
    """Random bytes, as many as a join of these tables has: a false alarm here has probability below 10^-4."""
    send(random.Random(7).randbytes(20_000))


@pytest.mark.parametrize(
    ("protocol", "caught"),
    [(leaking_md5, True), (leaking_integers, True), (leaking_error, True), (clean, False)],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_the_search_catches_leaking_protocols(
    protocol: Callable[[Callable[[bytes], None]], None], caught: bool, leaks: Any
) -> None:
    """Over a real session between two workers, with its tap."""
    sent: list[bytes] = []
    received: queue.Queue[bytes] = queue.Queue()
    door = socket.create_server(("127.0.0.1", 0))
    certificates = {who: ephemeral_tls(datetime.now(UTC)) for who in ("alice", "bob")}
    address = f"127.0.0.1:{door.getsockname()[1]}"

    def tap(direction: str, _channel: str, _step: str, payload: bytes) -> None:
        if direction == "sent":
            sent.append(payload)

    def session(
        who: str, other: str, connect: Callable[[], tuple[socket.socket, str | None]], **more: Any
    ) -> Session:
        made = Session(
            who, other, "job-1", 1, connect, certificates[who], certificates[other].fingerprint,
            clock=lambda: datetime.now(UTC), silence_seconds=5.0, **more,
        )  # fmt: skip
        made.start()
        return made

    one = session(
        "alice", "bob", lambda: (dial(address), "0123456789abcdef0123456789abcdef.job.atoll"), tap=tap
    )
    two = session("bob", "alice", lambda: (door.accept()[0], None))
    try:
        channel = one.channel("leak")

        def read() -> None:
            while (message := two.channel("leak").recv()) != b"end":
                received.put(message)

        reader = threading.Thread(target=read)
        reader.start()
        protocol(lambda payload: channel.send(payload, "leak"))
        channel.send(b"end", "leak")
        reader.join(10)
        assert not reader.is_alive()
        found = leaks([b"".join(sent)], values("alice"))
        assert bool(found) is caught
    finally:
        for side in (one, two):
            side.abort(AtollError("E_CANCELLED", "the test is over"))
        door.close()


@pytest.mark.parametrize(
    "disguise",
    [
        lambda v: v.encode(),
        lambda v: v.encode("utf-16-le"),
        lambda v: v.encode("utf-16-be"),
        lambda v: int(v).to_bytes(8, "little"),
        lambda v: int(v).to_bytes(8, "big"),
        lambda v: int(v).to_bytes(16, "little"),
        lambda v: __import__("base64").b64encode(b"x" + v.encode() + b"yz"),
        lambda v: __import__("base64").b64encode(b"xy" + v.encode()),
        lambda v: v.encode().hex().encode(),
        lambda v: hashlib.sha256(v.encode()).digest(),
        lambda v: hashlib.sha256(v.encode()).digest()[:8],
        lambda v: hashlib.md5(v.encode()).hexdigest().encode(),
    ],
)
def test_one_value_in_any_form_is_found(disguise: Callable[[str], bytes], leaks: Any) -> None:
    value = ROWS["alice"]["id"][3]
    noise = random.Random(3).randbytes
    assert leaks([noise(5000) + disguise(value) + noise(5000)], [value])


def test_amounts_are_found_scaled(leaks: Any) -> None:
    amount = Decimal("123456789.01")
    for raw in (b"123456789.01", (12345678901).to_bytes(8, "little"), (12345678901).to_bytes(16, "big")):
        assert leaks([b"abc" + raw + b"def"], [amount])
    assert leaks([b"123456789"], [amount]) == []
