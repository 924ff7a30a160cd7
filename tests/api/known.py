"""A customer of whom there is something wherever anything can be, and where words can be at all."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from domain.campaigns import CampaignForm, Step
from domain.messages import Channel, Status
from segments import form as forms
from store import campaigns, segments
from store.segments import NewVersion
from tests.api.scene import WRITER, Person, Scene, email_event
from tests.channels.browser import Browser

WORDS = ("text", "character varying", "jsonb", "ARRAY", "bytea")
"""Types of columns that can hold what somebody is called, reached at, or wrote."""

OURS = {
    "alembic_version": {"version_num"},
    "api_keys": {"name", "scopes"},
    "api_tokens": {"key", "token_hash"},
    "bank_rates": {"bank", "region"},
    "audit": {"actor", "action", "subject", "detail"},
    "audit_answers": {"answer", "detail"},
    "blocks": {"name", "source"},
    "callbacks": {"provider", "callback_id"},
    "campaign_recipients": {"variant", "outcome"},
    "campaigns": {"name", "form", "status", "created_by", "started_by"},
    "consents": {"channel", "topic", "source"},
    "conversation_lines": {"channel", "author", "choice", "refused"},
    "conversations": {"channel", "reason", "opened_by", "closed_by"},
    "customers": {"locale", "time_zone"},
    "decisions": {"verdict", "rule", "reason", "policy_version"},
    "dialogues": {"source"},
    "enrolments": {"journey", "workflow_id", "outcome"},
    "erasures": {"requested_by"},
    "events": {"source", "type", "note"},
    "identities": {"kind"},
    "impressions": {"surface"},
    "installation": {"address_salt"},
    "operator_notices": {"kind", "answer"},
    "messages": {
        "step",
        "channel",
        "template",
        "template_version",
        "locale",
        "message_class",
        "status",
        "awaits",
        "provider",
        "provider_id",
        "reason",
        "journey",
        "policy_version",
        "resolution",
        "evidence",
        "currency",
        "price_currency",
    },
    "policies": {"version", "body"},
    "provider_erasures": {"provider", "kind", "subject", "answer"},
    "rejected_events": {"source", "field", "rule"},
    "segment_bases": {"key", "value"},
    "segment_evaluations": {"meaning", "asked_by", "failed"},
    "segment_versions": {"story", "form", "origin", "author", "note"},
    "segments": {"name", "scanned"},
    "suppressions": {"channel", "reason", "source"},
    "texts": {
        *("template", "channel", "locale", "edition", "source", "status", "note"),
        *("created_by", "published_by", "retired_by"),
    },
    "tombstones": {"identity_hash"},
    "sender_blocks": {"sender", "code"},
    "whatsapp_conversations": {"sender"},
    "whatsapp_templates": {
        "template",
        "locale",
        "edition",
        "version",
        "category",
        "form",
        "status",
        "reason",
        "content_sid",
        "requested_by",
    },
}
"""Columns of such types that hold no words of customers: names, codes, ids and hashes of ours or of providers.

