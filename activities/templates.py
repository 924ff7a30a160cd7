"""`review_templates`: tells Twilio of templates that are to be approved, and asks what their reviewers say."""

import time
from dataclasses import dataclass
from datetime import timedelta

import structlog
from temporalio import activity

from channels.protocol import NotProcessed, Refused, Templates, Uncertain
from store import whatsapp
from store.database import Connection, Pool
from store.whatsapp import SUBMITTABLE, Reviewed
from templates.whatsapp import Form

ROUND = timedelta(seconds=30)
"""Wall time after which a round takes no further template."""

log = structlog.get_logger()


@dataclass(frozen=True)
class ReviewTemplates:
    """Keeps what we know of templates in step with WhatsApp; made once per worker."""

    pool: Pool
    provider: Templates

    @activity.defn
    async def review_templates(self) -> int:
        """Go through the templates that are due, for half a minute at most; returns how many.

        What a provider cannot take now is due again later, so nothing is raised for it.
        """
        ends, count = time.monotonic() + ROUND.total_seconds(), 0
        while time.monotonic() < ends and not activity.is_worker_shutdown():
            async with self.pool.acquire() as connection:
                template = await whatsapp.take_due(connection)
            if template is None:
                break
            await self._one(template)
            count += 1
            activity.heartbeat(count)
        return count

    async def _one(self, template: Reviewed) -> None:
        """Bring one template a step further; an attempt that was cut short goes on where it was."""
        about = {"template": template.template, "locale": template.locale}
        try:
            if template.status == SUBMITTABLE:
                await self._submit(template)
            else:
                assert template.content_sid is not None
                review = await self.provider.review(template.content_sid)
                async with self.pool.acquire() as connection:
                    await self._record(connection, template, review.status if review else SUBMITTABLE, review)
        except Refused as refused:
            log.warning("a template was refused", code=refused.code, **about)
            async with self.pool.acquire() as connection:
                await whatsapp.moved(connection, template.id, "rejected", f"twilio:{refused.code}")
        except (NotProcessed, Uncertain) as error:
            log.warning("a template cannot be reviewed now", code=error.code, **about)

    async def _submit(self, template: Reviewed) -> None:
        name = name_of(template)
        sid = template.content_sid
        if sid is None:
            # A try whose answer was lost leaves one that nobody reviews and nobody sends: it does no harm.
            sid = await self.provider.make(name, resource_of(Form.model_validate(template.form)))
            async with self.pool.acquire() as connection:
                await whatsapp.made(connection, template.id, sid)
        review = await self.provider.review(sid) or await self.provider.submit(sid, name, template.category)
        async with self.pool.acquire() as connection:
            await self._record(connection, template, review.status, review)

    async def _record(self, connection: Connection, template: Reviewed, status: str, review: object) -> None:
        reason = getattr(review, "reason", None)
        if status != template.status:
            log.info("a template moved", template=template.template, locale=template.locale, status=status)
        await whatsapp.moved(connection, template.id, status, reason)


def name_of(template: Reviewed) -> str:
    """Return what a template is called there: lower case, digits and underscores; no name may be used again."""
    words = template.template.replace("/", "_"), template.edition.replace("-", "_"), template.locale, template.version
    again = str(template.submissions) if template.submissions > 1 else ""
    return "_".join(part for part in (*words, again) if part)


def resource_of(form: Form) -> dict[str, object]:
    """Return a template as a resource of the Content API (twilio.com/docs/content/content-types-overview)."""
    actions = [{"type": "QUICK_REPLY", "title": button.title, "id": button.id} for button in form.buttons]
    media = [form.media] if form.media else []
    match bool(actions), bool(media):
        case True, True:
            types: dict[str, object] = {"whatsapp/card": {"body": form.body, "media": media, "actions": actions}}
        case True, False:
            types = {"twilio/quick-reply": {"body": form.body, "actions": actions}}
        case False, True:
            types = {"twilio/media": {"body": form.body, "media": media}}
        case _:
            types = {"twilio/text": {"body": form.body}}
    return {"language": form.language, "variables": form.samples, "types": types}
