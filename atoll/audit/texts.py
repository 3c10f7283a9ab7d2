"""What an audit finds, in plain words: `ok` is proved, `note` is not proved or for the reader, `bad` is wrong."""

from __future__ import annotations

from atoll.ledger.report import TEXTS as LEDGER_TEXTS
from atoll.ledger.report import Texts

_LIMITS_EN = (
    "Not proved by any such file: that the data were true, that a claimed time is right, that a party computed "
    "with the committed version and nothing else (a replay audit shows that), or that nothing happened outside "
    "the logs. Only the entries that were asked for are in the file."
)
_LIMITS_ZH = (
    "此类文件均不能证明：数据属实、所声称的时间正确、参与方只用所承诺的版本计算（这由重放审计证明），"
    "或日志之外没有发生任何事。文件中只有所请求的记录。"
)

TEXTS: Texts = {
    **{code: LEDGER_TEXTS[code] for code in ("container", "member-damaged", "manifest", "untrusted", "keys")},
    "log-whole": (
        "ok",
        "{owner}: all {count} entries of its log are in the file, in the order that it signed.",
        "{owner}：其日志的全部 {count} 条记录均在文件中，次序与其签名一致。",
    ),
    "log-part": (
        "ok",
        "{owner}: {count} of the {size} entries of its log are in the file, each proved to stand in the log that "
        "it signed.",
        "{owner}：其日志 {size} 条记录中的 {count} 条在文件中，每条均证明位于其签名的日志内。",
    ),
    "closed": (
        "note",
        "{owner}: entries in the file by their commitments only, without what they say: {count}.",
        "{owner}：有 {count} 条记录仅以承诺形式出现在文件中，未展示其内容。",
    ),
    "log-bad": ("bad", "The log of {owner} does not hold: {reason}.", "{owner} 的日志不成立：{reason}。"),
    "absent": (
        "note",
        "No log by {owner} is in the file: what it alone recorded is not proved.",
        "文件中没有 {owner} 的日志：仅由其记录的内容未获证明。",
    ),
    "document": (
        "bad",
        "Entry {index} of {owner} ({kind}) does not hold what it claims: {reason}.",
        "{owner} 的第 {index} 条记录（{kind}）与其声称不符：{reason}。",
    ),
    "no-signatory": (
        "bad",
        "The file holds a log of {owner}, who signs no version of the agreement that is in it.",
        "文件含有 {owner} 的日志，而其并非文件中任何协议版本的签署方。",
    ),
    # Authorised, and by whom.
    "agreement": (
        "ok",
        "Agreement {agreement}, version {version}, is signed by all its signatories: {names}.",
        "协议 {agreement} 第 {version} 版由全部签署方签署：{names}。",
    ),
    "agreement-unsigned": (
        "bad",
        "Agreement {agreement}, version {version}, lacks the signature of {names}.",
        "协议 {agreement} 第 {version} 版缺少 {names} 的签名。",
    ),
    "agreement-absent": (
        "note",
        "Not proved: jobs that rest on agreement versions that are not in the file: {count} ({jobs}).",
        "未证明：{count} 个任务所依据的协议版本不在文件中（{jobs}）。",
    ),
    "revoked": (
        "note",
        "{name} revoked the agreement, by its own clock on {time}.",
        "{name} 撤销了协议，其时钟显示 {time}。",
    ),
    "authorised": (
        "ok",
        "Authorised jobs: {count}. Each plan is signed by its asker, approved by every party, and fits an agreement "
        "that all signed; where it runs a package, the package's host consented to it.",
        "{count} 个任务获得授权：方案由发起方签名，经各方批准，且符合全体签署的协议；运行脚本包的，已获其托管方同意。",
    ),
    "approved-rule": (
        "ok",
        "{name}: plans approved by the agreement itself, without a person: {count}.",
        "{name} 依协议自动批准了 {count} 个方案，无人工参与。",
    ),
    "approved-person": (
        "ok",
        "{name}: plans approved by a person, {by}: {count}.",
        "{name} 人工批准了 {count} 个方案：{by}。",
    ),
    "unauthorised": (
        "bad",
        "Jobs that gave something out without being authorised: {count} ({jobs}): {reason}.",
        "{count} 个任务在未获授权的情况下给出了结果：{reason}（{jobs}）。",
    ),
    "authority-unknown": (
        "note",
        "Not proved: jobs that gave something out whose plan, an approval, or the consent to its package is not in the "
        "file: {count} ({jobs}).",
        "未证明：{count} 个给出结果的任务，其方案、批准或对脚本包的同意不在文件中（{jobs}）。",
    ),
    "refused": (
        "note",
        "Refused plans: {count}. They gave nothing out.",
        "{count} 个方案被拒绝，未给出任何结果。",
    ),
    # Validity.
    "valid": (
        "ok",
        "{name}: results and blocks of calls that it released: {count}. The agreement was valid then, by its own "
        "clock, and not revoked.",
        "{name} 放行了 {count} 个结果或调用区块，按其时钟均在协议有效期内且未被撤销。",
    ),
    "invalid": (
        "bad",
        "{name}: results released outside the agreement's validity or after a revocation: {count} ({jobs}).",
        "{name} 在协议有效期之外或撤销之后放行了 {count} 个结果（{jobs}）。",
    ),
    "release-absent": (
        "note",
        "Not proved: receipts whose release by {name} is not in the file: {count} ({jobs}).",
        "未证明：{count} 份收据，其由 {name} 放行的记录不在文件中（{jobs}）。",
    ),
    # Quota.
    "quota": (
        "ok",
        "{name}, {asset}: {partner} used at most {most} of {limit} {unit} in {span}.",
        "{name} 的 {asset}：{partner} 在 {span_zh} 内至多使用 {most}，限额 {limit}（{unit_zh}）。",
    ),
    "quota-exceeded": (
        "bad",
        "{name}, {asset}: {partner} used {most} of {limit} {unit} in {span}: more than was agreed ({jobs}).",
        "{name} 的 {asset}：{partner} 在 {span_zh} 内使用了 {most}，超过限额 {limit}（{unit_zh}）（{jobs}）。",
    ),
    "quota-unknown": (
        "note",
        "Not proved: {name}, {asset}: whether {partner} kept within {limit} {unit} in {span}. The file lacks "
        "entries of {name} of that time; export whole months.",
        "未证明：{name} 的 {asset}：{partner} 是否在 {span_zh} 内未超过 {limit}（{unit_zh}）。"
        "文件缺少 {name} 该时段的记录，请按整月导出。",
    ),
    "undebited": (
        "bad",
        "{name}: results or blocks released without the debit that belongs to them: {count} ({jobs}).",
        "{name} 放行了 {count} 个结果或区块而未按协议扣减额度（{jobs}）。",
    ),
    # Receipts.
    "receipted": (
        "ok",
        "Receipts signed by all parties, which state what plan, approvals and agreement state: {count}.",
        "{count} 份收据由各方签署，且与方案、批准和协议一致。",
    ),
    "receipt-unsigned": (
        "note",
        "Releases without a receipt that {names} all signed: {count} ({jobs}). Their provisional receipts stand.",
        "{count} 次放行没有全体签署的收据；文件中没有 {names} 的签名。临时收据仍然有效（{jobs}）。",
    ),
    "receipt-differs": (
        "bad",
        "Receipts that do not fit plan, approvals or agreement: {count} ({jobs}): {reason}.",
        "{count} 份收据与其方案、批准或协议不符：{reason}（{jobs}）。",
    ),
    "receipt-unchecked": (
        "note",
        "Receipts signed by all they name, but not compared with plan, approvals and agreement, of which one is not "
        "in the file: {count} ({jobs}).",
        "{count} 份收据由其所列各方签署，但方案、批准或协议不在文件中，故未予比对（{jobs}）。",
    ),
    "disputed": (
        "note",
        "Receipts that {name} disputed: {count} ({jobs}).",
        "{name} 对 {count} 份收据提出异议（{jobs}）。",
    ),
    "unfinished": (
        "note",
        "Jobs that did not end well ({outcome}): {count} ({jobs}).",
        "{count} 个任务未正常结束：{outcome}（{jobs}）。",
    ),
    # Consent.
    "consent-none": (
        "note",
        "Receipts of computations for which the agreement asks no consent of data subjects: {count}.",
        "{count} 份收据所涉计算，协议不要求数据主体授权。",
    ),
    "consent-bound": (
        "note",
        "Calls that had to carry consent ({mode}): {calls}, in {count} blocks. Opened in this file: {opened}. Of the "
        "others the file does not prove it.",
        "{count} 个区块中的 {calls} 次调用须附授权（{mode}）；本文件展示了其中 {opened} 次，其余未在此证明。",
    ),
    "consent-shown": (
        "ok",
        "Opened calls that rest on an authorisation which its issuer signed, which names asker, purpose and function, "
        "and which was valid then: {count}.",
        "{count} 次展示的调用均有授权：由签发人签署，载明发起方、目的与功能，且当时有效。",
    ),
    "consent-bad": (
        "bad",
        "Call {call} of block {block} of {job} has no consent that holds: {reason}.",
        "{job} 第 {block} 区块第 {call} 次调用没有有效授权：{reason}。",
    ),
    "consent-unknown": (
        "note",
        "Call {call} of block {block} of {job} is opened, but the receipt of its block is not in the file.",
        "{job} 第 {block} 区块第 {call} 次调用已展示，但该区块的收据不在文件中。",
    ),
    # Witnesses.
    "witnessed": (
        "ok",
        "{owner}: {name} has seen {count} of the {size} entries of its log, by its own clock on {time}.",
        "{owner}：{name} 已见证其日志 {size} 条记录中的 {count} 条，其时钟显示 {time}。",
    ),
    "stranger": (
        "note",
        "{owner}: {name} has cosigned its log, but the agreement names it neither as signatory nor as witness; it "
        "counts for nothing.",
        "{owner}：{name} 见证了其日志，但协议既未将其列为签署方也未列为见证人，不予计入。",
    ),
    "quorum": (
        "ok",
        "{owner}: at least {quorum} of the witnesses that the agreement names have seen every entry in the file up "
        "to entry {last}.",
        "{owner}：协议所指定的见证人中至少 {quorum} 个已见证文件中截至第 {last} 条的全部记录。",
    ),
    "no-quorum": (
        "note",
        "{owner}: the agreement asks for {quorum} witnesses; entries of the file after entry {last} have not been "
        "seen by so many.",
        "{owner}：协议要求 {quorum} 个见证人；文件中第 {last} 条之后的记录尚未被如此多的见证人见证。",
    ),
    "unseen": (
        "note",
        "{owner}: entries in the file that nobody else has seen, which their owner could still replace: {count}.",
        "{owner}：文件中有 {count} 条记录尚无他人见证，其所有者仍可能替换。",
    ),
    # Bills and replays.
    "billed": (
        "ok",
        "{by}, {month}: the statement for {partner} follows from the receipts in the file, to the minor unit.",
        "{by}，{month}：对 {partner} 的账单与文件中的收据相符，分毫不差。",
    ),
    "billed-differs": (
        "bad",
        "{by}, {month}: the statement for {partner} does not follow from the receipts in the file: {reason}.",
        "{by}，{month}：对 {partner} 的账单与文件中的收据不符：{reason}。",
    ),
    "billed-unknown": (
        "note",
        "Not proved: whether {by}'s statement for {partner} of {month} follows from the receipts: {reason}.",
        "未证明：{by} 对 {partner} 的 {month} 账单是否与收据相符：{reason}。",
    ),
    "bill-disputed": (
        "note",
        "{by} recorded that its statement of {month} differs from that of {partner}.",
        "{by} 记录其 {month} 账单与 {partner} 的不一致。",
    ),
    "no-bill": (
        "note",
        "No statement is in the file. Receipts in it that carry a price: {count}. Amounts: {amounts}.",
        "文件中没有账单。其中 {count} 份收据有价，金额为：{amounts}。",
    ),
    "replayed": (
        "ok",
        "{name}: jobs whose own side was run again at {host}, and everything that it sent follows from the committed "
        "inputs, as {host} signed: {count} ({jobs}).",
        "{name}：{count} 个任务中其自身一侧在 {host} 重放，所发内容均由所承诺的输入得出，由 {host} 签名（{jobs}）。",
    ),
    "replay-failed": (
        "bad",
        "{name}: jobs whose own side was run again at {host}, and it did not agree with the record: {count} ({jobs}).",
        "{name}：{count} 个任务中其自身一侧在 {host} 重放，与记录不符（{jobs}）。",
    ),
    "replay-stranger": (
        "note",
        "{name}: reports of replays by {host}, which is neither the party itself nor a host that the agreement names: "
        "{count} ({jobs}). They count for nothing.",
        "{name}：有 {count} 份由 {host} 出具的重放报告，其既非当事方亦非协议所列主机，不予计入（{jobs}）。",
    ),
    "replay-other": (
        "note",
        "{name}: jobs whose own side was run again at {host}, against a receipt that is not in the file: {count} "
        "({jobs}).",
        "{name}：{count} 个任务中其自身一侧在 {host} 重放，所比对的收据不在文件中（{jobs}）。",
    ),
    "limits": ("note", _LIMITS_EN, _LIMITS_ZH),
}
