"""What the story of the subsidy says, in English and Chinese."""

from __future__ import annotations

SUBSIDY: dict[str, tuple[str, str]] = {
    "subsidy-title": (
        "Atoll: may this family get the subsidy? Three offices each compute their part; only outcomes meet.",
        "Atoll：这个家庭能否领取补贴？三个部门各算各的部分，汇合的只有结果。",
    ),
    "department": ("Housing Office", "住房保障局"),
    "registry": ("Business Registry", "市场监管局"),
    "tax": ("Tax Office", "税务局"),
    "civil": ("Civil Affairs", "民政局"),
    "subsidy-table": ("{office} holds {table}: {rows} rows", "{office}存有 {table}：{rows} 行"),
    "subsidy-paired": (
        "4 nodes run; {department} is paired with each of the three. They are not paired with each other.",
        "4 个节点已启动；{department}与三个部门分别配对，三个部门之间互不相连。",
    ),
    "subsidy-agreed": (
        "{department} signed an agreement with each: which columns scripts may read for the housing subsidy. None of "
        "them is a name, an identity number, a telephone or a company.",
        "{department}与每个部门各签一份协议，写明脚本可为住房补贴读取哪些列，其中没有姓名、证件号、电话或企业名称。",
    ),
    # a
    "act-subsidy-deploy": ("Each office consents to its own part", "各部门同意各自的部分"),
    "subsidy-deploy-intro": (
        "{department} writes three packages and publishes one to each office. Each reads its own page.",
        "{department}编写三个脚本包，各发布给一个部门，由其审阅各自的说明页。",
    ),
    "subsidy-cases": (
        "tests of the three parts on their author's samples that pass",
        "三个部分在作者样例上通过的测试",
    ),
    "subsidy-reads": (
        "{office}: reads agreed columns of its own tables alone",
        "{office}：只读取自有且约定的列",
    ),
    "subsidy-personal": ("{office}: of them personal", "{office}：其中个人信息"),
    "subsidy-bits": ("{office}: bits that can leave with one call", "{office}：每次调用最多可带出的比特数"),
    # b
    "act-subsidy-ask": ("Eighty families apply", "八十个家庭申请"),
    "subsidy-ask-intro": (
        "{department} asks all three at once, in batches, and combines what each says by a few lines of its own.",
        "{department}同时向三个部门批量询问，再用自己的几行代码合并各方结果。",
    ),
    "subsidy-yes": ("gets the subsidy", "可以领取"),
    "subsidy-no": ("does not", "不可领取"),
    "subsidy-check": ("is not as many as it says", "人口与申报不符"),
    "subsidy-open": ("no decision: a value is missing", "无决定：缺少数据"),
    "subsidy-each": ("the same verdict, family by family", "逐户结论一致"),
    "subsidy-single": ("{family} alone, three calls at once", "单独询问 {family}，三个调用同时进行"),
    "subsidy-seconds": (
        "The three calls about one family took {ms} ms together.",
        "关于一个家庭的三个调用共用 {ms} 毫秒。",
    ),
    # c
    "act-subsidy-learned": ("Who learned what", "谁得知了什么"),
    "subsidy-learned-intro": (
        "Each part has a disclosure statement of its own. The offices learn nothing of each other.",
        "每个部分各有披露声明。三个部门互不得知。",
    ),
    "subsidy-part": ("{office}, {package}:", "{office}，{package}："),
    "subsidy-received": ("received from {office}: only", "从{office}收到：仅"),
    "subsidy-there": ("decided at {office}: only", "在{office}作出：仅"),
    "subsidy-control": ("the family that was asked about stands in what crossed", "传输内容中有所询问的家庭"),
    "subsidy-planted": (
        "names, identity numbers, telephones, incomes in it, of {count}, in any form",
        "其中的姓名、证件号、电话、收入（共 {count} 个，任何形式）",
    ),
    # d
    "act-subsidy-change": ("A rule changes while it is called", "规则在调用中变更"),
    "subsidy-change-intro": (
        "The limit of a low income rises from 2,500 to 3,000 yuan a head and month. {office} reviews the change; "
        "{department} keeps calling.",
        "低收入标准由人均每月 2,500 元上调至 3,000 元。{office}审阅变更，{department}持续调用。",
    ),
    "subsidy-change-unasked": ("answers by 1.1.0 before the consent", "同意之前由 1.1.0 给出的答案"),
    "subsidy-change-by": ("calls answered by {version}", "由 {version} 答复的调用"),
    "subsidy-change-lost": ("calls lost or refused meanwhile", "其间丢失或被拒的调用"),
    "subsidy-change-mixed": (
        "answers that differ from the rule of their version",
        "与所属版本规则不符的答案",
    ),
    "subsidy-change-lifted": ("the band of {family}, which was {was}", "{family} 的收入区间（原为 {was}）"),
    "subsidy-change-once": ("decisions at the office for each call", "部门处每次调用的决定数"),
    # e
    "act-subsidy-quality": ("A missing value is reported to its owner", "缺失数据反馈给所有者"),
    "subsidy-quality-intro": (
        "For some families no decision came. {department} sees no row; it tells {office} what it suspects, and "
        "{office} mends its table.",
        "部分家庭没有决定。{department}看不到任何一行，只把疑问告知{office}，由{office}修正数据表。",
    ),
    "subsidy-quality-before": ("before: no decision", "此前：无决定"),
    "subsidy-quality-told": ("{office} is told", "{office}获知"),
    "subsidy-quality-family": ("and which family", "以及是哪个家庭"),
    "subsidy-quality-after": ("after: the band", "此后：收入区间"),
}
