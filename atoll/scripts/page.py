"""The review page and the explanation of a decision as lines for people, in English and Chinese."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from atoll.disclosure import Language
from atoll.scripts.manifest import Choice, Flag, Manifest, Number
from atoll.scripts.review import over_reach

Json = dict[str, Any]
Lines = dict[str, list[str]]

_INDENT = "  "
_TYPES = {
    "string": ("text", "文本"),
    "int64": ("whole number", "整数"),
    "bool": ("true or false", "真或假"),
}


def _one(language: Language, en: str, zh: str) -> str:
    return en if language == "en" else zh


def _all(language: Language, items: Sequence[str], last: str = "and") -> str:
    """A list in words."""
    if language == "zh":
        return "、".join(items)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def bits(millibits: int) -> str:
    """Thousandths of a bit as bits, rounded up to tenths: `22.2`."""
    tenths = -(-millibits // 100)
    return f"{tenths // 10}.{tenths % 10}" if tenths % 10 else str(tenths // 10)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


# What is read and brought.


def _reads(page: Json, language: Language) -> Iterator[str]:
    yield _one(language, "Reads of your tables:", "读取贵方的表：")
    subject = page["subject"]["name"]
    for item in page["reads"]:
        if item["rows"] == "one":
            rows = _one(language, "the row", "该行")
        else:
            most = item["maximum_rows"]
            rows = _one(language, f"up to {_plural(most, 'row')}", f"至多 {most} 行")
        yield _INDENT + _one(
            language,
            f"{item['asset']}: {rows} whose {item['key']} is the {subject} of the call, as {item['input']}",
            f"{item['asset']}：{item['key']} 等于本次调用的 {subject} 的{rows}，名为 {item['input']}",
        )
        columns = [f"{c['name']} {c['type']}" for c in item["columns"]]
        yield _INDENT * 2 + _one(language, "columns: ", "列：") + _all(language, columns)
        problems = [
            item["problem"],
            *({**c["problem"], "at": c["name"]} for c in item["columns"] if c["problem"]),
        ]
        for problem in filter(None, problems):
            place = f" {problem['at']}" if "at" in problem else ""
            yield _INDENT * 2 + _one(
                language, f"PROBLEM{place}: {problem['en']}", f"问题{place}：{problem['zh']}"
            )


def _brings(page: Json, language: Language) -> Iterator[str]:
    if not page["parameters"] and not page["models"]:
        return
    yield _one(language, "Brings along:", "自带：")
    for name, size in page["parameters"].items():
        yield _INDENT + _one(language, f"table {name}: {size} bytes", f"参数表 {name}：{size} 字节")
    for name, facts in page["models"].items():
        operators = _all(language, facts["operators"])
        yield _INDENT + _one(
            language,
            f"model {name}: {facts['weights']} weights; operators {operators}",
            f"模型 {name}：{facts['weights']} 个权重；算子 {operators}",
        )


def _arguments(page: Json, language: Language) -> Iterator[str]:
    if not page["arguments"]:
        return
    yield _one(language, "The caller sends with each call:", "调用方随每次调用提供：")
    for name, argument in page["arguments"].items():
        if argument["range"]:
            low, high = argument["range"]
            said = _one(language, f"whole number from {low} to {high}", f"{low} 至 {high} 的整数")
        elif argument["values"]:
            said = _all(language, argument["values"], "or")
        else:
            said = _one(language, *_TYPES[argument["type"]])
        default = argument["default"]
        if default is not None:
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            said += _one(language, f"; {shown} if not given", f"；缺省为 {shown}")
        yield _INDENT + f"{name}{_one(language, ': ', '：')}{said}"


# What may leave.


def _sources(page: Json, depends: Sequence[Sequence[str]], language: Language) -> str:
    """Dependencies in words: columns by the owner's own table names."""
    assets = {item["input"]: item["asset"] for item in page["reads"]}
    own: list[str] = []
    present: list[str] = []
    brought: list[str] = []
    sent: list[str] = []
    other: list[str] = []
    for place, column in depends:
        if place in assets:
            (own if column else present).append(f"{assets[place]}.{column}" if column else assets[place])
        elif place in page["parameters"]:
            brought.append(f"{place}.{column}" if column else place)
        elif place == "arguments":
            sent.append(column)
        elif place == "today":
            other.append(_one(language, "the date", "当日日期"))
        else:
            other.append(f"{place}.{column}".rstrip("."))
    parts = []
    if own:
        parts.append(_all(language, own))
    if present:
        names = _all(language, present)
        parts.append(_one(language, f"which rows of {names} there are", f"{names} 中存在哪些行"))
    if brought:
        names = _all(language, brought)
        parts.append(_one(language, f"{names}, which it brings along", f"其自带的 {names}"))
    if sent:
        names = _all(language, sent)
        word = "argument" if len(sent) == 1 else "arguments"
        parts.append(_one(language, f"the caller's {word} {names}", f"调用方的参数 {names}"))
    parts += other
    if not parts:
        return _one(language, "depends on nothing: it is always the same", "不依赖任何数据：始终相同")
    return _one(language, "depends on ", "依赖于 ") + _one(language, "; ", "；").join(parts)


