"""Agents who have something in common."""

from segments.definition import Segment

SEGMENTS = (
    Segment(
        "agents_away_for_a_month",
        "Has not been on the platform for a month: no visit, no login, nothing they did themselves.",
        {"event": "*", "not_within": "P30D"},
    ),
)
