"""Segments of the packs, looked at when a test says so."""

from collections.abc import Iterable

from activities.segments import Segments
from segments import form as forms
from segments.definition import Segment
from store import segments
from store.segments import NewVersion
from tests.world import Person, World


async def declared(world: World, *declared: Segment) -> Segments:
    """Put segments as a release does."""
    async with world.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        for each in declared:
            form = forms.read(each.form)
            await segments.put(connection, NewVersion(each.name, each.story, form, "code", "code"))
    return Segments(world.pool, world.catalog)


async def looked(world: World, looks: Segments, person: Person) -> None:
    """Whoever something happened to is looked at, at the person's present, and the person's journeys hear of it."""
    while (await looks.look(await person.present()))[1]:
        pass
    await world.dispatch(person)


def named(segments: Iterable[Segment], name: str) -> Segment:
    """Return the segment of a name."""
    return next(each for each in segments if each.name == name)
