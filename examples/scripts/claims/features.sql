SELECT
    coalesce((SELECT cast(sum(b.quantity * b.price * 100) AS BIGINT) FROM bills AS b), 0) AS billed,
    (SELECT count(*) FROM bills) AS items,
    coalesce((SELECT date_diff('day', c.admitted, c.discharged) FROM claim AS c), 0) AS days
