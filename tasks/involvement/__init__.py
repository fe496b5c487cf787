"""Who takes part in the fight: components, one composite score, the rank order, and who reaches the annotation.

    composite = sum over components of weight * component / sum of weights

Two scorers share the record and the order of steps: `default` (`components`) and `seed` (`seed`, the earlier scripts'
formulas).
"""

from tasks.involvement.ranking import rank_involvement
from tasks.involvement.selection import select_people

__all__ = ["rank_involvement", "select_people"]
