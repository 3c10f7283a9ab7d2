"""What the demo says, in English and Chinese."""

from __future__ import annotations

from typing import Literal, get_args

from atoll.demo.words_claims import CLAIMS
from atoll.demo.words_subsidy import SUBSIDY

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

# key: (English, Chinese). Both have the same fields in braces; a test checks that.
WORDS: dict[str, tuple[str, str]] = {
    "title": (
        "Atoll: four lenders compute together. No row leaves its owner.",
        "Atoll：四家贷款机构联合计算，任何一行数据都不离开其所有者。",
    ),
    "title-own": (
        "Atoll: your two files at two institutions. No row leaves its owner.",
        "Atoll：您的两个文件分属两家机构，任何一行数据都不离开其所有者。",
    ),
    "table": (
        "{name}: {rows} rows, {encoding}, {dirty} of them dirty",
        "{name}：{rows} 行，{encoding}，其中 {dirty} 行不规范",
    ),
    "dirty": (
        "Dirty means spaces, full-width digits, lower case, missing or repeated identity numbers.",
        "不规范指：空格、全角数字、小写、证件号缺失或重复。",
    ),
    "start": (
        "starting {count} nodes, each a process with its own keys",
        "正在启动 {count} 个节点，每个都是持有自己密钥的独立进程",
    ),
    "paired": (
        "{count} nodes run and are paired, each pair by comparing four words on both sides.",
        "{count} 个节点已启动并两两配对，每一对都核对了双方显示的四个词。",
    ),
    "adding": ("adding the tables", "正在登记数据表"),
    "agreed": (
        "All {count} signed agreement {id}. It says who may use which column, for what.",
        "{count} 方已签署协议 {id}，其中写明谁可以把哪一列用于什么。",
    ),
    "asking": ("computing", "正在计算"),
    # a
    "act-overlap": ("Overlap of two lenders", "两家机构的客户重叠"),
    "overlap-intro": (
        "{left} and {right} find their common customers. Neither shows the other a row.",
        "{left}与{right}求共同客户，互不出示任何一行。",
    ),
    "one-side": ("one side learns: common customers", "仅一方得知：共同客户数"),
    "one-side-rows": ("one side learns: its own matched rows", "仅一方得知：己方匹配行数"),
    "one-side-same": ("one side learns: the very same customers", "仅一方得知：客户逐一相同"),
    "peer-nothing": ("one side learns: the other side receives nothing", "仅一方得知：另一方没有结果"),
    "both": ("both learn: joined rows", "双方得知：连接行数"),
    "both-same": ("both learn: same customer in every row, same order", "双方得知：逐行为同一客户，次序一致"),
    "size": ("only the size: common customers", "只得知规模：共同客户数"),
    # b
    "act-totals": ("Totals over four lenders", "四家机构的合计"),
    "totals-intro": (
        "{name} asks for open applications and debt per product, over all four. Nobody sees another's total.",
        "{name}查询四家机构按产品汇总的在途申请与负债。任何一方都看不到他方的小计。",
    ),
    "applications": ("{segment}: open applications", "{segment}：在途申请数"),
    "debt": ("{segment}: debt, CNY", "{segment}：负债（元）"),
    "count": ("{segment}: loans", "{segment}：贷款笔数"),
    "act-applicant": ("One applicant, elsewhere", "一位申请人在他处的情况"),
    "applicant-intro": (
        "{name} asks for an applicant's totals at the three others, before it lends. None of them learns whom it asks "
        "for, and {name} does not learn which of them knows the person.",
        "{name}在放款前查询一位申请人在其余三家的合计。三家都不获知所查何人，{name}也不获知哪一家有此人。",
    ),
    "applicant": (
        "known to {holders} of 3: open applications, debt, holders",
        "3 家中有 {holders} 家：申请数、负债、家数",
    ),
    "applicant-receipts": ("the receipt counts these calls", "回执记录的调用次数"),
    # c
    "act-patched": ("A cheating asker", "作弊的请求方"),
    "patched-intro": (
        "{asker} wants to match phone numbers with {owner}. No grant permits that.",
        "{asker}想用手机号与{owner}匹配，而没有任何授权允许。",
    ),
    "own-refusal": ("{asker}'s own node refuses", "{asker}自己的节点拒绝"),
    "patched-run": (
        "Now {asker} runs a patched node that approves everything, and asks again.",
        "现在{asker}改用一个什么都批准的篡改节点，再次请求。",
    ),
    "owner-refusal": ("{owner}'s node refuses", "{owner}的节点拒绝"),
    "names-column": ("it names the column", "指明列"),
    "names-grant": ("it names the grant that is missing", "指明缺少的授权"),
    "owner-says": ("{owner} reads: {text}", "{owner}看到：{text}"),
    "owner-grant": (
        "The grant that would do, if {owner} wished: {grant}",
        "若{owner}愿意，所需的授权：{grant}",
    ),
    "asker-says": ("{asker} reads only: {code}, column {column}", "{asker}只看到：{code}，列 {column}"),
    # d
    "act-steward": ("A steward decides", "由数据管理员审批"),
    "steward-intro": (
        "For the purpose of fraud the agreement asks for a person at {owner}.",
        "协议规定，用于反欺诈时须由{owner}的专人审批。",
    ),
    "waits": ("the job waits", "作业等待审批"),
    "analyst-no": ("an analyst of {owner} cannot approve", "{owner}的分析员无权审批"),
    "steward": ("Wang Fang", "王芳"),
    "approved-by": ("{person} read the disclosure statement and approved.", "{person}阅读披露声明后批准。"),
    "then-runs": ("then it runs: common customers", "随后运行：共同客户数"),
    # e
    "act-killed": ("kill -9 in the middle of a job", "作业进行中 kill -9"),
    "killed-intro": (
        "{asker} matches with {owner}; the agreement allows one run a day. {owner}'s node is killed meanwhile.",
        "{asker}与{owner}匹配，协议规定每日一次。其间{owner}的节点被强行终止。",
    ),
    "ends": ("the job ends at {asker} with a reason", "作业在{asker}处终止并说明原因"),
    "within": (
        "within {limit} s ({silence} s of silence are allowed)",
        "在 {limit} 秒之内（允许静默 {silence} 秒）",
    ),
    "reason": ("{asker} reads after {seconds} s: {text}", "{asker}在 {seconds} 秒后看到：{text}"),
    "charges-before": ("runs charged by {owner} before", "此前{owner}已计次数"),
    "charges-killed": ("runs charged after the kill", "被终止后已计次数"),
    "restarted": (
        "{owner}'s node is up again. The same job runs again.",
        "{owner}的节点已恢复，同一作业重新运行。",
    ),
    "rerun": ("the rerun succeeds: common customers", "重新运行成功：共同客户数"),
    "charges-after": ("runs charged after the rerun", "重新运行后已计次数"),
    "second-run": ("a second job of that day", "当日第二个作业"),
    # f
    "act-revoked": ("A revocation stops the next call", "撤销后下一次调用即停止"),
    "revoked-intro": (
        "{owner} revokes the agreement. {asker} asks at once for what it was given a minute ago.",
        "{owner}撤销协议。{asker}随即请求一分钟前还能得到的结果。",
    ),
    "revoked": ("the call is refused", "调用被拒绝"),
    # g
    "act-ledger": ("One flipped byte in a ledger", "账本中翻转一个比特"),
    "ledger-intro": (
        "{name} exports its ledger of the agreement. Anyone can check the copy offline, with the signatories' keys.",
        "{name}导出该协议的账本。任何人都可凭签署方的公钥离线核验副本。",
    ),
    "untouched": ("the copy as exported", "导出的副本"),
    "flipped": ("the same with one bit changed, checksums mended", "改动一个比特并修补校验和之后"),
    "verifier": ("The verifier says: {text}", "核验结果：{text}"),
    "fits": ("fits", "相符"),
    "caught": ("caught", "被发现"),
    "missed": ("missed", "未发现"),
    # h
    "act-bills": ("What the month costs", "本月费用"),
    "bills-intro": (
        "{payer} and {owner} each compute what {payer} owes {owner}, from their own copies of the receipts.",
        "{payer}与{owner}各自根据所持收据计算{payer}应付{owner}的费用。",
    ),
    "bills-runs": ("runs of {payer} that {owner} bills", "{owner}向{payer}计费的次数"),
    "bills-owes": ("{payer} owes, by its own statement", "{payer}自算应付"),
    "bills-owed": ("{owner} is owed, by its own statement", "{owner}自算应收"),
    "bills-equal": ("both statements are the same to the byte", "双方账单逐字节相同"),
    # i
    "act-audit": ("A third party checks", "第三方核查"),
    "audit-intro": (
        "{name} writes one file for an auditor. It is checked by a process with no key, no node and no network.",
        "{name}为审计方导出一个文件，由一个没有密钥、节点与网络的进程核查。",
    ),
    "audit-clean": ("exit code for the file", "对该文件的退出码"),
    "audit-forged": ("exit code for a copy with one bit changed", "对改动一个比特的副本的退出码"),
    "audit-reason": ("Of the changed copy it says: {text}", "对改动的副本，结果为：{text}"),
    # j
    "act-replay": ("A job is run again", "重放一个作业"),
    "replay-intro": (
        "{name} kept its seed and what it received. Its side of a job runs again, and each message is compared. Then "
        "one value of its table is changed.",
        "{name}保留了种子与所收消息。其一侧的作业重新运行，逐条比对消息；随后改动其数据表中的一个值。",
    ),
    "replay-honest": ("honestly: every message comes out again", "如实重放：每条消息均一致"),
    "replay-changed": ("with one input value changed: it agrees", "改动一个输入值之后：一致"),
    "replay-says": ("The replay says: {text}", "重放结果：{text}"),
    # k
    "act-next": ("On two real machines", "在两台真实的机器上"),
    "next-here": ("on each, with its own name and address:", "在每台机器上，用各自的名称与地址："),
    "next-pair": (
        "then pair; both compare the words on the telephone:",
        "然后配对，双方在电话里核对四个词：",
    ),
    "next-on-a": ("on A", "在 A"),
    "next-on-b": ("on B", "在 B"),
    "next-data": (
        "README.md goes on from there: tables, an agreement, the first job.",
        "之后见 README.md：数据表、协议、第一个作业。",
    ),
    # common
    "answer": ("answer", "答案"),
    "atoll": ("Atoll", "Atoll"),
    "plaintext": ("pooled in clear", "明文汇总"),
    "plaintext-tables": ("tables in clear", "明文数据表"),
    "plaintext-rules": ("rules in clear", "明文规则"),
    "expected": ("expected", "应为"),
    "learns": ("Who learns what (disclosure statement):", "谁得知什么（披露声明）："),
    "receipt": (
        "Receipt: signed by {signed} of {parties}; plan {plan}; {bytes} bytes sent; result committed {rows} rows.",
        "回执：{parties} 方中 {signed} 方已签署；计划 {plan}；发送 {bytes} 字节；结果承诺 {rows} 行。",
    ),
    "more": ("and {count} more of them, in the job and in its receipt", "另有 {count} 句，见作业及其回执"),
    "signed": ("the receipt is signed by all", "回执由各方签署"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "failed": ("This act did not finish: {text}", "这一幕没有完成：{text}"),
    "good": ("All {count} checks are right. {seconds} s.", "全部 {count} 项核对无误，用时 {seconds} 秒。"),
    "bad": (
        "{bad} of {count} checks are WRONG. {seconds} s.",
        "{count} 项核对中有 {bad} 项错误，用时 {seconds} 秒。",
    ),
    "kept": ("Kept: {folder}", "已保留：{folder}"),
    "interrupted": (
        "Interrupted. Everything that the demo started is stopped and removed.",
        "已中断。演示启动的一切均已停止并清除。",
    ),
    # own data
    "act-own": ("Overlap of your files", "您的文件的重叠"),
    "own-intro": (
        "{left} holds {left_file}, {right} holds {right_file}. They match on {keys}.",
        "{left}持有 {left_file}，{right}持有 {right_file}，按 {keys} 匹配。",
    ),
}


WORDS |= CLAIMS | SUBSIDY


def say(language: Language, key: str, **facts: object) -> str:
    """A sentence of `WORDS`, filled in."""
    return WORDS[key][LANGUAGES.index(language)].format(**facts)
