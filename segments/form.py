"""The form of a segment: conditions on who a customer is and what they have done, as JSON.

```json
{"all": [{"event": "listing_viewed", "at_least": 20, "within": "P14D"},
         {"trait": "city", "one_of": ["Berlin", "Paris"]},
         {"not": {"segment": "buyers"}}]}
```

Every condition has exactly one of the keys of `KINDS`, by which it is known. Windows are ISO 8601 durations of
journey time that end now.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from domain.events import PAGE_VIEWED, SCREEN_VIEWED, is_ours
from domain.segments import SegmentName
from segments.coded import CODED
from segments.definition import Coded, CodedParameters

MOST_CONDITIONS = 40
"""Conditions of a form, those of the segments it names included."""

DEEPEST = 8
"""How deep conditions may be nested, those of the segments a form names included."""

LONGEST_WINDOW = timedelta(days=3660)
MOST_VALUES = 100
MOST_EVENTS = 20
MOST_TIMES = 1_000_000
LARGEST = 1e15
"""Of numbers, either way: up to here every whole one has a float of its own."""

ANY_EVENT = "*"
"""Anything the customer did themselves: a `track`, `page` or `screen` call of a backend.

Messages they opened and events of ours are none of their activity.
"""


class BadForm(Exception):
    """A form that breaks rules.

    Attributes:
        errors: For each, the place in the form and the rule.
    """

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {rule}" for path, rule in errors))
        self.errors = errors


def _value(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if not isinstance(value, str):
        raise ValueError("must be a text, a number, true or false")
    return _text(value)


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError(f"must be a number, at most {LARGEST:.0e} either way")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str) or not 0 < len(value) <= 255 or "\0" in value or not _is_unicode(value):
        raise ValueError("must be a text of 1 to 255 characters, without U+0000")
    return value


def _is_unicode(text: str) -> bool:
    """Whether a text has no halves of surrogate pairs, which nobody could write down."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _count(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TIMES:
        raise ValueError(f"must be a whole number, 0 to {MOST_TIMES}")
    return value


def _window(value: object) -> object:
    try:
        window = _DURATION.validate_python(value) if isinstance(value, str) and value.startswith("P") else value
    except ValidationError:
        window = None
    if not isinstance(window, timedelta):
        raise ValueError("must be an ISO 8601 duration, such as P14D or PT12H")
    if not timedelta(0) < window <= LONGEST_WINDOW:
        raise ValueError(f"must be more than nothing and at most {LONGEST_WINDOW.days} days")
    return window


def _written_window(window: timedelta) -> str:
    """Return an ISO 8601 duration without years and months, which nobody agrees on."""
    minutes, seconds = divmod(window.seconds + window.microseconds / 1e6, 60)
    hours, minutes = divmod(int(minutes), 60)
    days = f"{window.days}D" if window.days else ""
    rest = "".join(f"{count:g}{unit}" for count, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if count)
    return f"P{days}{'T' if rest else ''}{rest}"


def _events(value: object) -> object:
    names = value if isinstance(value, list) else [value]
    if not 1 <= len(names) <= MOST_EVENTS:
        raise ValueError(f"must be the name of an event, or 1 to {MOST_EVENTS} names")
    for name in names:
        _text(name)
        if is_ours(str(name)) and name not in (PAGE_VIEWED, SCREEN_VIEWED):
            raise ValueError(f"{name} is an event of ours, not something a customer does")
    if isinstance(value, list) and ANY_EVENT in names:
        raise ValueError(f"{ANY_EVENT} stands alone")
    return value


_DURATION = TypeAdapter(timedelta)

_TEXT_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255}
_WINDOW_SCHEMA = {"type": "string", "format": "duration", "examples": ["P14D"]}

