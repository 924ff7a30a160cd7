"""The explicit list of what is SQL in the code."""

from segments.definition import Coded
from segments.rfm import RFM

CODED: dict[str, Coded] = {each.name: each for each in (RFM,)}
