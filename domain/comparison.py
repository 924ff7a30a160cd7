"""Whether two shares differ by more than chance: the two-proportion z test."""

from dataclasses import dataclass
from math import erfc, sqrt


@dataclass(frozen=True)
class Comparison:
    """How two shares differ.

    Attributes:
        difference: The second share less the first.
        z: The difference in standard errors; 0 where nothing can be said.
        confidence: That there is a difference at all, two-sided: 1 less the p-value.
    """

    difference: float
    z: float
    confidence: float


def compare(first: int, of_first: int, second: int, of_second: int) -> Comparison | None:
    """Compare two shares by the two-proportion z test with the pooled variance; None if either is of nobody."""
    if not of_first or not of_second:
        return None
    difference = second / of_second - first / of_first
    pooled = (first + second) / (of_first + of_second)
    error = sqrt(pooled * (1 - pooled) * (1 / of_first + 1 / of_second))
    z = difference / error if error else 0.0
    return Comparison(difference, z, 1 - erfc(abs(z) / sqrt(2)))
