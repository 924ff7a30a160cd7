"""A bank refused: the customer stays in touch and is offered the next best bank."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.car_credit.events import (
        CreditApplicationRefused,
        CreditApplicationSubmitted,
        CreditIssued,
    )
    from workflows.declaration import Parameters, Rule
    from workflows.drafts import call, email, inbox, push
    from workflows.journey import Journey, journey


class Pauses(Parameters):
    """Durations of journey time, each counted from the message before."""

    push_after: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    call_after: timedelta = Field(default=timedelta(days=2), gt=timedelta(0))
    forgotten_after: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


# The bank with the highest observed approval rate among those this customer has not tried for
# this application. "Customers like this" share the trait `region`; where fewer than 20 of them
# have had a bank's decision, that bank is judged by everybody. An unseen bank is never offered.
BEST_UNTRIED_BANK = """
with stay as (
    select e.customer_id, e.key, c.traits ->> 'region' as region
    from enrolments e join customers c on c.id = e.customer_id where e.id = $1
), decisions as (
    select v.properties ->> 'bank' as bank, (v.name = 'credit_issued')::int as approved,
           c.traits ->> 'region' is not distinct from stay.region as alike
    from stay cross join events v join customers c on c.id = v.customer_id
    where v.name in ('credit_issued', 'credit_application_refused') and v.properties ->> 'bank' is not null
), rates as (
    select bank, case when count(*) filter (where alike) >= 20
                      then avg(approved) filter (where alike) else avg(approved) end as approval_rate
    from decisions group by bank
)
select bank, round(approval_rate * 100)::int as approval_percent
from rates
where approval_rate > 0 and bank not in (
    select v.properties ->> 'bank' from stay join events v on v.customer_id = stay.customer_id
    where v.name in ('credit_application_submitted', 'credit_application_refused')
      and v.properties ->> 'application_id' = stay.key and v.properties ->> 'bank' is not null
)
order by approval_rate desc, bank limit 1
"""


def to_another_bank(refusal: Mapping[str, Any], submission: Mapping[str, Any]) -> bool:
    """Whether an application went elsewhere; one that names no bank counts as elsewhere."""
    return submission.get("bank") is None or submission.get("bank") != refusal.get("bank")


@journey(
    starts_on=CreditApplicationRefused,
    key="application_id",
    ends_on=(Rule(CreditApplicationSubmitted, when=to_another_bank), CreditIssued),
    facts={"offer": BEST_UNTRIED_BANK},
)
class RefusedByBank(Journey[Pauses]):
    """Offers a customer whose application was refused to send it to another bank."""

    async def steps(self) -> None:
        pauses = self.parameters
        await self.send(email("refused_by_bank/another_bank"), inbox("refused_by_bank/another_bank"))
        await self.wait(pauses.push_after)
        await self.send(push("refused_by_bank/another_bank"))
        await self.wait(pauses.call_after)
        await self.send(call("refused_by_bank/another_bank"))
        await self.wait(pauses.forgotten_after)
