"""Which protocol, security level and variant a join runs with, and what each would cost.

ECDH for small sets and where the size alone is revealed; else the fast join, secure against parties that cheat. Over
a thin line the variant that sends least, and for a small table against a large one the kept OPRF, where the agreement
lets them be chosen. A request may name all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from atoll.agreements import Agreement, Asset
from atoll.agreements.terms import Grant, JoinVariant
from atoll.disclosure import at_least
from atoll.errors import AtollError
from atoll.functions.compiling import Calibration, Json
from atoll.functions.join.budget import WORKER_BYTES, held_bytes
from atoll.plan.operators import psi
from atoll.protocols import ecdh_psi, kept_oprf, vole_psi

ProtocolId = Literal["ecdh-psi/v1", "vole-psi/v1", "kept-oprf-psi/v1"]
Security = Literal["semi-honest", "malicious"]

SMALL_KEYS = 4096
"""Up to so many keys on the larger side ECDH is taken: the fast join has a set-up that does not depend on sizes.

Measured (benchmarks/join_choice.py): 45 ms of processor time, 1.3 MB and about nine messages more. The two cross at
500 keys in processor time alone, at about 4,500 over a line with a round trip of 20 ms.
"""
# A variant that computes more is worth it only where it saves this part of the time.
_WORTH = 0.8
_ROUNDS = {"ecdh-psi/v1": 6, "vole-psi/v1": 15, "kept-oprf-psi/v1": 4}


@dataclass(frozen=True)
class Option:
    """A protocol at a security level, in a variant where it has some."""

    protocol: ProtocolId
    security: Security
    variant: psi.Variant | None = None

    @property
    def needs(self) -> JoinVariant | None:
        """The variant that a grant must name under its join bounds; None where it need name none."""
        if self.protocol == kept_oprf.PROTOCOL:
            return "kept"
        if self.variant == "low-communication":
            return "low-communication"
        return "semi-honest" if self.variant is not None and self.security == "semi-honest" else None

    def permitted(self, grant: Grant) -> bool:
        """Whether a grant allows the security level and the variant."""
        variants = () if grant.join is None else grant.join.variants or ()
        return at_least(self.security, grant.minimum_security) and self.needs in (None, *variants)


ECDH = Option("ecdh-psi/v1", "semi-honest")
DEFAULT = Option("vole-psi/v1", "malicious", "fast")
SEMI_HONEST = Option("vole-psi/v1", "semi-honest", "fast")
THIN = Option("vole-psi/v1", "semi-honest", "low-communication")
KEPT = Option("kept-oprf-psi/v1", "semi-honest")


@dataclass(frozen=True)
class Cost:
    """Rounds, payload bytes in both directions, seconds from start to end, and peak bytes of memory at the party
    that needs more."""

    rounds: int
    bytes: int
    seconds: float
    memory: int


@dataclass(frozen=True)
class Choice:
    """What is chosen, why, in both languages, and what it costs."""

    option: Option
    why: dict[str, str]
    cost: Cost
    keys: tuple[int, int]
    known: bool
    """Whether both sides' sizes were known; else `keys` has what is taken for them."""

    def document(self) -> Json:
        """JSON for estimates."""
        return {
            "protocol": self.option.protocol,
            "security": self.option.security,
            "variant": self.option.variant,
            "memory_bytes": self.cost.memory,
            "sizes_known": self.known,
            "why": dict(self.why),
        }


@dataclass(frozen=True)
class Case:
    """What a choice is made for.

    Args:
        keys: distinct keys of left and right; None if unknown.
        learns: whether the left and the right party learn.
        size_only: the size alone, or rows.
        calibration: what work costs here, on the line between the two.
        long: whether the job is to go on from checkpoints.
    """

    keys: tuple[int | None, int | None]
    learns: tuple[bool, bool]
    size_only: bool
    calibration: Calibration
    long: bool = False

    @property
    def known(self) -> bool:
        """Whether both sizes are known."""
        return None not in self.keys

    @property
    def asked(self) -> tuple[int, int] | None:
        """Keys of the one side that learns, and of the other; None where both or neither learn."""
        left, right = self.sizes
        return {(True, False): (left, right), (False, True): (right, left)}.get(self.learns)

    @property
    def sizes(self) -> tuple[int, int]:
        """The sizes that costs are computed for: an unknown side counts as much as the other one."""
        left, right = self.keys
        return (left if left is not None else right or 0, right if right is not None else left or 0)


