"""The known operators. A plan with any other kind or version is refused.

Each operator is one file: its parameters, the edge that it derives, and its two rules `uses` and `discloses`.
"""

from atoll.plan.flow import Rule
from atoll.plan.operators import (
    calculate,
    echo,
    group_sum,
    hidden_join,
    hidden_totals,
    kept_psi,
    lookup,
    lookup_totals,
    masked_sum,
    normalise,
    open,
    psi,
    read,
    star_psi,
    total,
    visit,
    withhold,
)

OPERATORS: dict[str, Rule] = {
    module.RULE.kind: module.RULE
    for module in (
        read,
        normalise,
        psi,
        kept_psi,
        star_psi,
        hidden_totals,
        hidden_join,
        calculate,
        total,
        withhold,
        open,
        group_sum,
        masked_sum,
        echo,
        visit,
        lookup,
        lookup_totals,
    )
}

__all__ = ["OPERATORS"]