Text = Annotated[str, PlainValidator(_text), WithJsonSchema(_TEXT_SCHEMA)]
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]
Value = Annotated[
    bool | int | float | str, PlainValidator(_value), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
Count = Annotated[int, PlainValidator(_count), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MOST_TIMES})]
Window = Annotated[
    timedelta,
    BeforeValidator(_window),
    PlainSerializer(lambda window: _written_window(window), when_used="json"),
    WithJsonSchema(_WINDOW_SCHEMA),
]
Events = Annotated[
    str | list[str],
    PlainValidator(_events),
    WithJsonSchema({"anyOf": [_TEXT_SCHEMA, {"type": "array", "items": _TEXT_SCHEMA, "maxItems": MOST_EVENTS}]}),
]


class Part(BaseModel):
    """What forms are made of; what is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, raw: object) -> object:
        empty = [name for name, value in raw.items() if value is None] if isinstance(raw, dict) else []
        if empty:
            raise ValueError(f"{', '.join(empty)}: must not be null; leave it out")
        return raw

    def given(self, *names: str) -> list[str]:
        """Return which of some fields are there."""
        return [name for name in names if getattr(self, name) is not None]


class Comparison(Part):
    """What a value is compared with; a number and a text are never the same.

    Attributes:
        is_not: Another value, or none.
        at_least: With numbers only; may be said together with `at_most`.
        contains: Part of a text, whatever its case; or an element of a list.
        exists: Whether there is a value at all.
    """

    is_: Value | None = Field(default=None, alias="is")
    is_not: Value | None = None
    one_of: Annotated[list[Value], Field(min_length=1, max_length=MOST_VALUES)] | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    contains: Value | None = None
    exists: StrictBool | None = None

    _WAYS: ClassVar[tuple[str, ...]] = ("is_", "is_not", "one_of", "at_least", "at_most", "contains", "exists")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = self.given(*self._WAYS)
        if len(ways) != 1 and ways != ["at_least", "at_most"]:
            raise ValueError(
                "must have exactly one of is, is_not, one_of, at_least, at_most, contains, exists; "
                "only at_least and at_most go together"
            )
        return self


class AllOf(Part):
    """Every one of the conditions holds."""

    all: list["Inner"] = Field(min_length=1)


class AnyOf(Part):
    """At least one of the conditions holds."""

    any: list["Inner"] = Field(min_length=1)


class Not(Part):
    """The condition does not hold."""

    not_: "Inner" = Field(alias="not")


class Trait(Comparison):
    """A trait the backend told of the customer."""

    trait: Text

    @model_validator(mode="after")
    def _no_attribute(self) -> Self:
        if self.trait in ("email", "phone"):
            raise ValueError(f'trait: {self.trait} is kept apart; say {{"has": "{self.trait}"}}')
        if self.trait in ("timezone", "locale"):
            name = self.trait.replace("timezone", "time_zone")
            raise ValueError(f'trait: {self.trait} is kept apart; say {{"attribute": "{name}", …}}')
        return self


class Has(Part):
    """The customer can be reached: an address is known, or a device that takes pushes."""

    has: Literal["email", "phone", "device"]


class Attribute(Part):
    """What the customer's own attributes are: BCP 47 locale, IANA time zone."""

    attribute: Literal["locale", "time_zone"]
    is_: Text | None = Field(default=None, alias="is")
    is_not: Text | None = None
    one_of: Annotated[list[Text], Field(min_length=1, max_length=MOST_VALUES)] | None = None
    exists: StrictBool | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if len(self.given("is_", "is_not", "one_of", "exists")) != 1:
            raise ValueError("must have exactly one of is, is_not, one_of, exists")
        return self


class Ago(Part):
    """How long ago something was.

    Attributes:
        within: At most that long ago.
        not_within: Longer ago.
    """

    within: Window | None = None
    not_within: Window | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if len(self.given("within", "not_within")) != 1:
            raise ValueError("must have exactly one of within, not_within")
        return self


class FirstSeen(Part):
    """When we first heard of the customer."""

    first_seen: Ago


