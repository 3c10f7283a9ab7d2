"""What a signatory should know of an agreement beyond its grants, in English and Chinese."""

from __future__ import annotations

from atoll.agreements.model import Agreement


def notes(agreement: Agreement) -> dict[str, list[str]]:
    """Sentences by language, `en` and `zh`, in the same order; empty where there is nothing to say."""
    found: dict[str, list[str]] = {"en": [], "zh": []}
    replay = agreement.replay
    if replay is None:
        return found
    days = replay.keep_days
    found["en"].append(
        f"Each party keeps the messages that it receives, and its sealed seed, for {days} days after a job, so that "
        "its auditor can have its side run again. Whoever holds what several parties kept can open what a job hid "
        "between them: keys of joins that can be guessed, and single parties' sums."
    )
    found["zh"].append(
        f"各方在任务结束后 {days} 天内保存所收到的消息和封存的种子，以便其审计员重新运行己方部分。"
        "同时持有多方所保存内容的人，可以揭开任务在他们之间隐藏的内容：求交中可被猜出的键，以及单个参与方的合计。"
    )
    if replay.hosts:
        names = [agreement.names.get(key, key) for key in replay.hosts]
        found["en"].append(
            f"For a replay a party may hand its inputs, seed and messages to {', '.join(names)}: whoever runs these "
            "nodes can see the inputs."
        )
        found["zh"].append(
            f"为重新运行，一方可将其输入、种子和消息交给 {'、'.join(names)}：运行这些节点的人可以看到输入。"
        )
    return found
