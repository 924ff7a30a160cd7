"""Errors on their way to Temporal lose their words, which may repeat what a customer is called or wrote."""

import contextlib
from collections.abc import Iterator

import structlog
from temporalio.exceptions import ApplicationError

log = structlog.get_logger()


@contextlib.contextmanager
def speechless() -> Iterator[None]:
    """Let only the kind of an unexpected error into a run's history; its place goes to the log.

    Raises:
        ApplicationError: As it was raised, or in place of the unexpected error; Temporal tries again.
    """
    try:
        yield
    except ApplicationError:
        raise
    except Exception as error:
        log.exception("an activity failed")
        raise ApplicationError(type(error).__name__, type="Unexpected") from None
