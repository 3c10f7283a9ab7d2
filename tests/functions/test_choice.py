"""Which protocol, security and variant a join gets: by size, line, agreement, and what the request names."""

from __future__ import annotations

import os
import threading
from typing import Any

import atoll_test_world as w
import pytest

from atoll.agreements import join_bounds
from atoll.crypto.psi import Side
from atoll.errors import AtollError
from atoll.functions import explainers
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Line
from atoll.functions.join.choice import DEFAULT, ECDH, KEPT, SEMI_HONEST, SMALL_KEYS, THIN, Case, cost
from atoll.functions.join.compile import compile as compile_join
from atoll.protocols import vole_psi
from atoll.protocols.memory import pair

ECDH_NAMES = ("ecdh-psi/v1", "semi-honest", None)
USUAL = ("vole-psi/v1", "malicious", "fast")
WEAKER = ("vole-psi/v1", "semi-honest", "fast")
KEPT_NAMES = ("kept-oprf-psi/v1", "semi-honest", None)
NARROW = ("vole-psi/v1", "semi-honest", "low-communication")


def request(left: int | None = None, right: int | None = None, **changes: Any) -> dict[str, Any]:
    def side(party: str, rows: int | None) -> dict[str, Any]:
        out: dict[str, Any] = {"asset": "loans", "party": party, "keys": ["id"], "select": ["id"]}
        return out if rows is None else {**out, "rows": rows}

    return {
        "agreement": w.ID,
        "purpose": "credit-risk",
        "left": side("alice", left),
        "right": side("bob", right),
        **changes,
    }


def plan_of(body: Any, document: Any = None, calibration: Calibration = DEFAULT_CALIBRATION) -> Any:
    return compile_join(
        body,
        document or w.terms(),
        me=w.ALICE,
        person="Li Wei",
        now=w.NOW,
        job=w.JOB,
        salt=w.SALT,
        calibration=calibration,
    )


def chosen(body: Any, document: Any = None, calibration: Calibration = DEFAULT_CALIBRATION) -> Any:
    joint = plan_of(body, document, calibration)["operators"][-1]
    return joint["protocol"], joint["security"], joint["parameters"].get("variant")


def granted(**changes: Any) -> dict[str, Any]:
    """The agreement in which every table's join grant has these changes."""
    document = w.terms()
    for asset in document["assets"]:
        if asset["name"] == "loans":
            asset["grants"] = [w.join_grant(asset["provider"], **changes), *asset["grants"][1:]]
    return w.parse(document).document()


def allowing(*variants: str) -> dict[str, Any]:
    return granted(join=join_bounds(minimum_rows=1, variants=variants))


THIN_LINE = Calibration(lines={w.BOB: Line(0.02, 1e6)})


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (10, SMALL_KEYS, ECDH_NAMES),
        (SMALL_KEYS + 1, 10, USUAL),
        (10**6, 10**6, USUAL),
        # A table of unknown size may be a large one.
        (10, None, USUAL),
        (None, None, USUAL),
    ],
)
def test_small_tables_are_joined_by_ecdh_and_all_others_by_the_fast_join(
    left: int | None, right: int | None, expected: Any
) -> None:
    assert chosen(request(left, right)) == expected


def test_sizes_that_the_node_knows_stand_in_for_those_that_the_request_leaves_out() -> None:
    known = Calibration(sizes={(w.ALICE, "loans"): 100, (w.BOB, "loans"): 200})
    assert chosen(request(), calibration=known) == ECDH_NAMES
    assert plan_of(request(), calibration=known)["estimate"]["rows"] == 100
    assert chosen(request(right=10**6), calibration=known) == USUAL


def test_the_size_alone_takes_ecdh_whatever_the_number_of_keys() -> None:
    assert chosen(request(10**6, 10**6, reveal="size")) == ECDH_NAMES


def test_where_a_grant_insists_on_security_against_cheats_small_tables_take_the_fast_join_too() -> None:
    assert chosen(request(10, 10), granted(minimum_security="malicious")) == USUAL
    assert chosen(request(10, 10, security="malicious")) == USUAL


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"protocol": "ecdh-psi/v1"}, ECDH_NAMES),
        ({"protocol": "ecdh-psi/v1", "security": "semi-honest"}, ECDH_NAMES),
        ({"protocol": "vole-psi/v1"}, USUAL),
        ({"security": "malicious"}, USUAL),
        ({"variant": "fast"}, USUAL),
        ({"security": "semi-honest"}, WEAKER),
        ({"security": "semi-honest", "variant": "fast"}, WEAKER),
        ({"protocol": "kept-oprf-psi/v1"}, KEPT_NAMES),
        ({"protocol": "kept-oprf-psi/v1", "security": "semi-honest"}, KEPT_NAMES),
        ({"variant": "low-communication"}, NARROW),
        ({"security": "semi-honest", "variant": "low-communication"}, NARROW),
    ],
)
def test_what_the_request_names_is_what_runs(names: dict[str, str], expected: Any) -> None:
    # Policy judges it; the compiler does not refuse what an agreement could allow.
    assert chosen(request(10**6, 10**6, **names)) == expected


