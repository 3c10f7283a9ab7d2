"""What the story of the claims says, in English and Chinese."""

from __future__ import annotations

CLAIMS: dict[str, tuple[str, str]] = {
    "claims-title": (
        "Atoll: an insurer's claim rules run at the hospital. Only whether to pay, and how much, leaves it.",
        "Atoll：保险公司的理赔规则在医院运行，离开医院的只有是否赔付与赔付金额。",
    ),
    "insurer": ("Clearwater Insurance", "清源保险"),
    "hospital": ("Riverside Hospital", "临江医院"),
    "claims-tables": (
        "{hospital} holds {claims} claims, {bills} lines of bills and {prescriptions} prescriptions, with names, "
        "identity numbers and telephones.",
        "{hospital}存有 {claims} 笔住院、{bills} 条费用明细与 {prescriptions} 条处方，含姓名、证件号与电话。",
    ),
    "claims-agreed": (
        "Both signed agreement {id}: scripts may read diagnosis, dates, age, items and prices, for claim settlement. "
        "Names, identity numbers and telephones are not in it.",
        "双方已签署协议 {id}：脚本可为理赔读取诊断、日期、年龄、项目与价格，不含姓名、证件号与电话。",
    ),
    "no-models": (
        "onnxruntime is not installed here: the package runs without its model of risk.",
        "此处未安装 onnxruntime：脚本包不带风险模型运行。",
    ),
    # a
    "act-claims-author": ("The insurer writes a package", "保险公司编写脚本包"),
    "claims-author-intro": (
        "Rules in Python, features in SQL, a model of risk, a tariff, a formulary: one folder, checked and tested by "
        "its author, without any node.",
        "Python 规则、SQL 特征、风险模型、价目与药品目录：一个文件夹，由作者自行检查与测试，无需节点。",
    ),
    "claims-findings": ("what the check finds", "检查发现的问题"),
    "claims-cases": ("tests on samples that pass", "通过的样例测试"),
    "claims-local": ("answers on samples equal the plain rules", "样例答案与明文规则一致"),
    "claims-slip": (
        "a rule that opens a file is refused, and the line named",
        "打开文件的规则被拒绝并指明行号",
    ),
    "claims-slip-text": ("The author reads: {text}", "作者看到：{text}"),
    "claims-packed": ("Signed as {name} {version}, {digest}.", "已签名为 {name} {version}，{digest}。"),
    # b
    "act-claims-review": ("The hospital reads, tries and consents", "医院审阅、试跑并同意"),
    "claims-review-intro": (
        "{insurer} publishes the package. At {hospital} it only arrives: the steward reads one page about it.",
        "{insurer}发布脚本包。它只是到达{hospital}：由数据管理员阅读一页说明。",
    ),
    "claims-reads": ("columns that it reads", "读取的列数"),
    "claims-personal": ("of them names, identity numbers, telephones", "其中姓名、证件号、电话"),
    "claims-depends": (
        "bill columns that the amount depends on, found in the code",
        "由代码得出：金额所依赖的费用列",
    ),
    "claims-bits": ("bits that can leave with one call", "每次调用最多可带出的比特数"),
    "claims-trial": (
        "trial on {count} own claims equals the plain rules",
        "在自有 {count} 笔数据上试跑，与明文规则一致",
    ),
    "claims-consent": ("the author learns of the consent", "作者得知同意"),
    "claims-bounds": (
        "{hospital} consents within bounds: {calls} calls a day, {bits} bits about one claim in a year, and a person "
        "looks at payments above {hold} yuan.",
        "{hospital}在限度内同意：每日 {calls} 次调用，每笔每年至多 {bits} 比特，超过 {hold} 元的赔付须人工审批。",
    ),
    # c
    "act-claims-decide": ("A hundred claims are decided", "一百笔理赔得到答复"),
    "claims-decide-intro": (
        "{insurer} asks about a hundred claims at once, and about ten more one by one.",
        "{insurer}一次询问一百笔，另逐一询问十笔。",
    ),
    "claims-batch": (
        "claims of the batch that are answered as the plain rules say",
        "批量中与明文规则一致的笔数",
    ),
    "claims-single": ("single calls that are", "单次调用中一致的笔数"),
    "claims-same": ("answers on samples, deployed as tested: the same", "样例答案：部署后与本地测试相同"),
    "claims-declared": ("answers with anything that is not declared", "含未声明内容的答案"),
    "claims-seconds": (
        "The batch of {count} took {ms} ms, the start of the package's service included.",
        "{count} 笔的批量调用用时 {ms} 毫秒（含启动脚本包服务）。",
    ),
    "claims-tried-intro": ("Tried on its own claims:", "在自有数据上试跑："),
    "claims-tried": ("{subject}: {decision}, {pay} fen", "{subject}：{decision}，{pay} 分"),
    "claims-tried-none": ("{subject}: no decision", "{subject}：无决定"),
    "claims-tried-more": (
        "and {count} more; none of this left the hospital",
        "另有 {count} 笔；均未离开医院",
    ),
    "claims-again": ("the same key again: the same answer", "相同幂等键：答案相同"),
    "claims-uncharged": ("and no further decision is charged", "且不再计费"),
    "claims-conflict": ("the same key for another claim", "同一键用于另一笔理赔"),
    "claims-budget": ("a third answer about one claim", "对同一笔的第三次答复"),
    "claims-explain": ("What the patient is told of claim {subject}:", "就理赔 {subject} 告知患者："),
    "claims-explain-data": ("values of the claim in what the patient is told", "告知内容中的理赔数据项"),
    # d
    "act-claims-wire": ("What crossed between the two", "两者之间传输了什么"),
    "claims-wire-intro": (
        "Every byte that the processes of both nodes sent was kept before TLS encrypted it, {bytes} bytes so far.",
        "两个节点各进程发送的每个字节在 TLS 加密前都已留存，至今 {bytes} 字节。",
    ),
    "claims-wire-control": ("the claim that was asked about stands in it", "其中有所询问的理赔号"),
    "claims-wire-planted": (
        "names, identity numbers, telephones in it, of {count}, in any form",
        "其中的姓名、证件号、电话（共 {count} 个，任何形式）",
    ),
    # e
    "act-claims-held": ("A large payment waits for a person", "大额赔付等待人工审批"),
    "claims-held-intro": (
        "Payments above {hold} yuan are held at {hospital}. {insurer} learns only that.",
        "超过 {hold} 元的赔付在{hospital}等待。{insurer}只得知这一点。",
    ),
    "claims-held-count": ("claims of the batch that wait", "批量中等待的笔数"),
    "claims-held-role": ("an analyst of {hospital} cannot release one", "{hospital}的分析员无权放行"),
    "claims-held-released": ("released, and asked for again: pay, fen", "放行后再次询问：赔付（分）"),
    "claims-held-denied": ("denied, and asked for again: no decision", "驳回后再次询问：无决定"),
    # f
    "act-claims-change": ("A changed rule needs a new consent", "规则变更须重新同意"),
    "claims-change-intro": (
        "From 1.1.0 on, patients of {age} and older pay no deductible, and a price rises. {insurer} keeps calling.",
        "自 1.1.0 起，{age} 岁及以上患者免除免赔额，并上调一项价格。{insurer}持续调用。",
    ),
    "claims-change-early": ("switching to 1.1.0 before the consent", "同意之前切换到 1.1.0"),
    "claims-change-unasked": ("answers by 1.1.0 before the consent", "同意之前由 1.1.0 给出的答案"),
    "claims-change-reads": ("what it reads that 1.0.0 does not", "比 1.0.0 多读取的列"),
    "claims-change-old": ("calls answered by 1.0.0", "由 1.0.0 答复的调用"),
    "claims-change-new": ("calls answered by 1.1.0", "由 1.1.0 答复的调用"),
    "claims-change-lost": ("calls lost or refused meanwhile", "其间丢失或被拒的调用"),
    "claims-change-mixed": (
        "answers that differ from the rules of their version",
        "与所属版本规则不符的答案",
    ),
    "claims-change-waived": ("{subject}, which was {was}: pay, fen", "{subject}（原为 {was}）：赔付（分）"),
    "claims-change-once": ("decisions at the hospital for each call", "医院处每次调用的决定数"),
    # g
    "act-claims-receipts": ("Receipts", "收据"),
    "claims-receipts-intro": (
        "{insurer} ends the service of 1.0.0 in order, so that its calls stand under a receipt. {hospital} withdraws "
        "its consent to it.",
        "{insurer}有序结束 1.0.0 的服务，其调用均列入收据。{hospital}撤回对它的同意。",
    ),
    "claims-receipts-signed": ("signed by both", "双方均已签署"),
    "claims-receipts-calls": ("calls in its blocks", "各区块中的调用数"),
    "claims-receipts-equal": ("the blocks at both sides are the same", "双方的区块相同"),
    "claims-receipts-stands": ("a call stands in block", "某次调用所在区块"),
    "claims-receipts-back": ("switching back to 1.0.0", "切换回 1.0.0"),
    "claims-receipts-newest": ("calls go on with", "调用继续使用"),
    # h
    "act-claims-reach": ("Packages that reach too far", "越界的脚本包"),
    "claims-reach-name": (
        "One refuses by the patient's name. Its page says so, and {hospital} refuses it.",
        "其一按患者姓名拒赔。说明页如实列出，{hospital}予以拒绝。",
    ),
    "claims-reach-name-page": ("the page names the column", "说明页指明的列"),
    "claims-reach-name-depends": ("the decision depends on it", "决定依赖该列"),
    "claims-reach-refused": ("at {insurer} it stands as", "在{insurer}处的状态"),
    "claims-reach-digit": (
        "One asks for amounts to the fen, and hides the patient's age in the last digits.",
        "其一要求金额精确到分，并把患者年龄藏在末位。",
    ),
    "claims-reach-digit-depends": (
        "the page says that the amount depends on the age",
        "说明页指出金额依赖年龄",
    ),
    "claims-reach-digit-bits": (
        "bits that could leave with one call, instead of {before}",
        "每次调用可带出的比特数（原为 {before}）",
    ),
    "claims-reach-step": (
        "One declares steps of a yuan, and hides the age all the same. The gate lets no such amount pass.",
        "其一声明以元为步长，却仍藏入年龄。闸门不放行这样的金额。",
    ),
    "claims-reach-step-passed": (
        "amounts that would leave, in a trial on {count} claims of which {would} are to be paid",
        "在 {count} 笔（其中 {would} 笔应赔付）上试跑：可离开的金额",
    ),
    "claims-reach-column": (
        "One computes with a telephone number that its manifest does not name. {insurer}'s node refuses to sign it; "
        "then {insurer} runs a patched node that signs everything.",
        "其一用清单中没有的电话号码计算。{insurer}的节点拒绝签名；随后{insurer}改用来者不拒的篡改节点。",
    ),
    "claims-reach-own": ("{insurer}'s own node", "{insurer}自己的节点"),
    "claims-reach-deploy": ("{hospital}'s node, whoever would consent", "{hospital}的节点，无论谁想同意"),
    "claims-reach-place": ("it names the line", "指明的行"),
    "claims-reach-says": ("{hospital} reads: {text}", "{hospital}看到：{text}"),
    "page-changes": ("What changes from {before} to {version}:", "从 {before} 到 {version} 的变化："),
}
