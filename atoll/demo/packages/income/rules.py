# mypy: ignore-errors
# Fen a head and month.
LOW = 250000
MIDDLE = 400000


def decide(incomes, arguments):
    total = 0
    known = False
    for line in incomes:
        if line["year"] == arguments["year"]:
            if line["amount"] is None:
                return None
            total += line["amount"]
            known = True
    if not known:
        return None
    share = total // (12 * arguments["members"])
    if share < LOW:
        return {"band": "low"}
    return {"band": "middle" if share < MIDDLE else "high"}