def _wanted(raw: object) -> str:
    return "<comparison>" if isinstance(raw, dict | Comparison) else "<value>"


Wanted = Annotated[
    Annotated[Comparison, Tag("<comparison>")] | Annotated[Value, Tag("<value>")], Discriminator(_wanted)
]
Where = Annotated[dict[Text, Wanted], Field(min_length=1, max_length=10)]
"""Properties an event must have; a value alone is what the property is."""


class HasDone(Part):
    """How often the customer did something, or that they have not done it for long.

    Attributes:
        event: A name, several names, or `ANY_EVENT`.
        within: How often in that window; ever, if not said.
        not_within: They have not done it for that long, and were known to us all that time if they never did it.
        at_least: 1, if nothing is said about how often.
    """

    event: Events
    at_least: Count | None = None
    at_most: Count | None = None
    exactly: Count | None = None
    within: Window | None = None
    not_within: Window | None = None
    where: Where | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        counts = self.given("at_least", "at_most", "exactly")
        if self.not_within and (counts or self.within):
            raise ValueError("not_within: says that it was not done; it goes with nothing but where")
        if "exactly" in counts and len(counts) > 1:
            raise ValueError("exactly: goes neither with at_least nor with at_most")
        return self


class _Extreme(Part):
    within: Window | None = None
    not_within: Window | None = None
    where: Where | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.within and self.not_within:
            raise ValueError("not_within: does not go with within")
        if not self.given("within", "not_within", "where"):
            raise ValueError("must have within, not_within or where")
        return self


class FirstDone(_Extreme):
    """The first time the customer did something: how long ago, with which properties. They must have done it."""

    first: Events


class LastDone(_Extreme):
    """The last time the customer did something: how long ago, with which properties. They must have done it."""

    last: Events


class SumOf(Part):
    """A number summed over what the customer did; what is no number counts as 0.

    Attributes:
        sum: Name of the property.
        of: The events that have it.
    """

    sum: Text
    of: Events
    at_least: Number | None = None
    at_most: Number | None = None
    within: Window | None = None
    where: Where | None = None

    @model_validator(mode="after")
    def _compared(self) -> Self:
        if not self.given("at_least", "at_most"):
            raise ValueError("must have at_least or at_most")
        return self


class InSegment(Part):
    """The customer is in another segment, by its own definition, now."""

    segment: SegmentName


class InCoded(Part):
    """What no form can say: SQL in the code, by name, with its parameters."""

    coded: Text
    with_: dict[str, Any] = Field(default={}, alias="with")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.coded not in CODED:
            raise ValueError(f"coded: there is no SQL of this name; there is {', '.join(sorted(CODED))}")
        try:
            self.parameters()
        except ValidationError as error:
            wrong = error.errors(include_input=False)
            raise ValueError(
                "; ".join(f"with.{'.'.join(map(str, each['loc']))}: {_rule(each['msg'])}" for each in wrong)
            ) from None
        return self

    @property
    def code(self) -> Coded:
        """The SQL."""
        return CODED[self.coded]

    def parameters(self) -> CodedParameters:
        """Return its parameters."""
        return self.code.parameters.model_validate(self.with_)


_CLASSES: Mapping[str, type[Part]] = {
    "all": AllOf,
    "any": AnyOf,
    "not": Not,
    "trait": Trait,
    "has": Has,
    "attribute": Attribute,
    "first_seen": FirstSeen,
    "event": HasDone,
    "first": FirstDone,
    "last": LastDone,
    "sum": SumOf,
    "segment": InSegment,
    "coded": InCoded,
}
KINDS = tuple(_CLASSES)


def _kind(raw: object) -> str | None:
    """Tell which kind of condition it is, in angle brackets: it is no part of a form's own path."""
    if isinstance(raw, Part):
        return next(f"<{kind}>" for kind, of in _CLASSES.items() if type(raw) is of)
    kinds = [kind for kind in KINDS if kind in raw] if isinstance(raw, dict) else []
    return f"<{kinds[0]}>" if len(kinds) == 1 else None


