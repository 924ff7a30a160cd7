"""Configuration by environment variables. Whatever is missing is named, and nothing has an open default."""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.tariffs import Tariffs
from policy.configuration import Policy

PROJECT = Path(__file__).parent


def _language(tag: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", tag):
        raise ValueError("must be a language tag, such as en or ru-RU")
    return tag


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("must be an IANA time zone, such as Europe/Berlin")
    return name


def _safe(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.scheme != "https" and url.host not in ("127.0.0.1", "[::1]", "localhost"):
        raise ValueError("must be https: links that act for a customer go there (RFC 8058, 3.2); http only to loopback")
    return url


class ConfigurationError(Exception):
    """The process cannot start; the message says what is missing or wrong, and never a value."""


class Deployment(BaseModel, extra="forbid"):
    """The file `JOURNEYS_CONFIG` names: which journeys run here, and with which parameters.

    Attributes:
        enabled: Packs or single journeys by name.
        site: Base address of the client's own site, for links in texts.
        company: Name the texts are signed with.
        postal_address: Shown under marketing email (CAN-SPAM, 15 U.S.C. 7704(a)(5)).
        default_locale: Language of a customer who has told none.
        locales: Languages every text must exist in.
        default_time_zone: IANA zone of a customer whose own is not known, nor told by their number.
        policy: Whom we may write to, and when, see `Policy`.
        tariffs: What messages cost, see `Tariffs`.
        attribution_window: Journey time from a message's arrival in which what follows a click is attributed to it.
        utm_source: Tracked links carry utm tags with this source; without it they are left as they are.
        parameters: Journey name to parameter values, ISO 8601 durations.
    """

    enabled: list[str] = ["car_credit"]
    site: AnyHttpUrl
    company: str
    postal_address: str
    default_locale: Annotated[str, AfterValidator(_language)] = "en"
    locales: Annotated[list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]], Field(min_length=1)] = ["en", "ru"]
    default_time_zone: Annotated[str, AfterValidator(_zone)] | None = None
    policy: Policy = Policy()
    tariffs: Tariffs = Tariffs()
    attribution_window: timedelta = Field(default=timedelta(days=90), gt=timedelta(0), le=timedelta(days=3660))
    utm_source: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,50}$")] | None = None
    parameters: dict[str, dict[str, Any]] = {}

    def holding_out(self, shares: Mapping[str, float]) -> "Deployment":
        """Return this deployment with the holdouts journeys declare; those its own file names stay."""
        policy = self.policy.model_copy(update={"holdouts": {**shares, **self.policy.holdouts}})
        return self.model_copy(update={"policy": policy})

    @property
    def languages(self) -> list[str]:
        """What texts must exist in, the language to fall back on first: the default one, if it is among them."""
        default = self.default_locale.split("-")[0].lower()
        return sorted(self.locales, key=lambda locale: locale != default)


class Settings(BaseSettings):
    """What every process needs; channels and Temporal read their own variables.

    Attributes:
        database_url: ``postgresql://…``, from `DATABASE_URL`.
        public_url: Base address under which customers and providers reach the API; https, except on loopback.
        secret: Signs links and salts hashes; at least 32 characters.
        speed: Journey seconds per wall second of this installation.
    """

    model_config = SettingsConfigDict(env_prefix="JOURNEYS_", extra="ignore")

    database_url: str = Field(validation_alias="DATABASE_URL", pattern=r"^postgresql://")
    public_url: Annotated[AnyHttpUrl, AfterValidator(_safe)]
    secret: SecretStr = Field(min_length=32)
    speed: float = Field(default=1.0, gt=0, le=10_000_000)
    config: Path = PROJECT / "journeys.toml"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9090, ge=1, le=65535)
    ui_url: AnyHttpUrl | None = None
    log_level: str = "INFO"

    @property
    def base(self) -> str:
        """The public address without a trailing slash."""
        return str(self.public_url).rstrip("/")

    def deployment(self) -> Deployment:
        """Read the deployment's file.

        Raises:
            ConfigurationError: The file is missing or wrong.
        """
        return read_deployment(self.config)


def read_deployment(file: Path | None = None) -> Deployment:
    """Read a deployment's file; without a name, the one `JOURNEYS_CONFIG` names, for tools that need nothing else.

    Raises:
        ConfigurationError: The file is missing or wrong.
    """
    file = file or Path(os.environ.get("JOURNEYS_CONFIG") or PROJECT / "journeys.toml")
    try:
        return Deployment.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"JOURNEYS_CONFIG: cannot read {file}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{file}: {_wrong(error)}") from error


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: One line that names every missing or wrong variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError(f"configuration: {_wrong(error)}") from error


def database_url() -> str:
    """Return `DATABASE_URL` alone, for the tools that need nothing else.

    Raises:
        ConfigurationError: It is not set.
    """
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgresql://"):
        raise ConfigurationError("configuration: DATABASE_URL must be set, as postgresql://user:password@host/database")
    return url


def _wrong(error: ValidationError) -> str:
    """Say what is wrong without repeating a value, which may be a secret."""
    names = {"public_url": "JOURNEYS_PUBLIC_URL", "secret": "JOURNEYS_SECRET", "speed": "JOURNEYS_SPEED"}
    return "; ".join(
        f"{names.get(str(e['loc'][0]), _path(e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors(include_input=False)
    )


def _path(loc: tuple[int | str, ...]) -> str:
    # Pydantic marks by "[key]" that a name itself is wrong, not what is under it.
    return ".".join(str(part) for part in loc if part != "[key]")
