# mypy: ignore-errors
def decide(shares):
    return {"owns": any(line["status"] == "active" and line["share_bp"] > 0 for line in shares)}
