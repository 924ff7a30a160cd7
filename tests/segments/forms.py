"""Forms, customers and times as they may come: of few kinds of each, so that they meet."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from tests.segments.model import ORIGIN, Deed, Human

NAMES = ("viewed", "bought", "called", "page_viewed")
PROPERTIES = ("amount", "bank", "tags")
TRAITS = ("city", "age", "tags")

values = st.sampled_from(["Berlin", "berl", "Ада", "", "1", 0, 1, 2, 2.5, -3, True, False])
wanted_values = st.sampled_from(["Berlin", "berl", "Ада", "1", 0, 1, 2, 2.5, -3, True, False])
jsons = st.one_of(values, st.lists(values, max_size=3), st.none(), st.just({"a": 1}))
numbers = st.sampled_from([-3, 0, 1, 2, 2.5, 7])
windows = st.sampled_from(["PT1H", "PT12H", "P1D", "P2D", "P7D", "P30D", "P400D"])
counts = st.integers(0, 3)
names = st.one_of(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2), st.just("*"))


def _limited(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.fixed_dictionaries({"at_least": numbers}),
        st.fixed_dictionaries({"at_most": numbers}),
        st.fixed_dictionaries({"at_least": numbers, "at_most": numbers}),
    )


comparisons: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"is": wanted_values}),
    st.fixed_dictionaries({"is_not": wanted_values}),
    st.fixed_dictionaries({"one_of": st.lists(wanted_values, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"contains": wanted_values}),
    st.fixed_dictionaries({"exists": st.booleans()}),
    _limited(numbers),
)
wheres = st.fixed_dictionaries(
    {},
    optional={
        "where": st.dictionaries(st.sampled_from(PROPERTIES), wanted_values | comparisons, min_size=1, max_size=2)
    },
)
agos = st.one_of(st.fixed_dictionaries({"within": windows}), st.fixed_dictionaries({"not_within": windows}))
maybe_within = st.fixed_dictionaries({}, optional={"within": windows})


def _joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda given: {name: value for each in given for name, value in each.items()})


attributes = st.one_of(
    st.fixed_dictionaries({"attribute": st.just("locale"), "is": st.sampled_from(["en", "ru"])}),
    st.fixed_dictionaries({"attribute": st.just("locale"), "is_not": st.sampled_from(["en", "ru"])}),
    st.fixed_dictionaries({"attribute": st.just("time_zone"), "exists": st.booleans()}),
)

leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    _joined(st.fixed_dictionaries({"trait": st.sampled_from(TRAITS)}), comparisons),
    st.fixed_dictionaries({"has": st.sampled_from(["email", "phone", "device"])}),
    attributes,
    st.fixed_dictionaries({"first_seen": agos}),
    _joined(st.fixed_dictionaries({"event": names}), _limited(counts), maybe_within, wheres),
    _joined(st.fixed_dictionaries({"event": names, "exactly": counts}), maybe_within, wheres),
    _joined(st.fixed_dictionaries({"event": names}), maybe_within, wheres),
    _joined(st.fixed_dictionaries({"event": names, "not_within": windows}), wheres),
    _joined(st.fixed_dictionaries({"first": names}), agos, wheres),
    _joined(st.fixed_dictionaries({"last": names}), agos, wheres),
    _joined(
        st.fixed_dictionaries({"sum": st.sampled_from(PROPERTIES), "of": names}),
        _limited(numbers),
        maybe_within,
        wheres,
    ),
)

forms: st.SearchStrategy[dict[str, Any]] = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.fixed_dictionaries({"all": st.lists(parts, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(parts, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": parts}),
    ),
    max_leaves=4,
)

# Whole hours, so that the ends of windows are met.
hours = st.integers(-450 * 24, 40 * 24).map(lambda each: ORIGIN + timedelta(hours=each))
recent_hours = st.integers(-72, 40 * 24).map(lambda each: ORIGIN + timedelta(hours=each))
times = hours | recent_hours

properties = st.dictionaries(st.sampled_from(PROPERTIES), jsons, max_size=2)
sources = st.sampled_from(["backend", "backend", "operator:desk"])
deeds = st.one_of(
    st.builds(Deed, name=st.sampled_from(NAMES), at=times, properties=properties, source=sources),
    st.builds(Deed, name=st.just("page_viewed"), at=times, properties=properties, type=st.just("page")),
    st.builds(Deed, name=st.just("message_read"), at=times, type=st.just("message_status"), source=st.just("webhook")),
)
humans = st.builds(
    Human,
    created_at=times,
    email=st.none() | st.just("a@example.com"),
    phone=st.none() | st.just("+14155550123"),
    locale=st.sampled_from([None, "en", "ru"]),
    time_zone=st.sampled_from([None, "Etc/UTC"]),
    devices=st.integers(0, 1),
    traits=st.dictionaries(st.sampled_from(TRAITS), jsons.filter(lambda each: each is not None), max_size=3),
    deeds=st.lists(deeds, max_size=8),
    speed=st.sampled_from([None, None, None, 1.0, 24.0]),
)
