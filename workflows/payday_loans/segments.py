"""Whom a lender writes to for what they have not done, or not for long. A month is 30 days."""

from segments.definition import Segment

SEGMENTS = (
    Segment(
        "new_customers",
        "Registered at most three months ago, and has not applied for a loan.",
        {
            "all": [
                {"first": "registration_completed", "within": "P91D"},
                {"not": {"event": "loan_application_submitted"}},
            ]
        },
    ),
    Segment(
        "repeat_customers",
        "Repaid at least one loan, the last at most six months ago.",
        {"last": "loan_repaid", "within": "P183D"},
    ),
    Segment(
        "churned_customers",
        "Not on the site for 180 days, or for 18 months if they ever had a loan.",
        {
            "any": [
                {"all": [{"not": {"event": "loan_issued"}}, {"event": "*", "not_within": "P180D"}]},
                {"all": [{"event": "loan_issued"}, {"event": "*", "not_within": "P548D"}]},
            ]
        },
    ),
)
