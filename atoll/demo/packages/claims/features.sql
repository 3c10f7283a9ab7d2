-- Fen billed, lines of the bill, and days of the stay: what the model of risk looks at.
SELECT
    coalesce((SELECT cast(sum(b.quantity * b.price * 100) AS BIGINT) FROM bills AS b), 0)
        + coalesce((SELECT cast(sum(p.quantity * p.price * 100) AS BIGINT) FROM prescriptions AS p), 0) AS billed,
    (SELECT count(*) FROM bills) + (SELECT count(*) FROM prescriptions) AS items,
    coalesce((SELECT date_diff('day', c.admitted, c.discharged) FROM claim AS c), 0) AS days
