"""What forms mean: PostgreSQL and plain Python agree about any form, any customers, at any time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.segments.conftest import Base
from tests.segments.forms import forms, humans
from tests.segments.model import ORIGIN, Human, holds

speeds = st.sampled_from([1.0, 1.0, 24.0])
after = st.integers(0, 41 * 24).map(lambda hours: ORIGIN + timedelta(hours=hours))

THOROUGH = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@THOROUGH
@given(form=forms, people=st.lists(humans, min_size=1, max_size=4), speed=speeds, now=after)
async def test_a_form_means_what_it_says(
    own_base: Base, form: dict[str, Any], people: list[Human], speed: float, now: datetime
) -> None:
    await own_base.begin(speed)
    numbers = [await own_base.meets(_past(human, now)) for human in people]
    wanted = {
        number for number, human in zip(numbers, people, strict=True) if holds(form, _past(human, now), now, speed)
    }
    assert await own_base.found(form, now) == wanted
    # And for each of them its explanation says the same.
    for number in numbers:
        assert (await own_base.explained(form, number, now)).holds == (number in wanted)


def _past(human: Human, now: datetime) -> Human:
    """A customer with what has happened until now."""
    deeds = [deed for deed in human.deeds if deed.at <= now]
    return replace(human, created_at=min(human.created_at, now), deeds=deeds)
