"""Whom a car marketplace's credit service may interest."""

from segments.definition import Segment

SEGMENTS = (
    Segment(
        "credit_interest_hot",
        "Looked at what credit is and has not applied: saw the promotion, used the calculator, or followed the link.",
        {
            "all": [
                {
                    "event": ["credit_promo_viewed", "credit_calculator_used", "credit_link_clicked"],
                    "within": "P1D",
                },
                {"not": {"event": "credit_application_submitted", "within": "P1D"}},
            ]
        },
    ),
    Segment(
        "credit_interest_cold",
        "Is choosing a car: viewed many listings, kept some, bought a history report or called sellers.",
        {
            "all": [
                {
                    "any": [
                        {"event": "listing_viewed", "at_least": 20, "within": "P14D"},
                        {"event": "favourite_added", "at_least": 3, "within": "P14D"},
                        {"event": "history_report_bought", "within": "P14D"},
                        {"event": "seller_called", "within": "P14D"},
                    ]
                },
                {"not": {"event": "credit_application_submitted", "within": "P14D"}},
            ]
        },
    ),
)
