# mypy: ignore-errors
RISK_LIMIT = 80
MOST = 5000000


def refuse(reason: str):
    return {"decision": "refuse", "pay": 0, "reasons": [reason]}


def covered(quantity: int, price: int, cap: int, rate_bp: int) -> int:
    """Fen that are paid of one line: its price up to the cap, at the rate."""
    return quantity * min(price, cap) * rate_bp // 10000


def decide(claim, bills, prescriptions, tariff, formulary, exclusions, arguments, risk):
    if claim is None:
        return refuse("no_claim")
    if claim["discharged"] is None:
        return None
    if exclusions(claim["diagnosis"]) is not None:
        return refuse("excluded")
    total = 0
    unlisted = False
    capped = False
    for line in bills:
        entry = tariff(line["item"])
        if entry is None:
            unlisted = True
        else:
            capped = capped or line["price"] > entry["cap"]
            total += covered(line["quantity"], line["price"], entry["cap"], entry["rate_bp"])
    for line in prescriptions:
        entry = formulary(line["drug"])
        if entry is None:
            unlisted = True
        else:
            capped = capped or line["price"] > entry["cap"]
            total += covered(line["quantity"], line["price"], entry["cap"], entry["rate_bp"])
    total -= arguments["deductible"]
    if total <= 0:
        return refuse("deductible")
    if risk is None or risk >= RISK_LIMIT:
        return {"decision": "check", "pay": 0, "reasons": ["unusual"]}
    reasons = []
    if unlisted:
        reasons.append("unlisted")
    if capped:
        reasons.append("capped")
    if total > arguments["remaining"]:
        reasons.append("remaining")
    pay = min(total, arguments["remaining"], MOST)
    return {"decision": "approve", "pay": pay // 100 * 100, "reasons": reasons}
