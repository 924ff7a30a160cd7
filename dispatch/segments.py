"""Segments at the start of a process: those the code brings along are kept, those journeys name must be there."""

from collections.abc import Iterator, Sequence

from segments import form as forms
from segments.definition import Segment
from segments.form import BadForm
from store import segments
from store.database import Connection
from store.segments import NewVersion
from workflows.audience import check_segments
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError


async def declare_segments(connection: Connection, declared: Sequence[Segment], catalog: Catalog) -> None:
    """Keep what a release declares, and check what its journeys name.

    Raises:
        DeclarationError: A segment is declared wrongly, or a journey names one there is not; with file and line.
    """
    wrong = list(_shared_names(declared))
    async with connection.transaction():
        await segments.lock_definitions(connection)
        for each in declared:
            try:
                new = NewVersion(each.name, each.story, forms.read(dict(each.form)), "code", "code")
                await segments.declare(connection, new)
            except BadForm as error:
                wrong.append(f"{each.source}: segment {each.name}: {error}")
        if wrong:
            raise DeclarationError("\n".join(wrong))
        check_segments(catalog, (await segments.load(connection)).by_name)


def _shared_names(declared: Sequence[Segment]) -> Iterator[str]:
    first: dict[str, Segment] = {}
    for each in declared:
        other = first.setdefault(each.name, each)
        if other is not each:
            yield (
                f"{each.source}: segment {each.name} is also declared at {other.source}; give one of them another name"
            )