def cost(option: Option, case: Case) -> Cost:
    """What an option costs in this case."""
    work = {"ecdh-psi/v1": _ecdh, "vole-psi/v1": _fast, "kept-oprf-psi/v1": _kept}
    total, seconds, memory = work[option.protocol](option, case)
    calibration = case.calibration
    rounds = _ROUNDS[option.protocol]
    seconds += calibration.start_seconds + rounds * calibration.round_seconds
    return Cost(rounds, total, seconds + total / calibration.bytes_per_second, WORKER_BYTES + memory)


def _ecdh(option: Option, case: Case) -> tuple[int, float, int]:
    """Each party multiplies once for every key of both sides, at the same time as the other one."""
    left, right = case.sizes
    sides = zip((left, right), (right, left), reversed(case.learns), strict=True)
    total = sum(
        ecdh_psi.wire_bytes(mine, peer, peer_learns="rows" if learns else "nothing")
        for mine, peer, learns in sides
    )
    keys = left + right
    return total, keys * case.calibration.key_seconds, 160 * keys


def _fast(option: Option, case: Case) -> tuple[int, float, int]:
    """Work at both parties one after the other, since each waits for the other's message."""
    left, right = case.sizes
    total = fast_bytes(option, left, right, case.learns)
    dense = option.variant == "low-communication"
    calibration = case.calibration
    each = calibration.dense_seconds if dense else calibration.fast_seconds
    larger = max(left, right)
    memory = held_bytes(larger) - WORKER_BYTES
    return total, calibration.setup_seconds + (left + right) * each, memory


def _kept(option: Option, case: Case) -> tuple[int, float, int]:
    """The first run, which sends all; a later one sends what changed, which nobody knows before."""
    asked, held = case.asked or case.sizes
    width = kept_oprf.output_bytes(held, asked)
    found, _ = kept_oprf.estimate(changed=held, asked=asked, width=width)
    seconds = found.holder_core_seconds + found.asker_core_seconds
    # Either side has what it keeps opened, sealed and in the machine at once.
    return found.holder_bytes + found.asker_bytes, seconds, 420 * held + 160 * asked


def fast_bytes(option: Option, left: int, right: int, learns: tuple[bool, bool]) -> int:
    """Most payload bytes of the fast join in both directions; less only where both learn and not all keys match."""
    both = all(learns)
    first, other = sorted((left, right)) if both else (left, right) if learns[0] else (right, left)
    how: Json = {"both": both, "security": option.security, "variant": option.variant}
    sent: int = vole_psi.wire_bytes(first, other, role="receiver", **how)
    return sent + vole_psi.wire_bytes(other, first, role="sender", **how)


def _grants(agreement: Agreement, asset: Asset, partners: set[str], purpose: str) -> list[list[Grant]]:
    """For each partner of an asset's host, the grants that are meant for a join for this purpose."""
    return [
        [g for g in asset.grants if key in g.to and purpose in g.purposes and "join" in g.functions]
        for key in sorted(partners - {asset.host})
    ]


def allowed(agreement: Agreement, assets: tuple[Asset, Asset], me: str, purpose: str, option: Option) -> bool:
    """Whether every partner holds a grant that allows an option. One without any grant is left to policy."""
    partners = {me, assets[0].host, assets[1].host}
    return all(
        not grants or any(option.permitted(grant) for grant in grants)
        for asset in assets
        for grants in _grants(agreement, asset, partners, purpose)
    )


def asked(
    protocol: ProtocolId | None, security: Security | None, variant: psi.Variant | None
) -> Option | None:
    """The option that a request names; None if it names none, or semi-honest alone, which two protocols are.

    Raises:
        AtollError: `E_FORMAT` names the field that does not go with the others.
    """
    if protocol == "ecdh-psi/v1":
        if variant is not None:
            raise AtollError("E_FORMAT", "variant: only vole-psi/v1 has variants.")
        if security == "malicious":
            raise AtollError("E_FORMAT", "security: ecdh-psi/v1 is semi-honest.")
        return ECDH
    if protocol == "kept-oprf-psi/v1":
        if variant is not None:
            raise AtollError("E_FORMAT", "variant: only vole-psi/v1 has variants.")
        if security == "malicious":
            raise AtollError("E_FORMAT", "security: kept-oprf-psi/v1 is semi-honest.")
        return KEPT
    if variant == "low-communication":
        if security == "malicious":
            raise AtollError(
                "E_FORMAT", "variant: low-communication is semi-honest; no other security has it."
            )
        return THIN
    if security == "semi-honest":
        return SEMI_HONEST if protocol is not None or variant is not None else None
    return None if (protocol, security, variant) == (None, None, None) else DEFAULT


