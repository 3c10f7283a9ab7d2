"""What verification found, in plain words, Chinese and English, from the same findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from atoll.errors import AtollError

Level = Literal["ok", "note", "bad"]
Language = Literal["zh", "en"]

Texts = Mapping[str, tuple[Level, str, str]]
"""code: (level, English, Chinese). Fields in braces are filled from the finding's facts."""

TEXTS: Texts = {
    "container": ("bad", "The file is damaged: {reason}", "文件已损坏：{reason}"),
    "member-damaged": (
        "bad",
        "The part {member} does not fit its checksum: it was changed after the export.",
        "文件中的 {member} 与其校验和不符：导出之后被改动。",
    ),
    "member-missing": ("bad", "The part {member} is missing.", "缺少 {member}。"),
    "member-extra": ("bad", "The part {member} does not belong in the file.", "{member} 不应出现在文件中。"),
    "manifest": ("bad", "The list of contents is not valid: {reason}", "目录无效：{reason}"),
    "checkpoint": (
        "bad",
        "The checkpoint of {origin} is not valid: {reason}",
        "{origin} 的检查点无效：{reason}",
    ),
    "cosignature": (
        "bad",
        "A cosignature on {origin} is not valid: {reason}",
        "{origin} 上的一个见证签名无效：{reason}",
    ),
    "entry-changed": (
        "bad",
        "Entry {index} of {origin} is not the one that was signed.",
        "{origin} 的第 {index} 条记录不是当初签名的那一条。",
    ),
    "entry-malformed": (
        "bad",
        "Entry {index} of {origin} is malformed: {reason}",
        "{origin} 的第 {index} 条记录格式错误：{reason}",
    ),
    "entry-repeated": (
        "bad",
        "Entry {index} of {origin} repeats entry {earlier}: it was replayed.",
        "{origin} 的第 {index} 条记录与第 {earlier} 条相同：属于重放。",
    ),
    "tile": (
        "bad",
        "The hash tile {member} of {origin} is wrong, first for entry {index}.",
        "{origin} 的哈希块 {member} 有误，最早涉及第 {index} 条记录。",
    ),
    "rewritten": (
        "bad",
        "{origin} was rewritten: the signed root is not that of its entries; the first bad entry is one of "
        "{index} to {last}.",
        "{origin} 被改写：签名的根与其记录不符；首条有误的记录在第 {index} 至 {last} 条之间。",
    ),
    "body": (
        "bad",
        "The opened text of entry {index} of {origin} is not what the entry commits to.",
        "{origin} 第 {index} 条记录的明文与其承诺不符。",
    ),
    "older": (
        "bad",
        "{origin} was cut: it has {size} entries here, and {seen} were seen before.",
        "{origin} 被截断：此处有 {size} 条记录，而此前已见到 {seen} 条。",
    ),
    "contradiction": (
        "bad",
        "{origin} contradicts the checkpoint of {seen} entries that was seen before: its owner signed two "
        "histories. The first bad entry is before entry {seen}.",
        "{origin} 与此前见到的 {seen} 条记录的检查点矛盾：其所有者签署了两份历史。"
        "首条有误的记录在第 {seen} 条之前。",
    ),
    "untrusted": (
        "bad",
        "The key {key} is not one of those that you trust.",
        "密钥 {key} 不在您信任的密钥之列。",
    ),
    "absent": (
        "bad",
        "No log by {key} is in the file, although you expect one.",
        "文件中没有 {key} 的日志，而您期望有。",
    ),
    "keys": (
        "note",
        "The keys are those that the file itself names. Compare them with the agreement: {keys}",
        "密钥取自文件本身，请与协议核对：{keys}",
    ),
    "cosigned": (
        "ok",
        "{name} cosigned {origin} at {size} entries, by its clock on {time}.",
        "{name} 见证了 {origin} 的 {size} 条记录，其时钟显示 {time}。",
    ),
    "future": (
        "note",
        "The cosignature of {name} on {origin} bears a time after yours: {time}. Clocks may differ.",
        "{name} 对 {origin} 的见证时间晚于您的时钟：{time}。时钟可能不一致。",
    ),
    "alone": (
        "note",
        "No partner has cosigned the last {count} entries of {origin}. Their owner could still replace them.",
        "{origin} 最后 {count} 条记录尚无伙伴见证，其所有者仍可能替换它们。",
    ),
    "backwards": (
        "bad",
        "Entry {index} of {origin} claims a time before that of the entry before it: it was back-dated.",
        "{origin} 第 {index} 条记录声称的时间早于前一条：属于倒填日期。",
    ),
    "log": (
        "ok",
        "{origin}: {size} entries, complete, in the order signed by {key}.",
        "{origin}：{size} 条记录，完整，次序与 {key} 的签名一致。",
    ),
    "opened": (
        "ok",
        "{origin}: {count} of {size} entries are opened in the file and fit their commitments.",
        "{origin}：{size} 条记录中有 {count} 条在文件中给出明文，且与承诺相符。",
    ),
    "limits": (
        "note",
        "Proved: what was recorded, by whom, in which order. Not proved: that a recorded statement is true, "
        "or that its claimed time is right.",
        "已证明：记录了什么、由谁记录、次序如何。未证明：所记录的陈述属实，或其声称的时间正确。",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One finding: a code of `texts` and the facts that fill its text."""

    code: str
    facts: Mapping[str, object] = field(default_factory=dict)
    texts: Texts = field(default_factory=lambda: TEXTS, repr=False, compare=False)

    @property
    def level(self) -> Level:
        """`bad` if the copy must not be relied on."""
        return self.texts[self.code][0]

    def text(self, language: Language = "en") -> str:
        """The sentence in that language."""
        return self.texts[self.code][1 if language == "en" else 2].format(**self.facts)


@dataclass(frozen=True)
class Report:
    """All findings of a verification, in the order in which they were made."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return all(finding.level != "bad" for finding in self.findings)

    @property
    def first_bad(self) -> Finding | None:
        """The first finding that is wrong."""
        return next((finding for finding in self.findings if finding.level == "bad"), None)

    def lines(self, language: Language = "en") -> list[str]:
        """One sentence for each finding, what is wrong first."""
        order = {"bad": 0, "ok": 1, "note": 2}
        return [f.text(language) for f in sorted(self.findings, key=lambda f: order[f.level])]

    def require(self) -> None:
        """Raises `E_LEDGER` with the first wrong finding, if there is one."""
        bad = self.first_bad
        if bad is not None:
            raise AtollError("E_LEDGER", bad.text("en"), detail={"finding": bad.code, **dict(bad.facts)})

    def to_json(self) -> dict[str, object]:
        """For REST and CLI: verdict, and each finding with both texts."""
        return {
            "ok": self.ok,
            "findings": [
                {
                    "code": f.code,
                    "level": f.level,
                    "facts": dict(f.facts),
                    "en": f.text("en"),
                    "zh": f.text("zh"),
                }
                for f in self.findings
            ],
        }
