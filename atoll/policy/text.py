"""The sentences of refusals, in both languages; `judge` fills them in."""

from __future__ import annotations

from typing import Any

# name: (error code, English, Chinese)
_SENTENCES: dict[str, tuple[str, str, str]] = {
    "plan_expired": ("E_EXPIRED", "The plan expired at {at}.", "计划已于 {at} 过期。"),
    "not_a_party": ("E_PLAN", "This node is no party of the plan.", "本节点不是该计划的参与方。"),
    "agreement": ("{code}", "{text}", "协议 {agreement} 当前不可用（{code}）。"),
    "no_grant": (
        "E_POLICY",
        "Asset {asset} has no grant to {partner}.",
        "资产“{asset}”没有对{partner}的授权。",
    ),
    "purpose": (
        "E_POLICY",
        "The grant on {asset} to {partner} does not name the purpose {purpose!r}.",
        "资产“{asset}”对{partner}的授权不包含用途“{purpose}”。",
    ),
    "function": (
        "E_POLICY",
        "The grant on {asset} to {partner} does not name the function {function!r}.",
        "资产“{asset}”对{partner}的授权不包含功能“{function}”。",
    ),
    "user": (
        "E_POLICY",
        "The grant on {asset} does not permit {person} of {partner}.",
        "资产“{asset}”的授权不允许{partner}的“{person}”使用。",
    ),
    "use": (
        "E_POLICY",
        "The plan uses column {column} of {asset} as {use}; the grant to {partner} does not permit that.",
        "计划将资产“{asset}”的列“{column}”用作 {use}，对{partner}的授权不允许该用法。",
    ),
    "security": (
        "E_POLICY",
        "The plan's security is {security}; the grant on {asset} to {partner} asks for {minimum}.",
        "计划的安全级别为 {security}，资产“{asset}”对{partner}的授权要求 {minimum}。",
    ),
    "variant": (
        "E_POLICY",
        "The plan takes the {variant} variant of the join; the grant on {asset} to {partner} does not name it "
        "under `join.variants`.",
        "计划采用匹配的 {variant} 变体，资产“{asset}”对{partner}的授权未在 join.variants 中列出该变体。",
    ),
    "disclose": (
        "E_POLICY",
        "The plan discloses to {partner} about {asset}: {kind}. The grant does not permit that.",
        "计划向{partner}披露资产“{asset}”的以下信息：{kind}，授权不允许该披露。",
    ),
    "minimum_group": (
        "E_MIN_GROUP",
        "The plan releases groups from {group} subjects; the grant on {asset} to {partner} asks for "
        "{minimum}.",
        "计划公布的分组最少含 {group} 个主体，资产“{asset}”对{partner}的授权要求至少 {minimum} 个。",
    ),
    "no_subject": (
        "E_MIN_GROUP",
        "The plan counts rows instead of subjects; the grant on {asset} to {partner} asks for {minimum} "
        "subjects "
        "in each group, so the plan must name the subject column.",
        "计划按行而非按主体计数；资产“{asset}”对{partner}的授权要求每组至少 {minimum} 个主体，"
        "因此计划须指明主体列。",
    ),
    "group_unprotected": (
        "E_MIN_GROUP",
        "A join cannot keep the minimum group of {minimum} that the grant on {asset} to {partner} asks for.",
        "联合匹配无法保证资产“{asset}”对{partner}的授权所要求的最小分组 {minimum}。",
    ),
    "no_bounds": (
        "E_JOIN_BOUND",
        "The grant on {asset} to {partner} sets no join bounds, so no join is permitted.",
        "资产“{asset}”对{partner}的授权未设定匹配限制，因此不允许匹配。",
    ),
    "undeclared": (
        "E_JOIN_BOUND",
        "No signed statement gives the number of keys of {input}.",
        "没有已签名的声明给出输入 {input} 的键数。",
    ),
    "minimum_rows": (
        "E_JOIN_BOUND",
        "A side of the join has {keys} distinct keys; the grant on {asset} to {partner} asks for {minimum}.",
        "匹配的一方只有 {keys} 个不同的键，资产“{asset}”对{partner}的授权要求至少 {minimum} 个。",
    ),
    "ratio": (
        "E_JOIN_BOUND",
        "The sides have {mine} and {theirs} distinct keys; the grant on {asset} to {partner} allows a "
        "ratio of "
        "{maximum}.",
        "双方分别有 {mine} 和 {theirs} 个不同的键，资产“{asset}”对{partner}的授权允许的最大比例为 "
        "{maximum}。",
    ),
    "keys_in_period": (
        "E_JOIN_BOUND",
        "{partner} would have asked for {total} distinct keys in {days} days; the grant on {asset} allows "
        "{maximum}.",
        "{partner}在 {days} 天内查询的不同键将达 {total} 个，资产“{asset}”的授权最多允许 {maximum} 个。",
    ),
    "change": (
        "E_JOIN_BOUND",
        "{partner}'s table differs by {change} keys from one that it used before; the grant on {asset} "
        "asks for 0 "
        "or at least {minimum}.",
        "{partner}的表与其此前使用的某张表相差 {change} 个键，资产“{asset}”的授权要求相差为 0 或至少 "
        "{minimum}。",
    ),
    "change_undeclared": (
        "E_JOIN_BOUND",
        "{partner} used another table before under this agreement, but does not state how many keys changed.",
        "{partner}此前在本协议下使用过另一张表，但未声明变化的键数。",
    ),
    "change_contradicts": (
        "E_JOIN_BOUND",
        "{partner} states {change} changed keys for the very table that it last used.",
        "{partner}使用的正是其上次使用的表，却声明有 {change} 个键发生变化。",
    ),
    "runs": (
        "E_QUOTA",
        "{partner} has used its {maximum} runs of today on {asset}.",
        "{partner}今日对资产“{asset}”的 {maximum} 次运行额度已用完。",
    ),
    "rate": (
        "E_QUOTA",
        "{partner} has run {maximum} times on {asset} within {seconds} s, which is the agreed rate.",
        "{partner}在 {seconds} 秒内已对资产“{asset}”运行 {maximum} 次，达到约定的频率上限。",
    ),
    "consent": (
        "E_CONSENT",
        "The plan's calls show consent that is {consent}; the grant on {asset} to {partner} asks for {minimum}.",
        "计划的调用出示授权的方式为 {consent}，资产“{asset}”对{partner}的授权要求 {minimum}。",
    ),
    "privacy": (
        "E_POLICY",
        "The plan's result is exact; the grant on {asset} to {partner} permits only results with noise, within a "
        "privacy budget of {epsilon}.",
        "计划的结果为精确值；资产“{asset}”对{partner}的授权只允许加噪且在隐私预算 {epsilon} 之内的结果。",
    ),
    "calls": (
        "E_QUOTA",
        "With the next block of calls {partner} would have made {total} calls today on {asset}; the grant "
        "allows "
        "{maximum}.",
        "加上下一批调用，{partner}今日对资产“{asset}”的调用将达 {total} 次，授权最多允许 {maximum} 次。",
    ),
    "rows": (
        "E_QUOTA",
        "{partner} would present {total} rows today to {asset}; the grant allows {maximum}.",
        "{partner}今日向资产“{asset}”提交的行数将达 {total}，授权最多允许 {maximum} 行。",
    ),
}
SENTENCES = frozenset(_SENTENCES)


def sentence(name: str, **facts: Any) -> tuple[str, dict[str, str]]:
    """The error code and both texts of a sentence, filled in."""
    code, en, zh = _SENTENCES[name]
    zh_facts = {**facts, "kind": facts.get("kind_zh", facts.get("kind"))}
    return code.format(**facts), {"en": en.format(**facts), "zh": zh.format(**zh_facts)}
