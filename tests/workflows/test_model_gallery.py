"""The new model's pictures: who looks at all of them is called, who looks at one and leaves is not."""

from datetime import timedelta

import pytest

from tests.workflows.chat import Chat
from tests.world import World

pytestmark = pytest.mark.usefixtures("approved")

HOUR = timedelta(hours=1)


async def opened(world: World) -> Chat:
    person = await world.person()
    chat = Chat(world, person)
    assert await chat.writes("New model") is None
    await world.until(chat.says, ["outside"])
    return chat


async def test_it_shows_pictures_and_a_video(world: World) -> None:
    chat = await opened(world)
    for view in range(1, 3):
        await chat.presses("next")
        await world.until(lambda view=view: shown(chat), view + 1)  # type: ignore[misc]
    ledger = await world.providers.get("/_sandbox/ledger", params={"address": chat.person.phone})
    sent = [each["details"]["media"] for each in ledger.json()["entries"] if each["direction"] == "outbound"]
    assert [[address.rpartition(".")[2] for address in media] for media in sent] == [["jpg"], ["jpg"], ["mp4"]]


async def test_who_looks_at_all_is_called(world: World) -> None:
    chat = await opened(world)
    await chat.presses("next")
    await world.until(chat.says, ["outside", "inside"])
    await chat.presses("next")
    await world.until(chat.says, ["outside", "inside", "on_the_road"])
    await chat.presses("next")
    assert await chat.person.outcome() == "finished"
    assert (await chat.person.got())[-2:] == ["whatsapp end", "call saw_all"]


@pytest.mark.parametrize("seen", [0, 1, 2])
async def test_who_has_seen_enough_is_left_alone(world: World, seen: int) -> None:
    chat = await opened(world)
    for view in range(1, seen + 1):
        await chat.presses("next")
        await world.until(lambda view=view: shown(chat), view + 1)  # type: ignore[misc]
    await chat.presses("enough")
    assert await chat.person.outcome() == "finished"
    assert len(await chat.person.got()) == seen + 1


async def shown(chat: Chat) -> int:
    return len(await chat.says())


async def test_words_get_a_hint_and_the_same_picture_again(world: World) -> None:
    chat = await opened(world)
    assert await chat.writes("How much is it?") is None
    await world.until(chat.says, ["outside", "hint", "outside"])
    await chat.presses("enough", under="outside")
    assert await chat.person.outcome() == "finished"


async def test_who_looks_at_one_and_leaves_is_left_alone(world: World) -> None:
    chat = await opened(world)
    await chat.person.passes(HOUR + timedelta(minutes=1))
    assert await chat.person.outcome() == "finished"
    assert await chat.person.got() == ["whatsapp outside"]


async def test_a_booked_visit_ends_it(world: World) -> None:
    chat = await opened(world)
    await chat.person.does("visit_booked", visit_id="V-1")
    assert await chat.person.outcome("ModelGallery") == "goal"


async def test_the_link_shows_it_too_and_a_manager_can_be_called(world: World) -> None:
    person = await world.person()
    await person.does("model_gallery_opened")
    chat = Chat(world, person)
    await world.until(chat.says, ["outside"])
    number = await chat.writes("оператор")
    assert number is not None
    assert (await chat.conversation(number)).alerted
    assert await person.outcome("ModelGallery") == "finished"
