"""Pop-ups and banners on the client's own site: what is shown now, how often, and what becomes of it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.context import Context
from domain.messages import Channel, Status
from policy.configuration import Policy, Showing
from tests.api.scene import CONTENTS, INBOX, READER, Person, Scene

NOTHING: dict[str, Any] = {"popup": None, "may_stay": [], "banners": []}


@pytest.fixture
def rules(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let other rules hold for how often pop-ups are shown."""

    def hold(**showing: Any) -> None:
        policy = Policy(showing={Channel.POPUP: Showing(**showing)})
        monkeypatch.setattr(Context, "policy", property(lambda _: policy))

    return hold


async def now_shown(scene: Scene, person: Person, surface: str = "web") -> dict[str, Any]:
    answer = await scene.get(f"/v1/customers/{person.user_id}/placements?surface={surface}", INBOX)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def popup_shown(scene: Scene, person: Person) -> str | None:
    popup = (await now_shown(scene, person))["popup"]
    return popup["id"] if popup else None


async def shows(scene: Scene, person: Person, placed: dict[str, Any], surface: str = "web") -> httpx.Response:
    """The page tells that it has shown something."""
    return await scene.http.post(
        f"/v1/inbox/{placed['id']}/impressions",
        json={"user_id": person.user_id, "impression": placed["impression"], "surface": surface},
        headers={"Authorization": f"Bearer {INBOX}"},
    )


def on(surface: str, channel: Channel = Channel.POPUP) -> dict[str, Any]:
    return {**CONTENTS[channel], "surface": surface, "button": "Spend"}


