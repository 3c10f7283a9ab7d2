"""Statistics over the rows that two owners have in common: nobody learns which rows they are."""
