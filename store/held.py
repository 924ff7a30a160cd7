"""What is held of a customer, and how it is found: for whoever asks to see it, and whoever asks to be forgotten."""

from dataclasses import dataclass

from domain.messages import OWN, Channel
from store.customers import Identity
from store.database import Connection

Reached = tuple[Channel, str]
"""A way to somebody: the channel, and the address in lower case."""

PHONE = (Channel.SMS, Channel.WHATSAPP, Channel.CALL)
"""Channels that reach somebody by one number."""

WHO = "who as (select $1::bigint as customer, $2::text[] as addresses, $3::text[] as ids)"
"""SQL, for ``with``: `Whose.arguments` under the names the conditions below use."""

MINE = "customer_id = who.customer"
OF_MY_MESSAGES = "message_id in (select id from messages where customer_id = who.customer)"
CALLBACKS = f"({OF_MY_MESSAGES} or address = any(who.addresses))"
CONVERSATIONS = "address = any(who.addresses)"
REJECTED = """
    (btrim(body ->> 'userId') = any(who.ids) or btrim(body ->> 'anonymousId') = any(who.ids)
     or btrim(body ->> 'previousId') = any(who.ids)
     or exists (select from unnest(who.addresses) address
                where position(to_jsonb(address)::text in lower(body::text)) > 0))
"""
"""Calls that were not accepted and name the customer, or hold one of their addresses as a value."""


@dataclass(frozen=True)
class Whose:
    """A customer, by everything that leads to them.

    Attributes:
        reached: Every way by which they are or were reached.
    """

    customer: int
    reached: list[Reached]
    identities: list[Identity]

    @property
    def addresses(self) -> list[str]:
        """Their addresses, numbers and push tokens, in lower case."""
        return sorted({address for _, address in self.reached})

    @property
    def arguments(self) -> tuple[int, list[str], list[str]]:
        """The arguments of `WHO`."""
        return self.customer, self.addresses, [value for _, value in self.identities]


async def whose(connection: Connection, customer: int) -> Whose:
    """Return everything that leads to a customer."""
    identities = await connection.fetch("select kind, value from identities where customer_id = $1", customer)
    return Whose(customer, await _reached(connection, customer), [(row["kind"], row["value"]) for row in identities])


async def _reached(connection: Connection, customer: int) -> list[Reached]:
    rows = await connection.fetch(
        """
        select distinct channel, lower(address) as address from (
            select 'email' as channel, email as address from customers where id = $1
            union all select 'sms', phone from customers where id = $1
            union all select case when p256dh is null then 'push' else 'web_push' end, token
                      from devices where customer_id = $1
            union all select channel, address from conversations where customer_id = $1
            union all select channel, recipient from messages where customer_id = $1 and channel <> all($2)
            union all select case when position('@' in address) > 0 then 'email' else 'sms' end, address
                      from consents where customer_id = $1 and address not like 'erased:%'
        ) s where address is not null
        """,
        customer,
        list(OWN),
    )
    found = {(Channel(row["channel"]), row["address"]) for row in rows}
    numbers = {address for channel, address in found if channel in PHONE}
    return sorted(found | {(channel, number) for channel in PHONE for number in numbers})
