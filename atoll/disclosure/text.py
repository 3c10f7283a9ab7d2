"""Statements as sentences: one template for each kind and language, and nothing written by hand elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from atoll.disclosure.statement import Assumption, Kind, Security, Statement

Language = Literal["zh", "en"]

# Placeholders: {to} and {any} who learns, {owner} whose data, {asset}, {columns}, {by}, {keys}, {group}, {parties},
# {bytes}, {bits}, {percent}, {extra}.
_TEMPLATES: dict[Kind, dict[Language, str]] = {
    "size": {
        "en": "{to} {learns} how many distinct values of {columns} stand in {owner}'s table {asset}, and by how "
        "many it differs from the nearest one that {owner} joined with it before.",
        "zh": "{to}获知{owner}的表“{asset}”中{columns}的不同取值个数，"
        "以及与{owner}此前同其匹配过的最接近的表相差的个数。",
    },
    "membership": {
        "en": "{to} {learns} which of its own values of {columns} also stand in {owner}'s table {asset}.",
        "zh": "{to}获知自己的{columns}中有哪些取值也出现在{owner}的表“{asset}”中。",
    },
    "intersection_size": {
        "en": "{to} {learns} how many values of {columns} its table shares with {owner}'s table {asset}, "
        "but not which ones.",
        "zh": "{to}获知自己的表与{owner}的表“{asset}”共有多少个{columns}取值，但不获知是哪些。",
    },
    "multiplicity": {
        "en": "{to} {learns} for each matched value of {columns} how many rows hold it in {owner}'s table "
        "{asset}.",
        "zh": "{to}获知每个匹配的{columns}取值在{owner}的表“{asset}”中出现的行数。",
    },
    "matched_count": {
        "en": "{to} {learns} how many values of {columns} stand both in its own table and in {owner}'s table {asset}, "
        "and on how many rows, but not which ones; and only if they are {group} at least.",
        "zh": "{to}获知其表与{owner}的表“{asset}”共有多少个{columns}取值及对应行数，但不获知是哪些；"
        "且仅当至少有 {group} 个时。",
    },
    "matched_sum": {
        "en": "{to} {learns} the sum of {columns} over those rows of {owner}'s table {asset} whose key stands in its "
        "own table, but no single value and not which rows; and only if {group} keys at least match.",
        "zh": "{to}获知{owner}的表“{asset}”中与其表匹配的各行的{columns}总和，但不获知任何单个数值或是哪些行；"
        "且仅当至少匹配 {group} 个键时。",
    },
    "matched_moments": {
        "en": "{to} {learns} the sum of the squares of {columns} over those rows of {owner}'s table {asset} whose key "
        "stands in its own table, or of their products with each other, as variances need them, but no single value "
        "and not which rows; and only if {group} keys at least match.",
        "zh": "{to}获知{owner}的表“{asset}”中与其表匹配的各行的{columns}平方和或其相互之间的乘积之和（计算方差所需），"
        "但不获知任何单个数值或是哪些行；且仅当至少匹配 {group} 个键时。",
    },
    "matched_product": {
        "en": "{to} {learns} sums of the products of {columns} with its own columns, over those rows of {owner}'s "
        "table {asset} whose key stands in its own table, as correlations need them; only if {group} keys at least "
        "match. With values that it chose for that, such a sum could tell it single values of {columns}: up to {bits} "
        "bits.",
        "zh": "{to}获知{owner}的表“{asset}”中与其表匹配的各行的{columns}与自有列的乘积之和（计算相关系数所需）；"
        "且仅当至少匹配 {group} 个键时。若其自有数值为此目的而选取，该和可透露{columns}的单个数值：至多 {bits} 比特。",
    },
    "matched_histogram": {
        "en": "{to} {learns} how many of those rows of {owner}'s table {asset} whose key stands in its own table have "
        "{columns} in each range, or with each code, that the plan names, but not which rows; only if {group} keys at "
        "least match. A number below {group} is withheld, and with another one what remains of all rows; what is shown "
        "can still tell within which limits they lie.",
        "zh": "{to}获知{owner}的表“{asset}”中与其表匹配的各行，其{columns}落在计划所列各区间或各代码的行数，"
        "但不获知是哪些行；且仅当至少匹配 {group} 个键时。不足 {group} 的行数不予公布，必要时并隐去另一项，"
        "但由已公布的数值仍可推知其所在范围。",
    },
    "own_matched_sum": {
        "en": "{to} {learns} the sum of its own {columns}, or of what the plan computes from them, over the rows whose "
        "key stands in {owner}'s table {asset}; only if {group} keys at least match. With values that it chose for "
        "that, the sums could tell it which of its rows match: up to {bits} bits.",
        "zh": "{to}获知自己的{columns}（或计划由其计算所得数值）在与{owner}的表“{asset}”匹配的各行上的总和；"
        "且仅当至少匹配 {group} 个键时。"
        "若其数值为此目的而选取，总和可透露其哪些行匹配：至多 {bits} 比特。",
    },
    "too_few_matched": {
        "en": "{to} {learns} whether fewer than {group} values of {columns} stand both in its own table and in "
        "{owner}'s table {asset}.",
        "zh": "{to}获知其表与{owner}的表“{asset}”共有的{columns}取值是否不足 {group} 个。",
    },
    "linkable": {
        "en": "{to} can recognise the values of {columns} that it asks for again in later runs: of each it learns "
        "whether it comes into or leaves {owner}'s table {asset}, and in which run, without asking again, until "
        "{owner} changes its key.",
        "zh": "{to}在后续运行中可再次识别其查询过的{columns}取值：在{owner}更换密钥之前，无需再次查询，"
        "即可获知每个取值是否以及在哪次运行中进入或离开{owner}的表“{asset}”。",
    },
    "changes": {
        "en": "{to} {learns} how many values of {columns} came into {owner}'s table {asset} and how many left it "
        "since the version that {to} keeps.",
        "zh": "{to}获知自其留存的版本以来，{owner}的表“{asset}”中新增了多少个、移除了多少个{columns}取值。",
    },
    "order": {
        "en": "{to} {learns} the order of the rows in {owner}'s table {asset}.",
        "zh": "{to}获知{owner}的表“{asset}”中各行的先后顺序。",
    },
    "timing": {
        "en": "{to} {learns} how long {owner}'s part of the computation takes on {asset}.",
        "zh": "{to}获知{owner}在“{asset}”上的计算所用的时间。",
    },
    "call": {
        "en": "{to} {learns} that {owner} makes a call, when, and how long the call is "
        "(at most {bytes} bytes).",
        "zh": "{to}获知{owner}发起了调用、调用的时间以及请求的长度（不超过 {bytes} 字节）。",
    },
    "hits": {
        "en": "{to} {learns} how many of {owner}'s calls in each block {owner} declares as hits.",
        "zh": "{to}获知{owner}申报的每批调用中的命中次数。",
    },
    "authorisation": {
        "en": "{to} {learns} the data subject's authorisation that {owner} presents with each call; the subject "
        "stands in it as a salted commitment.",
        "zh": "{to}获知{owner}随每次调用出示的数据主体授权；其中主体仅以加盐承诺出现。",
    },
    "sum": {
        "en": "{to} {learns} the sum of {columns}{by}, added over {parties} institutions together: {owners}.",
        "zh": "{to}获知{owners}共 {parties} 家机构的{columns}{by}的总和，各家数值已合并相加。",
    },
    "count": {
        "en": "{to} {learns} the number of rows{by}, added over {parties} institutions together: {owners}.",
        "zh": "{to}获知{owners}共 {parties} 家机构{by}的总行数，各家数值已合并相加。",
    },
    "suppressed_groups": {
        "en": "{to} {learns} how many groups were withheld because they hold fewer than {group} subjects.",
        "zh": "{to}获知有多少个分组因不足 {group} 个主体而未公布。",
    },
    "small_group_exists": {
        "en": "If the run is refused for a small group, {to} {learns} that {owner}'s table {asset} has a "
        "group "
        "with at least one and fewer than {group} subjects, but not which group.",
        "zh": "若运行因分组过小而被拒绝，{to}会获知{owner}的表“{asset}”中存在主体数不为零且少于 {group} "
        "的分组，"
        "但不获知是哪个分组。",
    },
    "participation": {
        "en": "{to} {learns} that exactly these {parties} institutions took part: {owners}.",
        "zh": "{to}获知恰有以下 {parties} 家机构参与：{owners}。",
    },
    "value": {
        "en": "{to} {learns} the values of {columns} that {owner} gives{limit}.",
        "zh": "{to}获知{owner}提供的{columns}的取值{limit}。",
    },
    "outcome": {
        "en": "{to} {learns} for each call the outcome {columns}, computed at {owner} from the subject's rows of "
        "{asset}: at most {bits} bits a call, no decision and timing included.",
        "zh": "{to}在每次调用中获知结果{columns}，由{owner}在本地根据该主体在“{asset}”中的数据行计算得出："
        "每次至多 {bits} 比特，含不作决定与时间因素。",
    },
    "record": {
        "en": "{to} {learns} the values of {columns} in those rows of {owner}'s table {asset} whose {keys} it asks "
        "for, and whether there are any, one call for each; {owner} does not learn which. What was asked for once can "
        "be read again in later versions, until {owner} seals the table anew, at the latest when the service ends.",
        "zh": "{to}获知{owner}的表“{asset}”中其所查询的{keys}对应各行的{columns}取值，以及是否存在，每个键计一次调用；"
        "{owner}不获知查询了哪些键。查询过的键在后续版本中仍可读取，直至{owner}重新封装该表，最迟至服务结束。",
    },
    "sealed_table": {
        "en": "{to} may come to hold every record of {owner}'s table {asset} sealed: it learns about how many values "
        "of {columns} there are, and how many records change from version to version. What is sealed rests on "
        "discrete logarithms: who keeps it until these can be computed can read it then.",
        "zh": "{to}可持有{owner}的表“{asset}”全部记录的密封形式：获知{columns}取值的大致个数，以及各版本间变化的"
        "记录数。"
        "密封依赖离散对数问题：保存密封内容直至该问题可被求解者，届时可读取其内容。",
    },
    "key_totals": {
        "en": "{to} {learns} the totals of {columns} over the rows with a value of {keys} that it asks for, added over "
        "{parties} institutions together: {owners}; one call for each value. It does not learn which of them has the "
        "value; none of them learns which value it is, or whether it has it.",
        "zh": "{to}获知其所查询的{keys}取值对应各行的{columns}合计，由{owners}共 {parties} 家机构合并相加，每个取值计"
        "一次调用。{to}不获知哪家机构有该取值；各机构不获知查询的取值，也不获知自己是否有该取值。",
    },
    "sealed_cells": {
        "en": "{to} {learns} about how many values of {columns} stand in {owner}'s table {asset}, and when the table "
        "changes: it holds every row of it sealed, under keys that {owner} alone has.",
        "zh": "{to}获知{owner}的表“{asset}”中{columns}取值的大致个数以及该表何时变化：{to}持有该表每一行的密封形式，"
        "密钥仅{owner}持有。",
    },
    "corruptible": {
        "en": "The protocol protects against parties that follow it and try to learn more. If {any} "
        "departs from "
        "it, that party can corrupt the result unnoticed and may learn more than is said here.",
        "zh": "该协议防范的是遵守协议但试图多获知信息的参与方。若{any}偏离协议，则可能在不被察觉的情况下"
        "破坏结果，并可能获知超出本声明的信息。",
    },
    "extra_keys": {
        "en": "If {to} departs from the protocol where it learns first, it can test more keys against {columns} in "
        "{owner}'s table {asset} than it declared: at most {percent} % of their number, and {extra} more for each "
        "started 2^20 keys of the larger side. So many are charged to it, once for the same set of keys.",
        "zh": "若{to}在其先获知结果的情形下偏离协议，则可用多于其声明数量的键试探{owner}的表“{asset}”中的{columns}："
        "至多为声明数量的 {percent}%，较大一方每满或不足 2^20 个键再加 {extra} 个；"
        "额度即按此数量计扣（同一键集只计一次）。",
    },
    "input_choice": {
        "en": "The protocol protects against parties that depart from it: they cannot corrupt the result unnoticed, "
        "nor learn more than is said here. But {any} can put in other keys than its table holds, as in any "
        "protocol.",
        "zh": "该协议也防范偏离协议的参与方：其无法在不被察觉的情况下破坏结果，也无法获知超出本声明的信息。"
        "但与任何协议一样，{any}仍可输入其表中并不存在的键。",
    },
    "omission": {
        "en": "If {any} learns first and departs from the protocol, it can leave matches out of what it returns to "
        "the other party, unnoticed.",
        "zh": "若{any}先获知结果并偏离协议，则可在返回给另一方的结果中遗漏部分匹配而不被察觉。",
    },
    "collusion": {
        "en": "If {to} and all of the {parties} institutions but one pool what they hold, they learn the "
        "sums of the remaining one.",
        "zh": "若{to}与 {parties} 家机构中除一家以外的所有机构合谋，便可得知剩余那一家的汇总值。",
    },
    "common_collusion": {
        "en": "If {to} and others of the {parties} parties pool what they hold, they learn which of {to}'s keys all of "
        "the remaining parties have.",
        "zh": "若{to}与 {parties} 方中的其他参与方合谋，便可得知{to}的哪些键为其余各方所共有。",
    },
    "size_collusion": {
        "en": "If {to} pool what they hold, they learn which keys all {parties} parties have, and not only how many.",
        "zh": "若{to}合谋，便可得知全部 {parties} 方共有哪些键，而不仅是其个数。",
    },
    "guessing": {
        "en": "{any} can choose the keys that it puts in, and where keys may repeat on how many rows each stands, "
        "which weighs its partner's values. Totals over a chosen set tell about that set, and totals over two sets "
        "about what one has more than the other; the minimum of {group} does not prevent that, bounds on what may be "
        "joined limit it.",
        "zh": "{any}可自行选择输入的键；允许键重复时还可选择每个键的行数，从而对对方数值加权。"
        "对所选集合的汇总会透露该集合的信息，对两个集合的汇总会透露其差异；"
        "最少 {group} 个的要求并不能防止这一点，需靠匹配额度加以限制。",
    },
}

# Statements about what all of several parties have, beside those about two.
_COMMON: dict[Kind, dict[Language, str]] = {
    "membership": {
        "en": "{to} {learns} which of its own values of the key columns stand in the tables of all {parties} parties, "
        "among them {columns} in {owner}'s table {asset}; but not which stand in the tables of some only.",
        "zh": "{to}获知自己的键中有哪些取值同时出现在全部 {parties} 方的表中"
        "（包括{owner}的表“{asset}”中的{columns}），但不获知仅在部分表中出现的取值。",
    },
    "intersection_size": {
        "en": "{to} {learns} how many values of the key columns stand in the tables of all {parties} parties, among "
        "them {columns} in {owner}'s table {asset}; but not which ones.",
        "zh": "{to}获知有多少个键的取值同时出现在全部 {parties} 方的表中"
        "（包括{owner}的表“{asset}”中的{columns}），但不获知是哪些。",
    },
}

_ASSUMPTIONS: dict[Assumption, dict[Language, str]] = {
    "ddh-two-party": {
        "en": "two parties, no third party; assumes decisional Diffie-Hellman in ristretto255 and a random "
        "oracle",
        "zh": "仅两方参与，无第三方；假设 ristretto255 上的判定性 Diffie-Hellman 问题困难，"
        "并采用随机预言模型",
    },
    "lpn-two-party": {
        "en": "two parties, no third party; assumes that learning parity with noise is hard in expand-convolute "
        "codes, computational Diffie-Hellman in ristretto255, and a random oracle",
        "zh": "仅两方参与，无第三方；假设扩展卷积码上的带噪学习奇偶校验（LPN）问题与 ristretto255 上的"
        "计算性 Diffie-Hellman 问题困难，并采用随机预言模型",
    },
    "lpn-permutation-two-party": {
        "en": "two parties, no third party; assumes that learning parity with noise is hard in expand-convolute "
        "codes, computational Diffie-Hellman in ristretto255, a random oracle, and AES under a public key as a random "
        "permutation",
        "zh": "仅两方参与，无第三方；假设扩展卷积码上的带噪学习奇偶校验（LPN）问题与 ristretto255 上的"
        "计算性 Diffie-Hellman 问题困难，采用随机预言模型，并将公开密钥下的 AES 视为随机置换",
    },
    "gap-dh-two-party": {
        "en": "two parties, no third party; assumes one-more gap Diffie-Hellman in ristretto255 and a random oracle",
        "zh": "仅两方参与，无第三方；假设 ristretto255 上的 one-more gap Diffie-Hellman 问题困难，并采用随机预言模型",
    },
    "lpn-star": {
        "en": "no third party; assumes that learning parity with noise is hard in expand-convolute codes, "
        "Diffie-Hellman in Curve25519 and ristretto255, and a random oracle",
        "zh": "无第三方；假设扩展卷积码上的带噪学习奇偶校验（LPN）问题与 Curve25519、ristretto255 上的"
        "Diffie-Hellman 问题困难，并采用随机预言模型",
    },
    "lpn-permutation-star": {
        "en": "no third party; assumes that learning parity with noise is hard in expand-convolute codes, "
        "Diffie-Hellman in Curve25519 and ristretto255, a random oracle, AES as a pseudorandom function and, under a "
        "public key, as a random permutation",
        "zh": "无第三方；假设扩展卷积码上的带噪学习奇偶校验（LPN）问题与 Curve25519、ristretto255 上的"
        "Diffie-Hellman 问题困难，采用随机预言模型，并将 AES 视为伪随机函数，将公开密钥下的 AES 视为随机置换",
    },
    "no-full-collusion": {
        "en": "no third party; assumes that at least two of the institutions whose data are added do not "
        "collude",
        "zh": "无第三方；假设被汇总的机构中至少有两家不合谋",
    },
    "lwe-gap-dh-two-party": {
        "en": "two parties, no third party; assumes that learning with errors is hard, one-more gap Diffie-Hellman in "
        "ristretto255, and a random oracle",
        "zh": "仅两方参与，无第三方；假设容错学习（LWE）问题困难，ristretto255 上的 one-more gap Diffie-Hellman "
        "问题困难，并采用随机预言模型",
    },
    "rlwe-gap-dh-two-party": {
        "en": "two parties, no third party; assumes that learning with errors is hard, also over rings and where a key "
        "is encrypted under itself, one-more gap Diffie-Hellman in ristretto255, and a random oracle",
        "zh": "仅两方参与，无第三方；假设容错学习（LWE）及环上容错学习（RLWE）问题困难（含以密钥加密其自身的情形），"
        "ristretto255 上的 one-more gap Diffie-Hellman 问题困难，并采用随机预言模型",
    },
    "rlwe-lpn-permutation-two-party": {
        "en": "two parties, no third party; assumes that learning with errors over rings is hard, that learning parity "
        "with noise is hard in expand-convolute codes, computational Diffie-Hellman in ristretto255, a random oracle, "
        "and AES under a public key as a random permutation",
        "zh": "仅两方参与，无第三方；假设环上容错学习（RLWE）问题、扩展卷积码上的带噪学习奇偶校验（LPN）问题与 "
        "ristretto255 上的计算性 Diffie-Hellman 问题困难，采用随机预言模型，并将公开密钥下的 AES 视为随机置换",
    },
    "transport": {
        "en": "the two nodes only; rests on TLS 1.3 between them",
        "zh": "仅涉及两个节点；依赖两者之间的 TLS 1.3",
    },
}
_SECURITY: dict[Security, dict[Language, str]] = {
    "none": {"en": "no protection", "zh": "无保护"},
    "semi-honest": {"en": "semi-honest", "zh": "半诚实"},
    "malicious": {"en": "malicious", "zh": "恶意"},
}
_KIND_NAMES: dict[Kind, dict[Language, str]] = {
    "size": {"en": "number of distinct keys", "zh": "不同键的个数"},
    "membership": {"en": "which of the receiver's keys match", "zh": "接收方的哪些键匹配"},
    "intersection_size": {"en": "number of matching keys", "zh": "匹配键的个数"},
    "multiplicity": {"en": "rows per matching key", "zh": "每个匹配键的行数"},
    "matched_count": {"en": "number of matching keys, above a minimum", "zh": "达到下限时的匹配键个数"},
    "matched_sum": {"en": "sums over matching rows, above a minimum", "zh": "达到下限时匹配行的总和"},
    "matched_moments": {
        "en": "sums of squares over matching rows, above a minimum",
        "zh": "达到下限时匹配行的平方和",
    },
    "matched_product": {
        "en": "sums of products with own columns over matching rows, above a minimum",
        "zh": "达到下限时匹配行上与自有列的乘积之和",
    },
    "matched_histogram": {
        "en": "numbers of matching rows by range or code, above a minimum",
        "zh": "达到下限时按区间或代码划分的匹配行数",
    },
    "own_matched_sum": {"en": "sums of own columns over matching rows", "zh": "自有列在匹配行上的总和"},
    "too_few_matched": {"en": "whether too few keys match", "zh": "匹配键是否过少"},
    "linkable": {"en": "what became of keys asked before", "zh": "此前查询过的键的变化"},
    "changes": {"en": "number of keys that came and went", "zh": "新增与移除键的个数"},
    "order": {"en": "order of rows", "zh": "行的顺序"},
    "timing": {"en": "time that a computation takes", "zh": "计算所用时间"},
    "call": {"en": "that a call was made", "zh": "发生了调用"},
    "hits": {"en": "number of declared hits", "zh": "申报的命中次数"},
    "authorisation": {"en": "data subjects' authorisations", "zh": "数据主体的授权"},
    "sum": {"en": "sums over all institutions", "zh": "各机构合计的总和"},
    "count": {"en": "counts over all institutions", "zh": "各机构合计的行数"},
    "suppressed_groups": {"en": "number of withheld groups", "zh": "未公布分组的个数"},
    "small_group_exists": {"en": "that some group is too small", "zh": "存在过小的分组"},
    "participation": {"en": "which parties took part", "zh": "参与方名单"},
    "value": {"en": "values of columns", "zh": "列的取值"},
    "record": {"en": "records of keys that are asked for", "zh": "所查询键的记录"},
    "sealed_table": {"en": "the table as sealed records", "zh": "密封形式的表"},
    "key_totals": {
        "en": "totals over all institutions of keys that are asked for",
        "zh": "所查询键的各机构合计",
    },
    "sealed_cells": {"en": "the table's size, as sealed rows", "zh": "表的大小（密封形式的行）"},
    "outcome": {"en": "declared outcomes of a package", "zh": "脚本包声明的结果"},
    "extra_keys": {"en": "keys tested beyond those declared", "zh": "超出声明数量的试探键"},
    "corruptible": {"en": "a cheating party can corrupt the result", "zh": "作弊方可破坏结果"},
    "input_choice": {"en": "a party can choose its input", "zh": "参与方可自选输入"},
    "omission": {"en": "matches can be left out", "zh": "可遗漏匹配结果"},
    "collusion": {"en": "what colluding parties learn", "zh": "合谋方可获知的信息"},
    "common_collusion": {"en": "what parties that pool keys learn", "zh": "合谋方可获知的共有键"},
    "guessing": {"en": "what chosen keys tell", "zh": "自选键可透露的信息"},
    "size_collusion": {"en": "who together learns more than the size", "zh": "合谋可获知交集内容的各方"},
}
# These are about all owners at once: statements that differ only in the owner are one sentence.
_JOINT: frozenset[Kind] = frozenset({"sum", "count", "participation", "key_totals"})


def render_kind(kind: Kind, language: Language) -> str:
    """A few words for a kind, as they stand in explanations and tables."""
    return _KIND_NAMES[kind][language]


_LAST: dict[str, dict[Language, str]] = {"and": {"en": " and ", "zh": "和"}, "or": {"en": " or ", "zh": "或"}}


def join_words(words: Iterable[str], language: Language, last: Literal["and", "or"] = "and") -> str:
    """A list in a sentence: `a, b and c` or `a、b和c`."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return (", " if language == "en" else "、").join(items[:-1]) + _LAST[last][language] + items[-1]


