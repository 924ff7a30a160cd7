"""The packs' stories: kinds of people and how they live, one file each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cli.demo.pack import Pack
from cli.demo.packs import car_credit, car_dealer, instalments, mortgage_agents, payday_loans


class PackName(StrEnum):
    """The packs that can be played."""

    CAR_CREDIT = "car_credit"
    PAYDAY_LOANS = "payday_loans"
    CAR_DEALER = "car_dealer"
    MORTGAGE_AGENTS = "mortgage_agents"
    INSTALMENTS = "instalments"


PACKS: Mapping[PackName, Pack[Any]] = {
    PackName(pack.PACK.name): pack.PACK for pack in (car_credit, payday_loans, car_dealer, mortgage_agents, instalments)
}