def test_semi_honest_alone_leaves_small_tables_to_ecdh() -> None:
    assert chosen(request(10, 10, security="semi-honest")) == ECDH_NAMES


@pytest.mark.parametrize(
    ("names", "field"),
    [
        ({"protocol": "ecdh-psi/v1", "security": "malicious"}, "security"),
        ({"protocol": "ecdh-psi/v1", "variant": "fast"}, "variant"),
        ({"variant": "low-communication", "security": "malicious"}, "variant"),
        ({"reveal": "size", "protocol": "vole-psi/v1"}, "reveal"),
        ({"reveal": "size", "variant": "low-communication"}, "reveal"),
        ({"reveal": "size", "security": "malicious"}, "reveal"),
        ({"reveal": "size", "protocol": "kept-oprf-psi/v1"}, "reveal"),
        ({"protocol": "kept-oprf-psi/v1", "security": "malicious"}, "security"),
        ({"protocol": "kept-oprf-psi/v1", "variant": "fast"}, "variant"),
        ({"protocol": "kept-oprf-psi/v1", "receivers": "both"}, "receivers"),
        ({"protocol": "kept-oprf-psi/v1", "shape": "long"}, "shape"),
        ({"protocol": "kkrt/v1"}, "protocol"),
        ({"security": "none"}, "security"),
        ({"variant": "slow"}, "variant"),
    ],
)
def test_names_that_do_not_go_together_are_refused_by_field(names: dict[str, str], field: str) -> None:
    with pytest.raises(AtollError) as caught:
        chosen(request(100, 100, **names))
    assert caught.value.code == "E_FORMAT"
    assert field in caught.value.text


def test_over_a_thin_line_an_agreement_may_let_the_variant_that_sends_least_be_chosen() -> None:
    body, document = request(10**6, 10**6), allowing("low-communication")
    assert chosen(body, document, THIN_LINE) == NARROW
    # Not where the line is wide, nothing is known of sizes, or a grant does not say so.
    assert chosen(body, document) == USUAL
    assert chosen(request(), document, THIN_LINE) == USUAL
    for other in (w.terms(), allowing("semi-honest")):
        assert chosen(body, other, THIN_LINE) == USUAL
    one = allowing("low-communication")
    bob = next(a for a in one["assets"] if (a["provider"], a["name"]) == (w.BOB, "loans"))
    del bob["grants"][0]["join"]["variants"]
    assert chosen(body, one, THIN_LINE) == USUAL


def test_a_small_table_is_joined_with_a_large_one_by_a_kept_oprf_where_the_agreement_lets_it() -> None:
    document = allowing("kept")
    assert chosen(request(1000, 100_001), document) == KEPT_NAMES
    assert chosen(request(1000, 100_001, security="semi-honest"), document) == KEPT_NAMES
    assert chosen(request(100_001, 1000, receivers="peer"), document) == KEPT_NAMES
    # Not up to 100:1, not the other way round, not for both, not against cheats, not in a long job, not unasked.
    assert chosen(request(1000, 100_000), document) == USUAL
    assert chosen(request(100_001, 1000), document) == USUAL
    for changes in ({"receivers": "both"}, {"security": "malicious"}, {"shape": "long"}):
        assert chosen(request(1000, 100_001, **changes), document) == USUAL
    assert chosen(request(1000, None), document) == USUAL
    assert chosen(request(1000, 100_001)) == USUAL
    assert chosen(request(1000, 100_001), allowing("semi-honest")) == USUAL
    assert chosen(request(10, SMALL_KEYS), document) == ECDH_NAMES
    plan = plan_of(request(1000, 100_001), document)
    joint = plan["operators"][-1]
    assert joint["kind"] == "kept_psi/v1"
    assert set(joint["parameters"]) == {"receivers", "duplicates", "keys"}


