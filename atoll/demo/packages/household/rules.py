# mypy: ignore-errors
def decide(household, benefits, today):
    if household is None:
        return None
    running = [line for line in benefits if line["kind"] == "housing" and line["until"] >= today]
    return {"size": household["size"], "subsidised": len(running) > 0}
