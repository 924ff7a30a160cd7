"""Who judges our requests: always our own strict reading of the vendors' pages, and their documents where at hand.

The documents are theirs and not kept here. `JOURNEYS_VENDOR_OPENAPI` names the directory they are in.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema

from tests.channels.provider import Asked

Schema = dict[str, Any]


def an_object(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object of exactly these fields: a provider ignores a misspelt one, and that would be our mistake."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def a_list(item: Schema, at_most: int) -> Schema:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": at_most}


def a_text(pattern: str = "", longest: int = 1_000_000) -> Schema:
    return {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": longest}


TEXT = a_text()
FLAG: Schema = {"type": "boolean"}
UUID = a_text(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
ADDRESS = a_text(r"^[^@\s]+@[^@\s]+$", 320)
E164 = a_text(r"^\+[1-9]\d{6,14}$")
A_NUMBER = a_text(r"^(whatsapp:)?\+[1-9]\d{6,14}$")
URL = a_text(r"^https?://\S+$", 2048)
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}

USUAL = ("host", "accept", "accept-encoding", "connection", "user-agent", "content-length")

ACCOUNT = r"/2010-04-01/Accounts/AC[0-9a-f]{32}"


@dataclass(frozen=True, eq=False)
class Operation:
    """A request a vendor takes.

    Attributes:
        path: Pattern of the whole path.
        query: What may be asked for in the address; each value a text.
        body: Of the JSON, or of the form's fields, each a text; None: none.
        headers: Of those beside what every client sends; None: whatever there are.
        sealed: Whether only somebody else can read the body.
        page: Where the vendor describes it.
        document: The vendor's OpenAPI document that has it; None where there is none of it.
    """

    method: str
    path: str
    page: str
    document: str | None
    query: Schema | None = None
    body: Schema | None = None
    is_form: bool = False
    headers: Schema | None = None
    sealed: bool = False


MAIL = Operation(
    "POST",
    "/v3/mail/send",
    "docs.sendgrid.com, v3 Mail Send",
    "tsg_mail_v3.json",
    body=an_object(
        {
            "from": an_object({"email": ADDRESS}, name=TEXT),
            "subject": a_text(longest=998),
            "personalizations": a_list(
                an_object(
                    {"to": a_list(an_object({"email": ADDRESS}, name=TEXT), 1000)}, custom_args=TEXTS, headers=TEXTS
                ),
                1000,
            ),
            "content": a_list(an_object({"type": a_text(r"^text/(plain|html)$"), "value": TEXT}), 2),
        },
        tracking_settings=an_object(
            {},
            click_tracking=an_object({"enable": FLAG}, enable_text=FLAG),
            open_tracking=an_object({"enable": FLAG}),
            subscription_tracking=an_object({"enable": FLAG}),
        ),
    ),
)
ERASE_MAIL = Operation(
    "POST",
    "/v3/recipients/erasejob",
    "docs.sendgrid.com, Recipients' Data Erasure",
    None,
    body=an_object({"email_addresses": a_list(ADDRESS, 5000)}),
)
TEXT_MESSAGE = Operation(
    "POST",
    f"{ACCOUNT}/Messages.json",
    "twilio.com/docs/messaging/api/message-resource, create",
    "twilio_api_v2010.json",
    body=an_object(
        {"To": A_NUMBER, "From": A_NUMBER, "Body": a_text(longest=1600)},
        StatusCallback=URL,
        ValidityPeriod=a_text(r"^[1-9]\d{0,4}$"),
    ),
    is_form=True,
)
PICTURE_MESSAGE = Operation(
    "POST",
    f"{ACCOUNT}/Messages.json",
    "twilio.com/docs/messaging/api/message-resource, create, with media",
    "twilio_api_v2010.json",
    body=an_object(
        {"To": A_NUMBER, "From": A_NUMBER, "Body": a_text(longest=1600), "MediaUrl": a_text(r"^https://\S+$")},
        StatusCallback=URL,
        ValidityPeriod=a_text(r"^[1-9]\d{0,4}$"),
    ),
    is_form=True,
)
TEMPLATE_MESSAGE = Operation(
    "POST",
    f"{ACCOUNT}/Messages.json",
    "twilio.com/docs/content/send-templates-created-with-the-content-template-builder",
    "twilio_api_v2010.json",
    body=an_object(
        {"To": A_NUMBER, "From": A_NUMBER, "ContentSid": a_text("^HX[0-9a-f]{32}$")},
        ContentVariables=a_text(r'^\{("\d+": ?".*"(, ?)?)*\}$'),
        StatusCallback=URL,
        ValidityPeriod=a_text(r"^[1-9]\d{0,4}$"),
    ),
    is_form=True,
)
ACTION = an_object({"type": a_text("^QUICK_REPLY$"), "title": a_text(longest=25), "id": a_text(longest=128)})
BODY = a_text(longest=1024)
MEDIA = a_list(a_text(r"^https://\S+$"), 1)
MAKE_TEMPLATE = Operation(
    "POST",
    "/v1/Content",
    "twilio.com/docs/content/content-api-resources, create",
    "twilio_content_v1.json",
    body=an_object(
        {
            "language": a_text("^[a-z]{2,3}(_[A-Z]{2})?$"),
            "types": {
                **an_object(
                    {},
                    **{
                        "twilio/text": an_object({"body": BODY}),
                        "twilio/quick-reply": an_object({"body": BODY, "actions": a_list(ACTION, 10)}),
                        "twilio/media": an_object({"body": BODY, "media": MEDIA}),
                        "whatsapp/card": an_object({"body": BODY, "media": MEDIA, "actions": a_list(ACTION, 10)}),
                    },
                ),
                "minProperties": 1,
                "maxProperties": 1,
            },
        },
        friendly_name=TEXT,
        variables={"type": "object", "patternProperties": {r"^\d+$": TEXT}, "additionalProperties": False},
    ),
)
SUBMIT_TEMPLATE = Operation(
    "POST",
    "/v1/Content/HX[0-9a-f]{32}/ApprovalRequests/whatsapp",
    "twilio.com/docs/content/content-api-resources, submit for approval",
    "twilio_content_v1.json",
    body=an_object({"name": a_text("^[a-z0-9_]{1,512}$"), "category": a_text("^(UTILITY|MARKETING|AUTHENTICATION)$")}),
)
ASK_FOR_REVIEW = Operation(
    "GET",
    "/v1/Content/HX[0-9a-f]{32}/ApprovalRequests",
    "twilio.com/docs/content/content-api-resources, fetch approval status",
    "twilio_content_v1.json",
)
LIST_TEXTS = Operation(
    "GET",
    f"{ACCOUNT}/Messages.json",
    "twilio.com/docs/messaging/api/message-resource, read",
    "twilio_api_v2010.json",
    query=an_object(
        {"To": A_NUMBER, "From": A_NUMBER},
        PageSize=a_text(r"^[1-9]\d{0,2}$|^1000$"),
        Page=a_text(r"^\d+$"),
        PageToken=TEXT,
    ),
)
DELETE_TEXT = Operation(
    "DELETE",
    f"{ACCOUNT}/Messages/(SM|MM)[0-9a-f]{{32}}.json",
    "twilio.com/docs/messaging/api/message-resource, delete",
    "twilio_api_v2010.json",
)
PUSH = Operation(
    "POST",
    r"/v1/projects/[\w-]+/messages:send",
    "firebase.google.com/docs/reference/fcm/rest/v1/projects.messages",
    None,
    body=an_object(
        {
            "message": an_object(
                {"token": TEXT},
                notification=an_object({}, title=TEXT, body=TEXT),
                data=TEXTS,
                android=an_object({}, collapse_key=TEXT, ttl=a_text(r"^\d+s$"), notification=an_object({}, tag=TEXT)),
                apns=an_object({}, headers=TEXTS),
            )
        }
    ),
)
WEB_PUSH = Operation(
    "POST",
    "/send/[a-z]+",
    "RFC 8030, 5; RFC 8291; RFC 8292",
    None,
    headers=an_object(
        {
            "authorization": a_text(r"^vapid t=[\w-]+\.[\w-]+\.[\w-]+, k=[\w-]{87}$"),
            "content-encoding": {"const": "aes128gcm"},
            "content-type": {"const": "application/octet-stream"},
            "ttl": a_text(r"^\d+$"),
            "topic": a_text(r"^[\w-]{1,32}$"),
            "urgency": {"enum": ["very-low", "low", "normal", "high"]},
        }
    ),
    sealed=True,
)
CALL = Operation(
    "POST",
    "/calls",
    "channels/call_centre.py",
    None,
    body=an_object(
        {"id": UUID, "phone": E164, "locale": TEXT, "topic": TEXT, "script": TEXT, "name": {"type": ["string", "null"]}}
    ),
)
ASK_FOR_CALL = Operation("GET", "/calls/[0-9a-f-]{36}", "channels/call_centre.py", None)

OPERATIONS = (
    *(MAIL, ERASE_MAIL, TEXT_MESSAGE, PICTURE_MESSAGE, TEMPLATE_MESSAGE, LIST_TEXTS, DELETE_TEXT),
    *(MAKE_TEMPLATE, SUBMIT_TEMPLATE, ASK_FOR_REVIEW, PUSH, WEB_PUSH, CALL, ASK_FOR_CALL),
)


def operation_of(asked: Asked) -> Operation:
    """Return the one operation a request is; of several ways to send a message, the one it has the fields of."""
    path = urlsplit(asked.target).path
    found = [each for each in OPERATIONS if each.method == asked.method and re.fullmatch(each.path, path)]
    if len(found) > 1:
        found = [each for each in found if asked.form.keys() <= (each.body or {})["properties"].keys()][:1]
    (operation,) = found
    return operation


def judge(operation: Operation, asked: Asked) -> None:
    """Hold a request against our own reading.

    Raises:
        ValidationError: It is not as the vendor wants it.
    """
    jsonschema.validate(_query(asked), operation.query or an_object({}))
    if operation.headers:
        jsonschema.validate(
            {name: asked.headers[name] for name in asked.headers if name not in USUAL}, operation.headers
        )
    if operation.sealed:
        assert asked.body
    elif operation.body is None:
        assert asked.body == b""
    else:
        jsonschema.validate(asked.form if operation.is_form else asked.json, operation.body)


def judge_by_vendor(document: Path, asked: Asked) -> None:
    """Hold a request against the vendor's own OpenAPI document.

    Raises:
        ValidationError: It is not as the vendor wants it.
    """
    spec = json.loads(document.read_text())
    path = urlsplit(asked.target).path
    (described,) = [each for template, each in spec["paths"].items() if re.fullmatch(_pattern(template), path)]
    operation = described[asked.method.lower()]
    described_parameters = [_resolved(spec, each) for each in operation.get("parameters", ())]
    parameters = {each["name"]: each for each in described_parameters if each["in"] == "query"}
    query = _query(asked)
    assert query.keys() <= parameters.keys(), f"{query.keys() - parameters.keys()} is none of {list(parameters)}"
    assert query.keys() >= {name for name, each in parameters.items() if each.get("required")}
    for name, value in query.items():
        _validate(spec, parameters[name]["schema"], _typed(value, parameters[name]["schema"]))
    if "requestBody" not in operation:
        assert asked.body == b""
        return
    ((kind, content),) = _resolved(spec, operation["requestBody"])["content"].items()
    schema = _resolved(spec, content["schema"])
    if kind == "application/json":
        _validate(spec, schema, asked.json)
        assert asked.json.keys() <= schema["properties"].keys()
    else:
        fields = {name: _typed(value, schema["properties"].get(name, {})) for name, value in asked.form.items()}
        _validate(spec, {**schema, "additionalProperties": False}, fields)


def _query(asked: Asked) -> dict[str, str]:
    fields = parse_qs(urlsplit(asked.target).query, keep_blank_values=True, strict_parsing=False)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def _pattern(template: str) -> str:
    return "".join(r"[^/]+?" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", template))


def _resolved(spec: Schema, found: Schema) -> Schema:
    if "$ref" not in found:
        return found
    place: Any = spec
    for step in found["$ref"].removeprefix("#/").split("/"):
        place = place[step.replace("~1", "/").replace("~0", "~")]
    return _resolved(spec, place)


def _typed(value: str, schema: Schema) -> str | int | list[str]:
    """Read a text as the number or the list the document wants, as the vendor does with addresses and forms."""
    if schema.get("type") == "array":
        return [value]
    return int(value) if schema.get("type") == "integer" else value


def _validate(spec: Schema, schema: Schema, value: object) -> None:
    jsonschema.Draft202012Validator({**spec, **schema}).validate(value)