async def test_a_popup_and_banners_are_shown_and_not_in_the_inbox(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    popup = await scene.sent(person, Channel.POPUP, content=on("web"))
    banners = [await scene.sent(person, Channel.BANNER) for _ in range(2)]
    await scene.sent(other, Channel.POPUP)
    found = await now_shown(scene, person)
    assert found["popup"]["id"] == str(popup)
    assert (found["popup"]["title"], found["popup"]["button"]) == ("Spend it", "Spend")
    assert [each["id"] for each in found["banners"]] == [str(each) for each in banners]
    assert (await scene.get(f"/v1/customers/{person.user_id}/inbox", INBOX)).json()["messages"] == []


async def test_what_is_for_the_app_alone_is_not_shown_on_the_web(scene: Scene) -> None:
    person = await scene.person()
    popup = await scene.sent(person, Channel.POPUP, content=on("app"))
    await scene.sent(person, Channel.BANNER, content=on("app", Channel.BANNER))
    assert await now_shown(scene, person) == NOTHING
    assert (await now_shown(scene, person, "app"))["popup"]["id"] == str(popup)


async def test_of_several_the_most_important_is_shown_then_the_one_over_soonest_then_the_oldest(scene: Scene) -> None:
    person = await scene.person()
    later, sooner = (datetime.now(UTC) + timedelta(days=days) for days in (9, 2))
    oldest = await scene.sent(person, Channel.BANNER)
    newest = await scene.sent(person, Channel.BANNER)
    lasting = await scene.sent(person, Channel.BANNER, expires_at=later)
    pressing = await scene.sent(person, Channel.BANNER, expires_at=sooner)
    important = await scene.sent(person, Channel.BANNER, priority=1)
    found = [UUID(each["id"]) for each in (await now_shown(scene, person))["banners"]]
    assert found == [important, pressing, lasting, oldest, newest]


async def test_what_is_over_is_shown_no_more(scene: Scene) -> None:
    person = await scene.person()
    await scene.sent(person, Channel.POPUP, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    good = await scene.sent(person, Channel.BANNER, expires_at=datetime.now(UTC) + timedelta(hours=1))
    found = await now_shown(scene, person)
    assert found["popup"] is None
    (banner,) = found["banners"]
    assert banner["id"] == str(good)
    assert datetime.fromisoformat(banner["expires_at"]) > datetime.now(UTC)


async def test_nothing_is_shown_after_the_goal(scene: Scene) -> None:
    person = await scene.person()
    await scene.sent(person, Channel.POPUP)
    await scene.sent(person, Channel.BANNER)
    stay = "update enrolments set outcome = $2 where id = $1"
    await scene.context.pool.execute(stay, person.enrolment, "finished")
    assert (await now_shown(scene, person))["popup"] is not None
    await scene.context.pool.execute(stay, person.enrolment, "goal")
    assert await now_shown(scene, person) == NOTHING


async def test_what_was_forbidden_since_is_shown_no_more(scene: Scene) -> None:
    person = await scene.person()
    banner = await scene.sent(person, Channel.BANNER)
    await scene.sent(person, Channel.POPUP)
    no = {"channel": "popup", "topic": "offers", "given": False, "source": "form"}
    assert (await scene.as_operator("POST", f"/v1/customers/{person.user_id}/consents", no)).status_code == 201
    assert {**await now_shown(scene, person), "banners": []} == NOTHING
    assert [each["id"] for each in (await now_shown(scene, person))["banners"]] == [str(banner)]
    yes = {**no, "given": True}
    assert (await scene.as_operator("POST", f"/v1/customers/{person.user_id}/consents", yes)).status_code == 201
    assert await popup_shown(scene, person) is not None


async def test_nothing_is_shown_while_the_customer_is_to_hear_nothing_or_talks_with_a_person(scene: Scene) -> None:
    person = await scene.person()
    await scene.sent(person, Channel.POPUP)
    await scene.sent(person, Channel.BANNER)
    assert await popup_shown(scene, person) is not None
    path = f"/v1/customers/{person.user_id}"
    assert (await scene.as_operator("PUT", f"{path}/dialogue")).status_code == 200
    assert await now_shown(scene, person) == NOTHING
    await scene.as_operator("DELETE", f"{path}/dialogue")
    assert await popup_shown(scene, person) is not None
    block = await scene.as_operator("POST", f"{path}/blocks", {"name": "refused", "lasts": "P7D"})
    assert await now_shown(scene, person) == NOTHING
    await scene.as_operator("DELETE", f"{path}/blocks/{block.json()['id']}")
    assert await popup_shown(scene, person) is not None


@pytest.mark.parametrize("deed", ["clicked", "dismissed"])
async def test_what_was_clicked_or_dismissed_gives_way_to_the_next(deed: str, scene: Scene) -> None:
    person = await scene.person()
    first, second = await scene.sent(person, Channel.POPUP), await scene.sent(person, Channel.POPUP)
    assert await popup_shown(scene, person) == str(first)
    answer = await scene.does(person.user_id, first, deed)
    assert (answer.status_code, answer.json()["placement"]) == (200, "popup")
    assert await popup_shown(scene, person) == str(second)


async def test_the_first_showing_is_read_and_its_run_hears_of_it_once(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.POPUP, awaits=[Status.READ])
    first = (await now_shown(scene, person))["popup"]
    assert await scene.status(message) == "delivered"
    answers = [await shows(scene, person, first) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert await scene.status(message) == "read"
    second = (await now_shown(scene, person))["popup"]
    assert second["impression"] != first["impression"]
    await shows(scene, person, second, "app")
    assert await scene.heard(person) == [("delivery_status", "read")]
    shown = await scene.context.pool.fetch("select number, surface from impressions where message_id = $1", message)
    assert [tuple(row) for row in shown] == [(1, "web"), (2, "app")]


async def test_a_popup_is_shown_only_so_often_in_a_while(scene: Scene, rules: Any) -> None:
    rules(at_most=2, within=timedelta(days=1))
    person, message = await scene.person(), None
    for _ in range(3):
        message = await scene.sent(person, Channel.POPUP)
    for _ in range(2):
        popup = (await now_shown(scene, person))["popup"]
        await shows(scene, person, popup)
        assert popup["id"] in (await now_shown(scene, person))["may_stay"], "it is on the screen now"
        await scene.does(person.user_id, UUID(popup["id"]), "dismissed")
    assert await popup_shown(scene, person) is None
    await scene.context.pool.execute(
        "update impressions i set journey_at = i.journey_at - interval '1 day' from messages m "
        "where m.id = i.message_id and m.customer_id = $1",
        person.customer,
    )
    assert await popup_shown(scene, person) == str(message)


async def test_one_popup_is_shown_only_so_often_and_then_gives_way(scene: Scene, rules: Any) -> None:
    rules(each_at_most=1)
    person = await scene.person()
    first, second = await scene.sent(person, Channel.POPUP), await scene.sent(person, Channel.POPUP)
    popup = (await now_shown(scene, person))["popup"]
    assert popup["id"] == str(first)
    await shows(scene, person, popup)
    assert await popup_shown(scene, person) == str(second)


async def test_a_showing_nobody_was_asked_for_is_refused(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    message = await scene.sent(person, Channel.POPUP)
    popup = (await now_shown(scene, person))["popup"]
    unknown = await shows(scene, person, {**popup, "impression": str(uuid4())})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "unknown_impression")
    assert (await shows(scene, other, popup)).status_code == 404
    assert (await shows(scene, person, {**popup, "id": str(uuid4())})).status_code == 404
    assert (await shows(scene, person, popup, "paper")).status_code == 422
    assert await scene.status(message) == "delivered"
    path = f"/v1/customers/{person.user_id}/placements"
    assert (await scene.get(path, INBOX)).status_code == 422
    assert (await scene.get(f"{path}?surface=web", READER)).status_code == 403
    assert (await scene.get("/v1/customers/nobody/placements?surface=web", INBOX)).status_code == 404