def _columns(names: Iterable[str], language: Language) -> str:
    return join_words((f"“{name}”" if language == "zh" else name for name in names), language)


def _sentence(group: list[Statement], names: Mapping[str, str], language: Language) -> str:
    first = group[0]
    p = first.parameters
    owners = sorted({names.get(s.owner, s.owner) for s in group if s.owner is not None})
    by = limit = ""
    if p.by:
        by = f" per {_columns(p.by, 'en')}" if language == "en" else f"按{_columns(p.by, 'zh')}分组"
    if p.maximum_bytes:
        limit = (
            f" (at most {p.maximum_bytes} bytes)"
            if language == "en"
            else f"（不超过 {p.maximum_bytes} 字节）"
        )
    # What all have in common is told otherwise than what two have.
    templates = _COMMON if first.what in _COMMON and p.parties else _TEMPLATES
    text = templates[first.what][language].format(
        to=join_words((names.get(k, k) for k in first.to), language),
        any=join_words((names.get(k, k) for k in first.to), language, "or"),
        learns="learns" if len(first.to) == 1 else "each learn",
        owner=join_words(owners, language),
        owners=join_words(owners, language),
        asset=p.asset or first.subject,
        columns=_columns(p.columns, language),
        by=by,
        keys=_columns(p.by, language),
        group=p.minimum_group,
        parties=p.parties,
        bytes=p.maximum_bytes,
        bits=p.maximum_bits,
        percent=p.percent,
        extra=p.extra,
        limit=limit,
    )
    if first.what in ("corruptible", "input_choice", "collusion", "common_collusion"):
        level = _SECURITY[first.security][language]
        assumption = _ASSUMPTIONS[first.assumption][language]
        text += f" [{level}; {assumption}]" if language == "en" else f"［{level}；{assumption}］"
    return text


def render(statements: Iterable[Statement], names: Mapping[str, str], language: Language) -> list[str]:
    """One sentence for each statement, in order; statements about all owners together become one sentence.

    Args:
        statements: what a plan discloses.
        names: display name of each key; a key without a name stands as itself.
        language: `zh` or `en`.
    """
    groups: dict[str, list[Statement]] = {}
    for number, s in enumerate(statements):
        joint = s.what in _JOINT
        label = repr((s.what, s.to, s.step, s.parameters.columns, s.parameters.by)) if joint else str(number)
        groups.setdefault(label, []).append(s)
    sentences = (_sentence(group, names, language) for group in groups.values())
    return list(dict.fromkeys(sentences))
