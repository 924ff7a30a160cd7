"""The explicit list of all journeys that ship, and those a deployment enables."""

from collections.abc import Iterable, Mapping
from typing import Any

from segments.definition import Segment
from workflows.car_credit import segments as car_credit
from workflows.car_credit.abandoned_application import AbandonedApplication
from workflows.car_credit.credit_interest_cold import CreditInterestCold
from workflows.car_credit.credit_interest_hot import CreditInterestHot
from workflows.car_credit.refused_by_bank import RefusedByBank
from workflows.car_dealer import segments as car_dealer
from workflows.car_dealer.after_visit import AfterVisit
from workflows.car_dealer.car_quiz import CarQuiz
from workflows.car_dealer.deal_review import DealReview
from workflows.car_dealer.lost_to_competitor import LostToCompetitor
from workflows.car_dealer.model_gallery import ModelGallery
from workflows.car_dealer.visit_booked import VisitBooked
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError
from workflows.instalments.first_purchase import FirstPurchase
from workflows.instalments.limit_reminder import LimitReminder
from workflows.journey import Journey
from workflows.mortgage_agents import segments as mortgage_agents
from workflows.mortgage_agents.curator_assigned import CuratorAssigned
from workflows.mortgage_agents.deal_stage import DealStage
from workflows.mortgage_agents.first_deal_survey import FirstDealSurvey
from workflows.mortgage_agents.reactivation import Reactivation
from workflows.mortgage_agents.welcome_by_segment import WelcomeBySegment
from workflows.payday_loans import segments as payday_loans
from workflows.payday_loans.abandoned_first_loan import AbandonedFirstLoan
from workflows.payday_loans.new_customer import NewCustomer
from workflows.payday_loans.refusal_block import RefusalBlock
from workflows.payday_loans.registration_chain import RegistrationChain
from workflows.payday_loans.repeat_customer import RepeatCustomer
from workflows.payday_loans.uncollected_loan import UncollectedLoan
from workflows.payday_loans.win_back import WinBack

JOURNEYS: tuple[type[Journey[Any]], ...] = (
    AbandonedApplication,
    RefusedByBank,
    VisitBooked,
    AfterVisit,
    LostToCompetitor,
    DealReview,
    CarQuiz,
    ModelGallery,
    CreditInterestHot,
    CreditInterestCold,
    WelcomeBySegment,
    CuratorAssigned,
    DealStage,
    FirstDealSurvey,
    Reactivation,
    FirstPurchase,
    LimitReminder,
    RegistrationChain,
    AbandonedFirstLoan,
    UncollectedLoan,
    NewCustomer,
    RepeatCustomer,
    RefusalBlock,
    WinBack,
)


SEGMENTS: Mapping[str, tuple[Segment, ...]] = {
    "car_credit": car_credit.SEGMENTS,
    "car_dealer": car_dealer.SEGMENTS,
    "mortgage_agents": mortgage_agents.SEGMENTS,
    "payday_loans": payday_loans.SEGMENTS,
}
"""Those of each pack; they come with any of its journeys."""


def enabled(names: Iterable[str]) -> list[type[Journey[Any]]]:
    """Return the journeys of some packs, and single ones by their own name.

    Raises:
        DeclarationError: No pack and no journey has that name.
    """
    wanted = set(names)
    chosen = [journey for journey in JOURNEYS if wanted & {journey.__name__, _pack(journey)}]
    unknown = wanted - {journey.__name__ for journey in JOURNEYS} - {_pack(journey) for journey in JOURNEYS}
    if unknown:
        raise DeclarationError(f"enabled: there is no pack or journey named {', '.join(sorted(unknown))}")
    return chosen


def segments_of(catalog: Catalog) -> list[Segment]:
    """Return the segments of the packs of which any journey runs."""
    packs = {_pack(declaration.workflow) for declaration in catalog.journeys.values()}
    return [segment for pack in sorted(packs & SEGMENTS.keys()) for segment in SEGMENTS[pack]]


def _pack(journey: type[Journey[Any]]) -> str:
    return journey.__module__.rpartition(".")[0].rpartition(".")[2]
