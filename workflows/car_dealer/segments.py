"""Whom a dealer group's mailings are for."""

from segments.definition import Segment

SEGMENTS = (
    Segment(
        "contacted_not_bought",
        "Was in touch with a centre in the last six months, and bought nothing: whom the quiz is sent to.",
        {
            "all": [
                {"event": ["visit_booked", "visit_made", "centre_called"], "within": "P182D"},
                {"not": {"event": "contract_signed", "within": "P182D"}},
            ]
        },
    ),
)
