"""What a replay found, from what the worker gave and what the receipt states. Pure: no state, no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from atoll.agreements.receipt import PartyRecord
from atoll.crypto.suite import check_commitment
from atoll.ledger.report import Finding, Report, Texts

Json = dict[str, Any]

TEXTS: Texts = {
    "receipt": (
        "ok",
        "All parties signed the receipt that this is compared with.",
        "所有参与方都签署了用于对照的回执。",
    ),
    "receipt-own": (
        "note",
        "Not all parties have signed a receipt: this is compared with the node's own part of it alone.",
        "并非所有参与方都签署了回执：仅与本节点自己的部分对照。",
    ),
    "block-receipt-changed": (
        "bad",
        "The stored receipt of block {number} does not fit plan, approvals and signatures ({code}).",
        "存储的第 {number} 个批次的回执与计划、批准或签名不符（{code}）。",
    ),
    "receipt-changed": (
        "bad",
        "The stored receipt does not fit plan, approvals and signatures ({code}).",
        "存储的回执与计划、批准或签名不符（{code}）。",
    ),
    "seed": (
        "ok",
        "The kept secret opens the approval's commitment to it.",
        "保存的秘密与批准中的承诺相符。",
    ),
    "seed-changed": (
        "bad",
        "The kept secret is not the one that the approval commits to.",
        "保存的秘密不是批准所承诺的那一个。",
    ),
    "seed-gone": (
        "bad",
        "The kept secret cannot be opened: it is not kept any more, or was changed.",
        "保存的秘密无法打开：已不再保存或被改动。",
    ),
    "input": (
        "ok",
        "Input {input} ({asset}) is the version that approval and receipt name.",
        "输入 {input}（{asset}）正是批准与回执所指的版本。",
    ),
    "input-changed": (
        "bad",
        "Input {input} ({asset}) no longer fits its commitment{where}.",
        "输入 {input}（{asset}）与其承诺不再相符{where}。",
    ),
    "input-gone": (
        "bad",
        "Input {input} ({asset}) is not kept any more in the version that the receipt names.",
        "输入 {input}（{asset}）的回执所指版本已不再保存。",
    ),
    "input-order": (
        "bad",
        "The receipt names other own inputs, or another order, than the approval.",
        "回执中的自有输入或其次序与批准不同。",
    ),
    "received": (
        "ok",
        "The {messages} messages kept from {peer} on {channel} are those of the receipt.",
        "从 {peer} 在 {channel} 上保存的 {messages} 条消息与回执一致。",
    ),
    "received-changed": (
        "bad",
        "The messages kept from {peer} on {channel} are not those of the receipt: {messages} are kept, "
        "{stated} were received.",
        "从 {peer} 在 {channel} 上保存的消息与回执不符：保存 {messages} 条，当时收到 {stated} 条。",
    ),
    "received-gone": (
        "bad",
        "The messages that came from {peer} on {channel} are not kept, or not to their end.",
        "从 {peer} 在 {channel} 上收到的消息未保存，或不完整。",
    ),
    "received-left": (
        "bad",
        "Only {messages} of {stated} messages from {peer} on {channel} were used.",
        "从 {peer} 在 {channel} 上收到的 {stated} 条消息只用到 {messages} 条。",
    ),
    "events": (
        "ok",
        "The {count} kept events of this side are unchanged.",
        "本方保存的 {count} 个事件未被改动。",
    ),
    "events-changed": (
        "bad",
        "The kept event {number} was changed or cut short.",
        "保存的第 {number} 个事件被改动或截断。",
    ),
    "build": ("ok", "The program is the one that the receipt names.", "程序与回执所指一致。"),
    "build-other": (
        "bad",
        "The program is {build}; the receipt names {stated}.",
        "程序为 {build}，而回执所指为 {stated}。",
    ),
    "build-allowed": (
        "note",
        "The program is {build} where the receipt names {stated}; it was run nevertheless, as asked.",
        "程序为 {build}，而回执所指为 {stated}；按要求仍然运行。",
    ),
    "threads": (
        "note",
        "It ran with {threads} threads, and with {stated} then: messages do not depend on that.",
        "本次使用 {threads} 个线程，当时为 {stated} 个：消息与此无关。",
    ),
    "not-run": (
        "bad",
        "It was not run again, since what it would run on is not what was committed to.",
        "未重新运行，因为所依据的内容与承诺不符。",
    ),
    "stopped": ("bad", "The run ended early: {code} in {step}.", "运行提前结束：{step} 处 {code}。"),
    "sent": (
        "ok",
        "The {messages} messages to {peer} on {channel} came out again byte for byte ({bytes} bytes).",
        "发给 {peer} 的 {channel} 上 {messages} 条消息（{bytes} 字节）逐字节重现。",
    ),
    "sent-differs": (
        "bad",
        "Message {number} to {peer} on {channel}, of step {step}, is the first that comes out otherwise than it "
        "was sent.",
        "发给 {peer} 的 {channel} 上第 {number} 条消息（步骤 {step}）是首条与当时所发不同的消息。",
    ),
    "sent-other": (
        "bad",
        "The messages to {peer} on {channel} are not those of the receipt: {messages} came out, {stated} were sent.",
        "发给 {peer} 的 {channel} 上的消息与回执不符：重现 {messages} 条，当时发送 {stated} 条。",
    ),
    "sent-notes": (
        "bad",
        "The kept chain of the messages to {peer} on {channel} is not the receipt's: it was changed.",
        "保存的发给 {peer} 的 {channel} 上的消息链与回执不符：被改动。",
    ),
    "channel-more": (
        "bad",
        "Channel {channel} to {peer} was used, which the receipt does not name.",
        "使用了回执未列出的与 {peer} 的通道 {channel}。",
    ),
    "calls": (
        "ok",
        "All {blocks} blocks with {count} calls came out again.",
        "{blocks} 个批次共 {count} 次调用全部重现。",
    ),
    "calls-differ": (
        "bad",
        "{count} calls came out; the receipt states {stated}.",
        "重现 {count} 次调用，回执为 {stated} 次。",
    ),
    "block-differs": (
        "bad",
        "Block {number} of the calls comes out with other {what} than its receipt states.",
        "第 {number} 个调用批次的 {what} 与其回执不同。",
    ),
    "blocks-earlier": (
        "note",
        "{count} blocks belong to earlier attempts, which this replay does not run again.",
        "{count} 个批次属于更早的尝试，本次未重新运行。",
    ),
    "output": ("ok", "The result is the one that the receipt commits to.", "结果与回执所承诺的一致。"),
    "output-differs": (
        "bad",
        "The result is not the one that the receipt commits to.",
        "结果与回执所承诺的不一致。",
    ),
    "output-unopened": (
        "note",
        "The result was not compared: the opening of its commitment is not kept here.",
        "未比较结果：此处未保存其承诺的打开值。",
    ),
    "proved": (
        "note",
        "Proved: these messages and this result follow from the committed input, the committed seed and the "
        "messages that came. Not proved: that the input is true.",
        "已证明：这些消息与结果由所承诺的输入、所承诺的种子及收到的消息得出。未证明：输入属实。",
    ),
}


@dataclass(frozen=True)
class Expected:
    """What the receipt states of one party, and what else the comparison needs.

    Args:
        record: the party's own part of the receipt.
        names: display name of each party's key.
        assets: table of each own input.
        blocks: for each block of calls of this attempt `number`, `book`, `calls`, `root` and its `record`.
        earlier: number of blocks of earlier attempts.
        opened: digest's opening of the output, 16 bytes; None where it is not kept.
    """

    record: PartyRecord
    names: Mapping[str, str]
    assets: Mapping[str, str]
    blocks: tuple[Json, ...]
    earlier: int
    opening: bytes | None

    def transcripts(self) -> Json:
        """As JSON: peer -> channel -> transcript."""
        found: Json = self.record.document()["transcripts"]
        return found


def finding(code: str, /, **facts: Any) -> Finding:
    """A finding of `TEXTS`."""
    return Finding(code, facts, TEXTS)


def _inputs(expected: Expected, checked: Json) -> Iterator[Finding]:
    for key, found in checked["inputs"].items():
        asset = expected.assets[key]
        if found["code"] is None:
            yield finding("input", input=key, asset=asset)
        elif found["code"] == "E_NOT_FOUND":
            yield finding("input-gone", input=key, asset=asset)
        else:
            where = "" if found["chunk"] is None else f" (chunk {found['chunk']})"
            yield finding("input-changed", input=key, asset=asset, where=where)


def _received(expected: Expected, checked: Json) -> Iterator[Finding]:
    for peer, channels in checked["received"].items():
        for name, kept in channels.items():
            stated = expected.transcripts()[peer][name]
            facts = {"peer": expected.names.get(peer, peer), "channel": name}
            messages = {"messages": kept["messages"], "stated": stated["messages"][1]}
            if kept["code"] is not None:
                yield finding("received-gone", **facts)
            elif (kept["chain"], kept["messages"], kept["bytes"]) != (
                stated["received"],
                stated["messages"][1],
                stated["bytes"][1],
            ):
                yield finding("received-changed", **facts, **messages)
            else:
                yield finding("received", **facts, messages=kept["messages"])


def before(expected: Expected, checked: Json, *, any_build: bool) -> list[Finding]:
    """Findings about what the run stands on: inputs, received messages, events, program."""
    found = [*_inputs(expected, checked), *_received(expected, checked)]
    changed = checked["events"]["changed"]
    if changed is not None:
        found.append(finding("events-changed", number=changed))
    elif checked["events"]["count"]:
        found.append(finding("events", count=checked["events"]["count"]))
    stated = expected.record.execution.build if expected.record.execution else "none"
    if checked["build"] == stated:
        found.append(finding("build"))
    else:
        code = "build-allowed" if any_build else "build-other"
        found.append(finding(code, build=checked["build"], stated=stated))
    return found


def _channel(expected: Expected, peer: str, name: str, stated: Json, ran: Json | None) -> Iterator[Finding]:
    facts = {"peer": expected.names.get(peer, peer), "channel": name}
    sent = ran["sent"] if ran else {"chain": None, "messages": 0, "bytes": 0}
    same = (sent["chain"], sent["messages"], sent["bytes"]) == (
        stated["sent"],
        stated["messages"][0],
        stated["bytes"][0],
    )
    notes = ran is None or (ran["first"] is None and not ran["kept_more"])
    if same:
        yield finding("sent", **facts, messages=sent["messages"], bytes=sent["bytes"])
        if not notes:
            yield finding("sent-notes", **facts)
    elif ran is not None and ran["first"] is not None:
        yield finding("sent-differs", **facts, number=ran["first"]["number"], step=ran["first"]["step"])
        if ran["kept_end"] != stated["sent"]:
            yield finding("sent-notes", **facts)
    else:
        yield finding("sent-other", **facts, messages=sent["messages"], stated=stated["messages"][0])
    taken = ran["taken"]["messages"] if ran else 0
    if taken < stated["messages"][1]:
        yield finding("received-left", **facts, messages=taken, stated=stated["messages"][1])


def _same_so_far(stated: Json, ran: Json) -> bool:
    """Whether transcripts of a block are those that came out, a channel that was not used yet left out."""
    return set(stated) == set(ran) and all(
        set(stated[peer]) == set(ran[peer])
        and all(
            (c["sent"], c["received"], c["messages"], c["bytes"])
            == (
                ran[peer][name]["sent"]["chain"],
                ran[peer][name]["taken"]["chain"],
                [ran[peer][name]["sent"]["messages"], ran[peer][name]["taken"]["messages"]],
                [ran[peer][name]["sent"]["bytes"], ran[peer][name]["taken"]["bytes"]],
            )
            for name, c in stated[peer].items()
        )
        for peer in stated
    )


def _blocks(expected: Expected, ran: list[Json]) -> Iterator[Finding]:
    came = {block["book"]: block for block in ran}
    good = calls = 0
    for block in expected.blocks:
        found = came.get(block["book"])
        record: PartyRecord = block["record"]
        if found is None or found["calls"] != block["calls"]:
            what = "calls"
        elif found["root"] != block["root"]:
            what = "root"
        elif record.meters.hits is not None and record.meters.hits != (found["hits"] or 0):
            what = "hits"
        elif not _same_so_far(record.document()["transcripts"], found["transcripts"]):
            what = "transcripts"
        else:
            good, calls = good + 1, calls + block["calls"]
            continue
        yield finding("block-differs", number=block["number"], what=what)
    if good and good == len(expected.blocks):
        yield finding("calls", blocks=good, count=calls)
    if expected.earlier:
        yield finding("blocks-earlier", count=expected.earlier)


def _output(expected: Expected, digest: str | None) -> Iterator[Finding]:
    stated = expected.record.output
    if stated is None:
        return
    if expected.opening is None:
        yield finding("output-unopened")
    elif digest is not None and check_commitment(digest.encode(), expected.opening, stated.commitment):
        yield finding("output")
    else:
        yield finding("output-differs")


def after(expected: Expected, result: Json, threads: int) -> list[Finding]:
    """Findings about the run itself, or that there was none."""
    if not result["ran"]:
        return [finding("not-run")]
    found: list[Finding] = []
    stated = expected.transcripts()
    ran = result["transcripts"]
    for peer, channels in stated.items():
        for name, transcript in channels.items():
            found += _channel(expected, peer, name, transcript, ran.get(peer, {}).get(name))
    for peer, channels in ran.items():
        for name in sorted(set(channels) - set(stated.get(peer, {}))):
            found.append(finding("channel-more", peer=expected.names.get(peer, peer), channel=name))
    if result["failed"] is not None:
        failed = result["failed"]
        found.append(finding("stopped", code=failed["code"], step=failed.get("step", "the run")))
    found += _blocks(expected, result["blocks"])
    calls = expected.record.meters.calls
    if result["failed"] is None and result["calls"] != calls:
        found.append(finding("calls-differ", count=result["calls"], stated=calls))
    found += _output(expected, result["output"])
    execution = expected.record.execution
    if execution is not None and execution.threads != threads:
        found.append(finding("threads", threads=threads, stated=execution.threads))
    return found


def conclude(found: list[Finding]) -> list[Finding]:
    """All findings, and what they prove where none is bad."""
    return found if any(f.level == "bad" for f in found) else [*found, finding("proved")]


def as_shown(document: Json) -> Json:
    """A report's document with the text of each finding in English and Chinese."""
    findings = [Finding(f["code"], f["facts"], TEXTS) for f in document["findings"]]
    return {**document, "findings": Report(tuple(findings)).to_json()["findings"]}
