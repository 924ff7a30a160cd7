"""WhatsApp templates as Twilio's Content API keeps them: a text, its quick-reply buttons, what reviewers say."""

import re
import secrets
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ReviewStatus = Literal["unsubmitted", "received", "pending", "approved", "rejected", "paused", "disabled"]


class WhatsAppTemplate(BaseModel):
    """A content resource; `types` maps e.g. ``twilio/quick-reply`` to its body and actions."""

    model_config = ConfigDict(extra="ignore")

    friendly_name: str | None = None
    language: str = Field(min_length=2)
    variables: dict[str, str] = Field(default_factory=dict)
    types: dict[str, dict[str, Any]] = Field(min_length=1)


class StoredTemplate(WhatsAppTemplate):
    sid: str
    date_created: datetime
    status: ReviewStatus = "unsubmitted"
    name: str | None = None
    category: str | None = None
    rejection_reason: str = ""

    def text(self, variables: Mapping[str, str]) -> str:
        content = next(iter(self.types.values()))
        return _filled(str(content.get("body", "")), self.variables | dict(variables))

    @property
    def media(self) -> list[str]:
        return [str(each) for content in self.types.values() for each in content.get("media", [])]

    def buttons(self, variables: Mapping[str, str]) -> list[dict[str, str]]:
        """The quick replies as ``{"title", "id"}``, as the phone shows them."""
        given = self.variables | dict(variables)
        return [
            {
                "title": _filled(str(action["title"]), given),
                "id": _filled(str(action.get("id", action["title"])), given),
            }
            for content in self.types.values()
            for action in content.get("actions", [])
            if action.get("type", "QUICK_REPLY") == "QUICK_REPLY" and "title" in action
        ]


class WhatsAppTemplates:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.reviewed_by_itself = True

    def change(self, sid: str, **changes: object) -> StoredTemplate | None:
        """Change what is known of a template, such as what its reviewers say."""
        known = self.get(sid)
        if known is None:
            return None
        changed = known.model_copy(update=changes)
        with self._connection:
            self._connection.execute(
                "update whatsapp_templates set record = ? where sid = ?", (changed.model_dump_json(), sid)
            )
        return changed

    def add(self, template: WhatsAppTemplate) -> StoredTemplate:
        stored = StoredTemplate(
            **template.model_dump(),
            sid="HX" + secrets.token_hex(16),
            date_created=datetime.now(UTC),
        )
        with self._connection:
            self._connection.execute(
                "insert into whatsapp_templates values (?, ?)",
                (stored.sid, stored.model_dump_json()),
            )
        return stored

    def all(self) -> list[StoredTemplate]:
        rows = self._connection.execute("select record from whatsapp_templates order by rowid")
        return [StoredTemplate.model_validate_json(record) for (record,) in rows]

    def get(self, sid: str) -> StoredTemplate | None:
        row = self._connection.execute("select record from whatsapp_templates where sid = ?", (sid,)).fetchone()
        return StoredTemplate.model_validate_json(row[0]) if row else None


def _filled(text: str, variables: Mapping[str, str]) -> str:
    """Put the variables in place of ``{{name}}``; an unknown one stays as it is."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: variables.get(found[1], found[0]), text)
