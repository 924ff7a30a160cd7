"""Errors over HTTP: problem details (RFC 9457), with `code` and `message` for Segment's libraries."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from store.database import AWAY
from store.rejected import UNSTORABLE

log = structlog.get_logger()

RETRY_AFTER_SECONDS = 5


class FieldError(BaseModel):
    """A field and the rule it breaks."""

    field: str = Field(examples=["traits.phone"])
    rule: str = Field(examples=["must be an international phone number, such as +14155550123"])


class ProblemDetails(BaseModel):
    """The body of every error (RFC 9457)."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Bad Request"])
    status: int = Field(examples=[400])
    code: str = Field(description="Stable name of the problem, for programs.", examples=["invalid_event"])
    message: str = Field(
        description="What is wrong, for people.", examples=["messageId: must be a text that is not empty"]
    )
    errors: list[FieldError] = []


class Problem(Exception):
    """An error with an answer for the caller."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors or []
        self.headers = headers or {}


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    410: "Gone",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of an operation for the OpenAPI document."""
    return {
        status: {
            "description": _TITLES[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in statuses
    }


def _answer(problem: Problem) -> JSONResponse:
    body = ProblemDetails(
        title=_TITLES.get(problem.status, "Error"),
        status=problem.status,
        code=problem.code,
        message=problem.message,
        errors=problem.errors,
    )
    return JSONResponse(
        body.model_dump(), problem.status, media_type="application/problem+json", headers=problem.headers
    )


def database_away() -> Problem:
    """Nothing could be committed; the caller keeps what it has and tries again."""
    return Problem(
        503,
        "unavailable",
        "cannot be stored at the moment, try again",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def install(app: FastAPI) -> None:
    """Let every error of an application come out as problem details, and say so in its OpenAPI document."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(schema.pop("$defs", {}), ProblemDetails=schema)
        return document

    app.openapi = described  # type: ignore[method-assign]

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        title = _TITLES.get(error.status_code, "Error")
        headers = dict(error.headers) if error.headers else None
        return _answer(Problem(error.status_code, title.lower().replace(" ", "_"), str(error.detail), headers=headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            FieldError(field=".".join(map(str, e["loc"][1:])) or str(e["loc"][0]), rule=e["msg"])
            for e in error.errors()
        ]
        message = "; ".join(f"{each.field}: {each.rule}" for each in errors)
        return _answer(Problem(422, "invalid_request", message, errors))

    async def away(request: Request, error: Exception) -> JSONResponse:
        log.error("database failed", path=request.url.path, error=type(error).__name__)
        return _answer(database_away())

    async def unstorable(request: Request, error: Exception) -> JSONResponse:
        log.error("refused by the database", path=request.url.path, error=type(error).__name__)
        return _answer(Problem(400, "invalid_value", "holds a value that cannot be stored"))

    for error in AWAY:
        app.add_exception_handler(error, away)
    # They are errors of PostgreSQL too, but the nearer class decides: trying again would not help.
    for error in UNSTORABLE:
        app.add_exception_handler(error, unstorable)
