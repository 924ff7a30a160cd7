"""Who of a segment goes into an audience for advertising."""

from dataclasses import dataclass

from store.database import Connection


@dataclass(frozen=True)
class Members:
    """The members of a segment, each in one of three lists.

    Attributes:
        people: Email and phone of those who can be matched.
        forbidden: How many do not want to hear of us at all.
        unmatchable: How many have neither an email nor a phone.
    """

    people: list[tuple[str | None, str | None]]
    forbidden: int
    unmatchable: int

    @property
    def total(self) -> int:
        return len(self.people) + self.forbidden + self.unmatchable


async def members(connection: Connection, segment: str) -> Members:
    """Return the members of a segment as last looked at, all at one moment.

    Left out is whoever's newest wish about everything is not to hear from us.
    """
    rows = await connection.fetch(
        """
        select c.email, c.phone, coalesce(not (
            select given from consents w where w.customer_id = c.id and w.channel = '*' and w.topic = '*'
            order by id desc limit 1
        ), false) as forbidden
        from segments s join segment_members m on m.segment_id = s.id join customers c on c.id = m.customer_id
        where s.name = $1 and c.merged_into is null and c.erased_at is null order by c.id
        """,
        segment,
    )
    allowed = [row for row in rows if not row["forbidden"]]
    people = [(row["email"], row["phone"]) for row in allowed if row["email"] or row["phone"]]
    return Members(people, len(rows) - len(allowed), len(allowed) - len(people))
