"""What the API does, for people: a page made from its OpenAPI document, which runs no scripts and loads nothing."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from liquid import Environment, FileSystemLoader, Markup, StrictUndefined

_HTML = Path(__file__).parent / "html"
_STYLE = (_HTML / "reference.css").read_text(encoding="utf-8")
_TEMPLATES = Environment(loader=FileSystemLoader(_HTML), autoescape=True, undefined=StrictUndefined)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_KEYS = {
    "writeKey": "Basic authentication: a key with the scope ingest as user name, no password.",
    "bearerKey": "A key with the scope of the operation as bearer token.",
}


def install(app: FastAPI) -> None:
    """Serve the page as ``/docs``."""

    @app.get("/docs", include_in_schema=False)
    async def reference() -> HTMLResponse:
        return HTMLResponse(_page(app.openapi()), headers={"Content-Security-Policy": _POLICY})


def _page(document: Mapping[str, Any]) -> str:
    groups: dict[str, list[dict[str, Any]]] = {}
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, schemas))
    return _TEMPLATES.get_template("reference.html").render(
        title=document["info"]["title"],
        about=_paragraphs(document["info"]["description"]),
        style=Markup(_STYLE),
        groups=[{"name": name, "operations": found} for name, found in groups.items()],
    )


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    story, *more = _paragraphs(operation["description"])
    type, example = _body(operation, schemas)
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "story": story,
        "more": more,
        "key": next((_KEYS[name] for each in operation.get("security", ()) for name in each), None),
        "parameters": [
            {"name": each["name"], "where": each["in"], "what": "; ".join(_told(each))}
            for each in operation.get("parameters", ())
        ],
        "type": type,
        "example": example,
        "answers": [
            {"status": status, "what": answer["description"]} for status, answer in operation["responses"].items()
        ],
    }


def _body(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the type of an operation's body, and an example of one."""
    for type, content in operation.get("requestBody", {}).get("content", {}).items():
        example = content["example"] if "example" in content else _example(content["schema"], schemas)
        return type, json.dumps(example, indent=2, ensure_ascii=False)
    return None, None


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> object:
    """Put an example together from those of its fields."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return schema["examples"][0]
    if "properties" in schema:
        return {name: _example(field, schemas) for name, field in schema["properties"].items()}
    return schema.get("default", schema.get("enum", [None])[0])


def _told(parameter: Mapping[str, Any]) -> Iterator[str]:
    schema = parameter["schema"]
    if parameter.get("required") and parameter["in"] != "path":
        yield "required"
    if "description" in parameter:
        yield parameter["description"].rstrip(".")
    if "enum" in schema:
        yield "one of " + ", ".join(map(str, schema["enum"]))
    if schema.get("default") is not None:
        yield f"{schema['default']} if not given"


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()).replace("`", "") for paragraph in text.strip().split("\n\n")]
