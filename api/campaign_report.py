"""What came of a campaign: by variant, and whether the variants differ by more than chance."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from domain.campaigns import Standing
from domain.comparison import Comparison, compare
from store import campaigns, installation
from store.campaigns import Kept
from store.database import Connection


class VariantReport(BaseModel):
    """What came of a variant, in customers."""

    variant: str
    recipients: int
    sent: int
    delivered: int
    read: int
    clicked: int
    replied: int
    unsubscribed: int
    conversions: int | None = Field(description="They came to the goal in time; None: the campaign has none.")


class HoldoutReport(BaseModel):
    """Those who would have got a message, had they not been held out."""

    recipients: int
    conversions: int | None = Field(description="They came to the goal in time; None: the campaign has none.")


class Difference(BaseModel):
    """How a variant compares with the first one, or with the holdout: a two-proportion z test, two-sided."""

    variant: str
    against: str | None = Field(description="A variant; None: those held out.")
    measure: Literal["clicked", "conversions"]
    difference: float = Field(description="Of the shares.")
    z: float
    confidence: float = Field(description="That they differ at all; less than 0.95 proves nothing.")


class CampaignReport(BaseModel):
    """What came of a campaign."""

    name: str
    status: Standing
    goal: str | None
    attributed_within: str = Field(description="Journey time after the first message, ISO 8601.", examples=["P7D"])
    variants: list[VariantReport]
    holdout: HoldoutReport | None = Field(description="None: nobody was held out.")
    differences: list[Difference]


async def reported(db: Connection, kept: Kept) -> CampaignReport:
    """Count what came of a campaign so far."""
    form, clock = kept.form, await installation.clock(db)
    found = {
        row["variant"]: row for row in await campaigns.outcomes(db, kept, clock.wall_duration(form.attributed_within))
    }
    of_all, unsubscribed = await campaigns.recipients_by_variant(db, kept), await campaigns.unsubscribed(db, kept)
    nothing = dict.fromkeys(("sent", "delivered", "read", "clicked", "replied", "conversions"), 0)
    variants = []
    for variant in form.variants:
        row = {**nothing, **found.get(variant.name, {}), "variant": variant.name}
        row["conversions"] = row["conversions"] if form.goal else None
        variants.append(
            VariantReport(**row, recipients=of_all.get(variant.name, 0), unsubscribed=unsubscribed.get(variant.name, 0))
        )
    held_out = found.get(None)
    holdout = held_out and HoldoutReport(
        recipients=held_out["sent"], conversions=held_out["conversions"] if form.goal else None
    )
    return CampaignReport(
        name=form.name,
        status=kept.standing,
        goal=form.goal,
        attributed_within=form.model_dump(mode="json")["attributed_within"],
        variants=variants,
        holdout=holdout,
        differences=[*_among(variants), *(_against(holdout, variants) if holdout else ())],
    )


def _among(variants: Sequence[VariantReport]) -> Iterable[Difference]:
    first, *others = variants
    for other in others:
        if found := compare(first.clicked, first.sent, other.clicked, other.sent):
            yield _difference(other.variant, first.variant, "clicked", found)
        if first.conversions is None or other.conversions is None:
            continue
        if found := compare(first.conversions, first.sent, other.conversions, other.sent):
            yield _difference(other.variant, first.variant, "conversions", found)


def _against(holdout: HoldoutReport, variants: Sequence[VariantReport]) -> Iterable[Difference]:
    for each in variants:
        if holdout.conversions is None or each.conversions is None:
            continue
        if found := compare(holdout.conversions, holdout.recipients, each.conversions, each.sent):
            yield _difference(each.variant, None, "conversions", found)


def _difference(
    variant: str, against: str | None, measure: Literal["clicked", "conversions"], found: Comparison
) -> Difference:
    return Difference(
        variant=variant,
        against=against,
        measure=measure,
        difference=round(found.difference, 6),
        z=round(found.z, 3),
        confidence=round(found.confidence, 4),
    )
