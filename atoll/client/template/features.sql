-- One row for a call; its tables hold the rows of the call's subject alone.
SELECT (SELECT count(*) FROM bills) AS items