def choose(
    wanted: Option | None, security: Security | None, case: Case, permits: Callable[[Option], bool]
) -> Choice:
    """The option to run.

    Args:
        wanted: what the request names, from `asked`.
        security: what the request says of security.
        case: sizes, receivers and line.
        permits: whether the agreement allows an option.

    Raises:
        AtollError: `E_FORMAT` where the size alone is to be revealed by anything but ECDH, and where both are to
            learn, or the job is long, by a kept OPRF.
    """
    if case.size_only:
        if wanted not in (None, ECDH):
            raise AtollError("E_FORMAT", "reveal: the size alone takes ecdh-psi/v1, which is semi-honest.")
        return _chosen(ECDH, case, "size")
    if wanted == KEPT:
        if case.asked is None:
            raise AtollError("E_FORMAT", "receivers: by kept-oprf-psi/v1 one side alone receives rows.")
        if case.long:
            raise AtollError("E_FORMAT", "shape: a long job has no kept-oprf-psi/v1.")
    if wanted is not None:
        return _chosen(wanted, case, "asked")
    larger = max(case.sizes)
    if case.known and larger <= SMALL_KEYS and permits(ECDH):
        return _chosen(ECDH, case, "small", keys=SMALL_KEYS)
    if _unbalanced(case) and permits(KEPT):
        return _chosen(KEPT, case, "kept", ratio=kept_oprf.RATIO)
    usual = SEMI_HONEST if security == "semi-honest" else DEFAULT
    if case.known and permits(THIN):
        full, thin = cost(usual, case), cost(THIN, case)
        rate = case.calibration.bytes_per_second
        if thin.seconds < _WORTH * full.seconds and full.bytes / rate > full.seconds / 2:
            return _chosen(THIN, case, "thin", rate=f"{rate / 1e6:.1f}")
    return _chosen(usual, case, "asked" if security == "semi-honest" else "default")


def _unbalanced(case: Case) -> bool:
    """Whether a small side alone learns, in a job that a kept OPRF can do, and the other side is much larger."""
    if not case.known or case.asked is None or case.long:
        return False
    asked, held = case.asked
    return held > kept_oprf.RATIO * asked


_WHY = {
    "asked": ("It was asked for.", "按请求指定。"),
    "size": ("Only ECDH reveals the size alone.", "仅 ECDH 可以只公布交集大小。"),
    "small": (
        "Neither side has more than {keys} keys, for which ECDH is quicker.",
        "双方的键数均不超过 {keys}，此时 ECDH 更快。",
    ),
    "default": (
        "The default: secure against parties that cheat.",
        "默认方案：可防范作弊的参与方。",
    ),
    "thin": (
        "The line carries {rate} MB/s, so that sending takes most of the time; the agreement lets the variant that "
        "sends least be chosen.",
        "线路速率为 {rate} MB/s，传输占用了大部分时间；协议允许选用传输量最小的变体。",
    ),
    "kept": (
        "The receiver's table is more than {ratio} times smaller, and the agreement lets it keep what it can recognise "
        "keys by: the first run sends all, later ones what changed.",
        "接收方的表小于另一方的 1/{ratio}，且协议允许其留存用于识别键的数据："
        "首次运行传输全部数据，此后仅传输变化部分。",
    ),
    "unknown": (
        "The size of a table is not known yet: it is taken to be that of the other one.",
        "有一方的表大小尚不可知：暂按另一方的大小估计。",
    ),
}


def _chosen(option: Option, case: Case, why: str, **facts: Any) -> Choice:
    names = [why] if case.known else [why, "unknown"]
    texts = {
        language: joint.join(_WHY[name][i].format(**facts) for name in names)
        for i, (language, joint) in enumerate((("en", " "), ("zh", "")))
    }
    return Choice(option, texts, cost(option, case), case.sizes, case.known)