def _output(page: Json, output: Json, language: Language) -> Iterator[str]:
    name, count = output["name"], output["outcomes"]
    size = _one(language, f" ({_plural(count, 'value')})", f"（{count} 个取值）")
    if output["type"] == "choice":
        said = _all(language, output["values"], "or") + size
    elif output["type"] == "reasons":
        codes = _all(language, output["values"])
        said = _one(
            language, f"some of {codes} ({_plural(count, 'set')})", f"{codes} 中的若干项（{count} 种组合）"
        )
    elif output["type"] == "bool":
        said = _one(language, *_TYPES["bool"]) + size
    else:
        low, high = output["range"]
        unit = f" {output['unit']}" if output["unit"] else ""
        said = _one(
            language,
            f"{low} to {high}{unit} in steps of {output['step']}",
            f"{low} 至 {high}{unit}，步长 {output['step']}",
        )
        said += size
    yield _INDENT + f"{name}{_one(language, ': ', '：')}{said}"
    if not page["findings"]:
        yield _INDENT * 2 + _sources(page, output["depends"], language)


def _leaves(page: Json, language: Language) -> Iterator[str]:
    yield _one(language, "May leave, and nothing else:", "仅以下内容可以离开：")
    for output in page["outputs"]:
        yield from _output(page, output, language)
    if page["outputs"] and not page["findings"]:
        yield _INDENT + _one(language, "whether there is a decision at all", "是否作出决定")
        yield _INDENT * 2 + _sources(page, page["made"], language)
        used = {tuple(s) for found in (page, *page["outputs"]) for s in found.get("depends", page["made"])}
        idle = [
            f"{item['asset']}.{column['name']}"
            for item in page["reads"]
            for column in item["columns"]
            if (item["input"], column["name"]) not in used
        ]
        if idle:
            names = _all(language, idle)
            yield _INDENT + _one(
                language, f"read, but nothing depends on it: {names}", f"读取但无输出依赖：{names}"
            )
    for code, text in page["reasons"].items():
        yield _INDENT + _one(language, f"reason {code}: {text['en']}", f"理由 {code}：{text['zh']}")


def _amounts(page: Json, language: Language) -> Iterator[str]:
    found = page["bits"]
    holds = bool(page["bounds"]["hold_above"])
    also = _one(language, " and a denial of what was held", "和“扣留后未放行”") if holds else ""
    yield _one(language, "How much that is:", "信息量：")
    yield _INDENT + _one(
        language,
        f"a call: at most {bits(found['per_call'])} bits. It is one of {found['outcomes']} answers, no decision"
        f"{also} among them, and 3 bits for its moment.",
        f"每次调用：至多 {bits(found['per_call'])} 比特。答复为 {found['outcomes']} 种之一（含“不作决定”{also}），"
        "另计答复时刻 3 比特。",
    )
    each, days = found["calls_per_subject"], found["subject_days"]
    yield _INDENT + _one(
        language,
        f"a {page['subject']['name']}: at most {bits(found['per_subject'])} bits in any {_plural(days, 'day')}, "
        f"that is {_plural(each, 'call')}",
        f"每个 {page['subject']['name']}：任意 {days} 天内至多 {bits(found['per_subject'])} 比特，即 {each} 次调用",
    )
    daily = found["calls_per_day"]
    yield _INDENT + _one(
        language,
        f"a day: at most {bits(found['per_day'])} bits and {_plural(daily, 'call')}",
        f"每天：至多 {bits(found['per_day'])} 比特、{daily} 次调用",
    )
    if each == 0 or daily == 0:
        yield _INDENT + _one(
            language,
            "PROBLEM: these bounds do not cover one call; allow more bits, or coarser outputs.",
            "问题：此限额不足一次调用；请放宽比特数，或采用更粗的步长。",
        )


def _bounds(page: Json, language: Language) -> Iterator[str]:
    """What the owner's bounds change, apart from the bits."""
    bounds = page["bounds"]
    said = []
    if bounds["calls_per_day"] is not None:
        count = bounds["calls_per_day"]
        said.append(_one(language, f"at most {_plural(count, 'call')} a day", f"每天至多 {count} 次调用"))
    for name, step in bounds["steps"].items():
        said.append(_one(language, f"{name} in steps of {step}", f"{name} 的步长为 {step}"))
    if not bounds["reasons"]:
        said.append(_one(language, "no reasons leave", "理由不离开"))
    for name, most in bounds["hold_above"].items():
        said.append(
            _one(
                language,
                f"a {name} above {most} waits for a steward",
                f"{name} 超过 {most} 时须经数据管理员放行",
            )
        )
    if bounds["not_after"] is not None:
        said.append(_one(language, f"ends at {bounds['not_after']}", f"至 {bounds['not_after']} 止"))
    if said:
        yield _one(language, "Within your limits:", "在贵方限制之内：")
        yield from (_INDENT + text for text in said)


