"""A story as lines of text, for tests to read."""

from collections.abc import Iterator, Sequence

from storyboards.picture import waiting
from storyboards.story import Fork, Over, Part, Sent, Waits


def told(parts: Sequence[Part], depth: int = 0) -> Iterator[str]:
    """Tell a story, one thing a line; what lies on a way of a fork is further in."""
    for part in parts:
        match part:
            case Sent(number, drafts):
                messages = ", ".join(f"{draft.channel} {draft.template.split('/')[-1]}" for draft in drafts)
                yield "  " * depth + f"{number}: {messages}"
            case Waits():
                yield "  " * depth + f"~ {waiting(part)}"
            case Over(end, text, back):
                yield "  " * depth + " ".join(filter(None, (str(end), text, str(back or ""))))
            case Fork(ways):
                for way in ways:
                    yield "  " * depth + f"<{way.words}>"
                    yield from told(way.parts, depth + 1)
