"""The first purchase: sixteen messages in thirty days, by the channel and at the hour the customer reacts to."""

from datetime import timedelta
from itertools import pairwise

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field, model_validator

    from workflows.declaration import Parameters, Rule
    from workflows.drafts import either, email, inbox, sms
    from workflows.instalments.events import CustomerRegistered, FirstPurchaseMade
    from workflows.journey import Journey, journey

DAY = timedelta(days=1)
Days = tuple[timedelta, ...]


class Plan(Parameters):
    """When each offer goes, counted from registration: bonuses in days 0 to 7, gifts in 8 to 14, terms in 15 to 30."""

    first_day: timedelta = Field(default=DAY, ge=timedelta(0))
    letter_after_notification: timedelta = Field(default=timedelta(hours=4), gt=timedelta(0))
    bonuses: Days = (2 * DAY, 4 * DAY, 5 * DAY, 7 * DAY)
    gifts: Days = (8 * DAY, 10 * DAY, 12 * DAY, 14 * DAY)
    special_terms: Days = (15 * DAY, 17 * DAY, 20 * DAY, 22 * DAY, 25 * DAY, 28 * DAY, 30 * DAY)
    remembered_for: timedelta = Field(default=7 * DAY, gt=timedelta(0))

    @model_validator(mode="after")
    def _in_order(self) -> "Plan":
        for name, count in (("bonuses", 4), ("gifts", 4), ("special_terms", 7)):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} must name {count} days")
        welcomed = self.first_day + self.letter_after_notification
        days = (welcomed, *self.bonuses, *self.gifts, *self.special_terms)
        if any(later <= earlier for earlier, later in pairwise(days)):
            raise ValueError("each day must come after the one before: welcome, bonuses, gifts, special_terms")
        return self


# What they looked at most, to be offered.
LOOKED_AT = """
select v.properties ->> 'product' as product
from enrolments e join events v on v.customer_id = e.customer_id and v.name = 'product_viewed'
where e.id = $1 and v.properties ->> 'product' is not null
group by 1 order by count(*) desc, max(v."timestamp") desc limit 1
"""


@journey(
    starts_on=Rule(CustomerRegistered, unless_done=CustomerRegistered),
    ends_on=FirstPurchaseMade,
    facts={"offer": LOOKED_AT},
    says_once=True,
    at_best_hour=True,
)
class FirstPurchase(Journey[Plan]):
    """Brings a customer who has registered to their first purchase in instalments."""

    bonuses = (
        either(email("first_purchase/bonus"), sms("first_purchase/bonus")),
        either(sms("first_purchase/bonus_waits"), email("first_purchase/bonus_waits")),
        either(email("first_purchase/where_to_buy"), sms("first_purchase/where_to_buy")),
        either(email("first_purchase/chosen_for_you"), sms("first_purchase/chosen_for_you")),
    )
    gifts = (
        either(email("first_purchase/gift"), sms("first_purchase/gift")),
        either(sms("first_purchase/gift_waits"), email("first_purchase/gift_waits")),
        either(email("first_purchase/how_others_pay"), sms("first_purchase/how_others_pay")),
        either(sms("first_purchase/gift_ends"), email("first_purchase/gift_ends")),
    )
    special_terms = (
        either(email("first_purchase/no_overpayment"), sms("first_purchase/no_overpayment")),
        either(sms("first_purchase/special_terms"), email("first_purchase/special_terms")),
        either(email("first_purchase/partners_near"), sms("first_purchase/partners_near")),
        either(email("first_purchase/still_for_you"), sms("first_purchase/still_for_you")),
        either(sms("first_purchase/longer_term"), email("first_purchase/longer_term")),
        either(email("first_purchase/questions"), sms("first_purchase/questions")),
        either(sms("first_purchase/last_day"), email("first_purchase/last_day")),
    )

    async def steps(self) -> None:
        plan = self.parameters
        await self.wait_since_start(plan.first_day)
        await self.send(inbox("first_purchase/welcome"))
        await self.wait(plan.letter_after_notification)
        await self.send(either(email("first_purchase/welcome"), sms("first_purchase/welcome")))
        for days, offers in (
            (plan.bonuses, self.bonuses),
            (plan.gifts, self.gifts),
            (plan.special_terms, self.special_terms),
        ):
            for day, offer in zip(days, offers, strict=True):
                await self.wait_since_start(day)
                await self.send(offer)
        await self.wait(plan.remembered_for)