def test_the_estimate_of_a_kept_join_is_that_of_its_first_run() -> None:
    def of(left: int, right: int) -> Any:
        return cost(KEPT, Case((left, right), (True, False), False, DEFAULT_CALIBRATION))

    assert of(1000, 10**6).bytes > 10**6 * 10
    assert of(1000, 10**6).seconds > 20
    assert of(1000, 2 * 10**6).bytes > 1.9 * of(1000, 10**6).bytes
    found = explainers()["join"](
        request(1000, 10**6), allowing("kept"), me=w.ALICE, calibration=DEFAULT_CALIBRATION
    )
    assert "100 times smaller" in found["why"]["en"]
    assert "首次运行" in found["why"]["zh"]


def test_the_line_is_the_one_between_the_two_owners() -> None:
    case = THIN_LINE.among([w.ALICE, w.BOB])
    assert (case.round_seconds, case.bytes_per_second) == (0.02, 1e6)
    elsewhere = THIN_LINE.among([w.ALICE, w.CAROL])
    assert elsewhere.bytes_per_second == DEFAULT_CALIBRATION.bytes_per_second
    partly = Calibration(lines={w.BOB: Line(0.5, None)}).among([w.BOB])
    assert (partly.round_seconds, partly.bytes_per_second) == (0.5, DEFAULT_CALIBRATION.bytes_per_second)


def test_an_explanation_names_the_choice_and_the_reason_in_both_languages() -> None:
    def why(body: Any, document: Any = None, calibration: Any = DEFAULT_CALIBRATION) -> Any:
        return explainers()["join"](body, document or w.terms(), me=w.ALICE, calibration=calibration)

    thin = why(request(10**6, 10**6), allowing("low-communication"), THIN_LINE)
    assert (thin["protocol"], thin["security"], thin["variant"]) == NARROW
    assert "1.0 MB/s" in thin["why"]["en"]
    assert "1.0 MB/s" in thin["why"]["zh"]
    small = why(request(5, 6))
    assert str(SMALL_KEYS) in small["why"]["en"]
    assert small["sizes_known"]
    unknown = why(request(10**6))
    assert not unknown["sizes_known"]
    assert "not known yet" in unknown["why"]["en"]
    assert "尚不可知" in unknown["why"]["zh"]
    assert unknown["memory_bytes"] == why(request(10**6, 10**6))["memory_bytes"] > 1 << 27


def test_costs_order_the_options_as_they_are_meant() -> None:
    def of(option: Any, keys: int, **changes: Any) -> Any:
        case = Case((keys, keys), (True, True), False, Calibration(**changes))
        return cost(option, case)

    million = 10**6
    sizes = [of(option, million).bytes for option in (DEFAULT, SEMI_HONEST, THIN)]
    assert sizes == sorted(sizes, reverse=True)
    assert (
        of(THIN, million, bytes_per_second=1e6).seconds < of(DEFAULT, million, bytes_per_second=1e6).seconds
    )
    assert of(ECDH, 100).seconds < of(DEFAULT, 100).seconds
    assert of(ECDH, million).seconds > of(DEFAULT, million).seconds
    assert of(DEFAULT, 2 * million).memory > of(DEFAULT, million).memory


@pytest.mark.parametrize(("left", "right"), [(300, 300), (20_000, 20_000), (2_000, 30_000)])
@pytest.mark.parametrize("option", [DEFAULT, SEMI_HONEST, THIN])
@pytest.mark.parametrize("both", [True, False])
def test_the_bytes_of_the_fast_join_are_estimated_within_a_tenth(
    option: Any, left: int, right: int, both: bool
) -> None:
    more = os.urandom(32 * right)
    # Where both learn, the tags of matches go back: all of them here, as the estimate assumes.
    keys = [more[: 32 * left], more]
    learns: list[Any] = ["rows", "rows" if both else "nothing"]
    sides = [
        Side(keys[0], None, right, learns[0], learns[1], b"job"),
        Side(keys[1], None, left, learns[1], learns[0], b"job"),
    ]
    ends = pair(1024)

    def party(i: int) -> None:
        how: dict[str, Any] = {
            "seed": bytes([i]) * 32,
            "attempt": 0,
            "name": "c",
            "before_open": lambda: None,
        }
        vole_psi.run(sides[i], ends[i], security=option.security, variant=option.variant, **how)

    threads = [threading.Thread(target=party, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = sum(len(payload) for end in ends for _, payload in end.sent)
    stated = cost(option, Case((left, right), (True, both), False, DEFAULT_CALIBRATION)).bytes
    assert 0.9 * sent < stated < 1.1 * sent
