EXCLUDED = ("cosmetic", "dental")


def covered(line: Bills, cap: int, rate_bp: int) -> int:
    """Fen that the tariff covers of one line of a bill."""
    price = line["price"]
    if price > cap:
        price = cap
    return line["quantity"] * price * rate_bp // 10000


def decide(claim, bills, tariff, arguments, features) -> dict:
    if claim is None:
        return {"decision": "refuse", "pay": 0, "reasons": ["no_claim"]}
    if claim["diagnosis"] in EXCLUDED:
        return {"decision": "refuse", "pay": 0, "reasons": ["excluded"]}
    total = 0
    reasons = []
    for line in bills:
        entry = tariff(line["item"])
        if entry is None:
            continue
        if line["price"] > entry["cap"] and "capped" not in reasons:
            reasons.append("capped")
        total += covered(line, entry["cap"], entry["rate_bp"])
    total -= arguments["deductible"]
    if total <= 0:
        return {"decision": "refuse", "pay": 0, "reasons": ["deductible"]}
    if total > arguments["insured"]:
        total = arguments["insured"]
        reasons.append("insured")
    pay = min(total, 5000000) // 100 * 100
    if features["billed"] > 20000000 or features["days"] > 180:
        return {"decision": "check", "pay": 0, "reasons": []}
    return {"decision": "approve", "pay": pay, "reasons": reasons}