Condition = Annotated[
    Annotated[AllOf, Tag("<all>")]
    | Annotated[AnyOf, Tag("<any>")]
    | Annotated[Not, Tag("<not>")]
    | Annotated[Trait, Tag("<trait>")]
    | Annotated[Has, Tag("<has>")]
    | Annotated[Attribute, Tag("<attribute>")]
    | Annotated[FirstSeen, Tag("<first_seen>")]
    | Annotated[HasDone, Tag("<event>")]
    | Annotated[FirstDone, Tag("<first>")]
    | Annotated[LastDone, Tag("<last>")]
    | Annotated[SumOf, Tag("<sum>")]
    | Annotated[InSegment, Tag("<segment>")]
    | Annotated[InCoded, Tag("<coded>")],
    Discriminator(
        _kind,
        custom_error_type="condition_kind",
        custom_error_message=f"must be a condition: an object with exactly one of {', '.join(KINDS)}",
    ),
]

Inner = Annotated[Condition, WithJsonSchema({"type": "object", "title": "Condition", "description": "A condition."})]
"""A condition within a condition. Documents do not go further down: what is there looks the same."""

for _class in (AllOf, AnyOf, Not):
    _class.model_rebuild()

_FORM: TypeAdapter[Condition] = TypeAdapter(Condition)


def read(raw: object) -> Condition:
    """Read a form.

    Raises:
        BadForm: With the place and the rule of everything that is wrong.
    """
    _check_size(raw)
    try:
        return _FORM.validate_python(raw)
    except ValidationError as error:
        raise BadForm(
            [(_path(each["loc"]), _rule(each["msg"])) for each in error.errors(include_input=False)]
        ) from None


def written(condition: Condition) -> dict[str, Any]:
    """Return a form as it is kept: the same conditions are written the same."""
    kept: dict[str, Any] = _FORM.dump_python(condition, mode="json", by_alias=True, exclude_unset=True)
    return kept


def schema() -> dict[str, Any]:
    """Return the JSON schema of forms."""
    return _FORM.json_schema(ref_template="#/components/schemas/{model}")


def inner(condition: Condition) -> Iterator[tuple[str, Condition]]:
    """Yield the conditions a condition is made of, each with its place."""
    match condition:
        case AllOf(all=parts):
            yield from ((f"all.{place}", part) for place, part in enumerate(parts))
        case AnyOf(any=parts):
            yield from ((f"any.{place}", part) for place, part in enumerate(parts))
        case Not(not_=part):
            yield "not", part


def named_segments(condition: Condition, path: str = "form") -> Iterator[tuple[str, str]]:
    """Yield the segments a form names, each with its place in the form."""
    if isinstance(condition, InSegment):
        yield condition.segment, f"{path}.segment"
    for place, part in inner(condition):
        yield from named_segments(part, f"{path}.{place}")


def _check_size(raw: object) -> None:
    """Refuse what is too deep or too much before anything else goes through it."""
    level, count = [raw], 0
    for _ in range(DEEPEST):
        count += len(level)
        level = [part for each in level if isinstance(each, dict) for part in _raw_parts(each)]
        if not level:
            break
    if level:
        raise BadForm([("form", f"must not be nested deeper than {DEEPEST} levels")])
    if count > MOST_CONDITIONS:
        raise BadForm([("form", f"must not have more than {MOST_CONDITIONS} conditions")])


def _raw_parts(raw: dict[Any, Any]) -> Iterator[object]:
    for kind in ("all", "any"):
        if isinstance(raw.get(kind), list):
            yield from raw[kind]
    if "not" in raw:
        yield raw["not"]


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(["form", *(str(part) for part in loc if not str(part).startswith("<"))])


def _rule(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "is not known here")
