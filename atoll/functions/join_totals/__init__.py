"""Count and sums over the rows that two tables have in common, without anybody learning which rows they are."""