`bank_rates` counts all customers together. `customers.locale` and `.time_zone` are tags and names from closed lists,
and emptied all the same; a `provider_erasures.subject` exists only after an erasure, see the tests of that.
"""


@dataclass(frozen=True)
class Known:
    """A customer, and what must not be left of them.

    Attributes:
        mark: In everything a backend, a provider or they themselves told.
        email: A letter they were sent.
        browser: One of theirs that takes pushes.
    """

    person: Person
    mark: str
    email: UUID
    browser: Browser

    @property
    def markers(self) -> list[str]:
        """Every word that is theirs alone."""
        person = self.person
        keys = self.browser.keys
        return [self.mark, person.user_id, person.email, person.phone, person.token, keys.p256dh, keys.auth]


async def columns(scene: Scene) -> set[tuple[str, str, str]]:
    """Every column of the database, by its catalogue: table, column, type."""
    rows = await scene.context.pool.fetch(
        """
        select c.table_name, c.column_name, c.data_type from information_schema.columns c
        join information_schema.tables t using (table_schema, table_name)
        where c.table_schema = 'public' and t.table_type = 'BASE TABLE'
        """
    )
    assert len(rows) > 50
    return {(row["table_name"], row["column_name"], row["data_type"]) for row in rows}


async def rows_with(scene: Scene, *markers: str) -> set[str]:
    """Every table and column that holds a marker, whatever its type."""
    wanted = [marker.lower() for marker in markers]
    return {
        f"{table}.{column}"
        for table, column, _ in await columns(scene)
        if await scene.context.pool.fetchval(
            f"""
            select exists (select from "{table}" t, unnest($1::text[]) marker
                           where strpos(lower(t."{column}"::text), marker) > 0)
            """,
            wanted,
        )
    }


async def well_known(scene: Scene) -> Known:
    """A customer of whom there is something in every table."""
    mark = f"marker{uuid4().hex}"
    person = await scene.person(first_name=mark, city=mark)
    await scene.tells(
        "identify",
        person.user_id,
        anonymousId=f"{mark}-anonymous",
        traits={"plan": mark},
        context={"device": {"token": f"{mark}-token", "type": mark}},
    )
    browser = Browser(f"https://fcm.googleapis.com/fcm/send/{mark}")
    await scene.tells("identify", person.user_id, context={"device": {"subscription": browser.subscription}})
    await scene.tells(
        "track",
        person.user_id,
        messageId=f"{mark}-message",
        event=f"{mark} seen",
        properties={"car": mark},
        context={"ip": mark},
    )
    started = {"application_id": mark, "filled": 1, "total": 40}
    await scene.tells("track", person.user_id, event="credit_application_started", properties=started)
    await scene.dispatched(person.customer)
    await _tells_wrongly(scene, person, mark)
    email = await _is_written_to(scene, person, mark)
    await _answers(scene, person, mark, email)
    consent = {"channel": "sms", "topic": "*", "given": True, "source": "form", "proof": {"name": mark}}
    assert (await scene.as_operator("POST", f"/v1/customers/{person.user_id}/consents", consent)).status_code == 201
    await scene.as_operator("POST", f"/v1/customers/{person.user_id}/blocks", {"name": "complaint", "lasts": "P1D"})
    await scene.as_operator("PUT", f"/v1/customers/{person.user_id}/dialogue")
    await _is_in_a_segment_and_its_campaign(scene, person)
    return Known(person, mark, email, browser)


async def _is_in_a_segment_and_its_campaign(scene: Scene, person: Person) -> None:
    name = f"known_{uuid4().hex[:12]}"
    steps = (Step(channel=Channel.SMS, template="campaigns/tyres"),)
    async with scene.context.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        await segments.put(connection, NewVersion(name, "Known.", forms.read({"has": "email"}), "api", "tests"))
        await connection.execute(
            "insert into segment_members (segment_id, customer_id) select id, $2 from segments where name = $1",
            name,
            person.customer,
        )
        campaign = await campaigns.put(connection, CampaignForm(name=name, segment=name, cascade=steps), "tests")
        assert campaign is not None
        await connection.execute(
            """
            insert into campaign_recipients (campaign_id, customer_id, enrolment_id, variant, due_at, expires_at)
            values ($1, $2, $3, 'all', now(), now())
            """,
            campaign.id,
            person.customer,
            person.enrolment,
        )


async def _tells_wrongly(scene: Scene, person: Person, mark: str) -> None:
    """What is not accepted names them, or holds their address and nobody's id."""
    bad = {"type": "track", "event": "", "messageId": mark, "properties": {"x": mark}}
    nobodys = {"type": "identify", "messageId": mark, "traits": {"email": person.email, "note": mark}}
    calls = [{**bad, "userId": f" {person.user_id} "}, nobodys]
    await scene.http.post("/v1/batch", json={"batch": calls}, auth=(WRITER, ""))


async def _is_written_to(scene: Scene, person: Person, mark: str) -> UUID:
    to = {"links": [f"https://example.com/{mark}"], "awaits": list(Status)}
    text = {"content": {"channel": "sms", "text": f"Hello {mark}"}}
    email = await scene.sent(person, Channel.EMAIL, provider="sendgrid", **to)  # type: ignore[arg-type]
    sms = await scene.sent(person, Channel.SMS, provider="twilio", provider_id=f"SM{uuid4().hex}", **to, **text)  # type: ignore[arg-type]
    await scene.sent(person, Channel.PUSH, provider="fcm")
    await scene.sent(person, Channel.CALL, provider="call_centre")
    await scene.sent(person, Channel.INBOX, provider="inbox")
    await scene.sent(person, Channel.WHATSAPP, provider="twilio", status=Status.UNKNOWN)
    await scene.twilio_says(sms, "delivered", To=person.phone)
    return email


async def _answers(scene: Scene, person: Person, mark: str, email: UUID) -> None:
    await scene.sendgrid_says(email_event("deferred", email, email=person.email, response=f"421 {mark}"))
    await scene.sendgrid_says(email_event("spamreport", email=person.email, reason=mark))
    await scene.texts(person.phone, f"I am {mark}")
    await scene.texts(person.phone, "STOP")
    await scene.texts(f"whatsapp:{person.phone}", mark)
