"""Errors over HTTP: problem details (RFC 9457), with `code` and `message` for Segment's libraries."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

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


class Problem(HTTPException):
    """An error with an answer for the caller."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors or []


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
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
    """Return the error answers of an operation for the OpenAPI document.

    What every operation with a key or a body may answer (`_document_what_all_answer`) need not be named.
    """
    return {
        status: {
            "description": _TITLES[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        }
        for status in statuses
    }


_RETRY_AFTER = {
    "Retry-After": {"description": "Wall seconds.", "required": True, "schema": {"type": "integer", "minimum": 1}}
}


def answer(problem: Problem) -> JSONResponse:
    """Return a problem as the answer it is."""
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


def _document_what_all_answer(operation: dict[str, Any]) -> None:
    """Add the error answers an operation gets from what it needs: a key, a body, parameters."""
    answers = operation["responses"]
    if operation.get("security"):
        answers.update(documented(401, 403, 429, 503))
    if "requestBody" in operation:
        answers.update(documented(400, 408, 413, 415))
    if "422" in answers:
        # FastAPI's own, where the operation does not name it.
        answers.update(documented(422))
    operation["responses"] = {str(status): answers[status] for status in sorted(answers, key=str)}


def operation_of(scope: Scope) -> str | None:
    """Name a request in logs by its operation: its path may hold a customer's id."""
    return getattr(scope.get("route"), "name", None)


def database_away() -> Problem:
    """Nothing could be committed; the caller keeps what it has and tries again."""
    return Problem(
        503,
        "unavailable",
        "cannot be stored at the moment, try again",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _field(loc: tuple[int | str, ...]) -> str:
    """Return the path of a field, without which kind of several it was taken for."""
    return ".".join(str(part) for part in loc[1:] if not str(part).startswith("<")) or str(loc[0])


def install(app: FastAPI) -> None:
    """Let every error of an application come out as problem details, and say so in its OpenAPI document."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(schema.pop("$defs", {}), ProblemDetails=schema)
            for operations in document["paths"].values():
                for operation in operations.values():
                    _document_what_all_answer(operation)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return answer(error)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        title = _TITLES.get(error.status_code, "Error")
        headers = dict(error.headers) if error.headers else None
        return answer(Problem(error.status_code, title.lower().replace(" ", "_"), str(error.detail), headers=headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            FieldError(field=_field(e["loc"]), rule=e["msg"].removeprefix("Value error, ")) for e in error.errors()
        ]
        message = "; ".join(f"{each.field}: {each.rule}" for each in errors)
        return answer(Problem(422, "invalid_request", message, errors))

    async def away(request: Request, error: Exception) -> JSONResponse:
        log.error("database failed", operation=operation_of(request.scope), error=type(error).__name__)
        return answer(database_away())

    async def unstorable(request: Request, error: Exception) -> JSONResponse:
        log.error("refused by the database", operation=operation_of(request.scope), error=type(error).__name__)
        return answer(Problem(400, "invalid_value", "holds a value that cannot be stored"))

    for error in AWAY:
        app.add_exception_handler(error, away)
    # They are errors of PostgreSQL too, but the nearer class decides: trying again would not help.
    for error in UNSTORABLE:
        app.add_exception_handler(error, unstorable)
