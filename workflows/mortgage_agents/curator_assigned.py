"""An agent has a curator: their contacts, once."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.drafts import email
    from workflows.journey import Journey, journey
    from workflows.mortgage_agents.events import CuratorGiven


@journey(starts_on=CuratorGiven, key="curator_id")
class CuratorAssigned(Journey):
    """Sends an agent the contacts of their curator, unless the welcome has sent them."""

    async def steps(self) -> None:
        curator = self.latest(CuratorGiven)
        if curator:
            await self.send(email("curator/contacts", once=True, about=curator.curator_id))
