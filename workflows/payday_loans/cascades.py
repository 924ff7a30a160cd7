"""From cheap to dear: how this company reaches people."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from domain.messages import Status
from workflows.declaration import Parameters
from workflows.drafts import Cascade, email, sms, web_push

free_first = Cascade(web_push, email, sms)
"""Web push and email cost nothing; an SMS goes to whom neither has reached.

A web push is delivered when the site's service worker says so (docs/channels.md): without that, the email follows.
"""


class Reach(Parameters):
    """When a channel counts as having reached somebody, and how long it has for that.

    Attributes:
        reached_when: As the provider reports it; what a customer does with the message afterwards counts too.
        dearer_after: Journey time from one channel to the next, if the first has not reached them.
    """

    reached_when: Literal[Status.DELIVERED, Status.READ, Status.CLICKED] = Status.DELIVERED
    dearer_after: timedelta = Field(default=timedelta(hours=4), gt=timedelta(0))
