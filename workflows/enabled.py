"""The explicit list of all journeys that ship; a deployment enables packs or single ones."""

from typing import Any

from workflows.car_credit.abandoned_application import AbandonedApplication
from workflows.car_credit.refused_by_bank import RefusedByBank
from workflows.journey import Journey

JOURNEYS: tuple[type[Journey[Any]], ...] = (
    AbandonedApplication,
    RefusedByBank,
)