def _changes(page: Json, language: Language) -> Iterator[str]:
    if page["changes"] is None:
        yield _one(language, "You have approved no version of it before.", "贵方此前未批准过其任何版本。")
        return
    before = page["approved_before"]
    if not page["changes"]:
        yield _one(language, f"Nothing changed since {before}.", f"自 {before} 以来没有变化。")
        return
    yield _one(
        language, f"Changed since {before}, which you approved:", f"自贵方批准的 {before} 以来的变化："
    )
    for change in page["changes"]:
        yield _INDENT + str(change[language])
        yield from (_INDENT * 2 + line for line in change["lines"])


def refusal(page: Json, language: Language) -> str | None:
    """Why a page's package cannot be deployed; None if it can."""
    return over_reach(page, language)


def _page(page: Json, language: Language) -> Iterator[str]:
    yield f"{page['name']} {page['version']}{_one(language, ': ', '：')}{page['title'][language]}"
    author = page.get("author_name") or page["author"]
    said = _one(
        language,
        f'from {author}, for the purpose "{page["purpose"]}"',
        f"作者 {author}，用途“{page['purpose']}”",
    )
    if page.get("agreement"):
        said += _one(language, f", under {page['agreement']}", f"，依据 {page['agreement']}")
    yield said
    yield _one(language, f"package {page['package']}", f"包 {page['package']}")
    yield from _reads(page, language)
    yield from _brings(page, language)
    yield from _arguments(page, language)
    yield from _leaves(page, language)
    yield from _amounts(page, language)
    yield from _bounds(page, language)
    milliseconds, memory = page["limits"]["time_ms"], page["limits"]["memory_bytes"] >> 20
    yield _one(
        language,
        f"A call has {milliseconds} ms and {memory} MiB; what fails within is no decision.",
        f"每次调用限 {milliseconds} 毫秒、{memory} MiB；运行失败即为“不作决定”。",
    )
    yield from _changes(page, language)
    if page["findings"]:
        yield _one(language, "Refused by the check:", "检查未通过：")
        yield from (_INDENT + finding_line(f) for f in page["findings"])
    why = refusal(page, language)
    if why is not None:
        yield _one(language, f"Cannot be deployed: {why}", f"不能部署：{why}")


def finding_line(finding: Json) -> str:
    """A finding as tools print it: `rules.py:12:5: text [code]`."""
    return f"{finding['place']}: {finding['text']} [{finding['code']}]"


def page_lines(page: Json) -> Lines:
    """A review page, as `atoll.scripts.review.review` gives it, in both languages.

    `author_name` and `agreement` are shown where the page has them.
    """
    return {"en": list(_page(page, "en")), "zh": list(_page(page, "zh"))}


# One decision.


def _value(output: Any, value: Any, language: Language) -> str:
    if isinstance(output, Flag):
        return _one(language, "yes", "是") if value else _one(language, "no", "否")
    if isinstance(output, Number) and output.unit:
        return f"{value} {output.unit}"
    assert isinstance(output, Choice | Number)  # the three kinds of output
    return str(value)


def _explained(
    manifest: Manifest, author: str, state: str, answer: Json | None, date: str | None, language: Language
) -> Iterator[str]:
    yield manifest.title.document()[language]
    colon = _one(language, ": ", "：")
    if state == "held":
        yield _one(
            language,
            "There is no answer yet: a person at the owner of the data looks at it.",
            "尚无答复：数据方正在人工审核。",
        )
    elif answer is None:
        yield _one(
            language,
            "The rules made no decision. That is not a refusal: a person has to decide.",
            "规则未作出决定。这不等于拒绝，须由人工决定。",
        )
    else:
        for name, output in manifest.outputs.items():
            yield f"{name}{colon}{_value(output, answer[name], language)}"
        reasons = answer["reasons"]
        if reasons:
            yield _one(language, "Because:", "理由：")
            yield from (_INDENT + manifest.reasons[code].document()[language] for code in reasons)
        else:
            yield _one(language, "The rules name no reason.", "规则未给出理由。")
    said = _one(
        language,
        f"Decided by the rules {manifest.name}, version {manifest.version}, of {author}",
        f"依据 {author} 的规则 {manifest.name} 第 {manifest.version} 版",
    )
    yield said + (
        _one(language, f" on {date[:10]}.", f"，{date[:10]}。") if date else _one(language, ".", "。")
    )


def explanation(
    manifest: Manifest, *, author: str, state: str, answer: Json | None, date: str | None
) -> Lines:
    """A decision for the person whom it is about: what was decided and the declared reasons, and no data.

    Args:
        author: name of the rules' author.
        state: `held` for an answer that waits; any other is final.
        answer: what left, as `outputs.gate` gives it; None for no decision.
        date: ISO time of the decision, of which the day is shown.
    """
    return {
        language: list(_explained(manifest, author, state, answer, date, language))
        for language in ("en", "zh")
    }
