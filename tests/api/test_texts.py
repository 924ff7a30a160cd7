"""A text is changed without a release: drafted, checked, looked at, published, taken back."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.messages import Channel
from store import texts
from store.texts import Name
from tests.api.scene import PUBLIC, READER, Scene
from tests.storyboards.stories import Rounds
from workflows.car_dealer.visit_booked import VisitBooked
from workflows.catalog import Catalog

PUSH = "/v1/texts/abandoned_application/partly_filled/push/en"
SMS = "/v1/texts/abandoned_application/partly_filled/sms/en"
VISIT = "/v1/texts/visit_booked/tomorrow/sms/en"
LINK = "{{ site }}/credit/application/{{ event.application_id }}"
GOOD = f"---\ntitle: Still there\nlink: {LINK}\n---\nGo on where you stopped."


MONTHLY = "/v1/texts/rounds/first/email/en"
LETTER = "---\nsubject: This month\n---\nRates have fallen: {{ site }}/rates"
WHATSAPP = "/v1/texts/campaigns/spring/whatsapp/en"


def buttons(*titles: str) -> str:
    return "\n".join(f"button: b{place} | {title}" for place, title in enumerate(titles))


async def draft(scene: Scene, source: str, path: str = PUSH, **more: Any) -> httpx.Response:
    return await scene.as_operator("POST", f"{path}/versions", {"source": source, **more})


async def publish(scene: Scene, path: str, number: int) -> httpx.Response:
    return await scene.as_operator("POST", f"{path}/versions/{number}/publish")


async def in_use(scene: Scene, path: str = PUSH) -> dict[str, Any]:
    told: dict[str, Any] = (await scene.get(path)).json()
    return told


async def test_a_version_is_drafted_published_and_taken_back(scene: Scene) -> None:
    before = await in_use(scene)
    assert before["published"] is None
    one = (await draft(scene, GOOD, note="shorter")).json()
    assert (one["status"], one["problems"], one["created_by"], one["note"]) == (
        "draft",
        [],
        "operator:operate",
        "shorter",
    )
    assert one["sample"]["title"] == "Still there"
    assert one["sample"]["link"].startswith(f"{PUBLIC}/r/")  # As long as they are here.
    assert (await in_use(scene))["source"] == before["source"]
    assert (await publish(scene, PUSH, one["number"])).json()["published_by"] == "operator:operate"
    assert (await in_use(scene))["source"] == GOOD
    two = (await draft(scene, GOOD.replace("Still there", "Almost there"))).json()
    assert (await publish(scene, PUSH, two["number"])).status_code == 200
    assert (await publish(scene, PUSH, two["number"])).status_code == 409
    back = (await scene.as_operator("POST", f"{PUSH}/rollback")).json()
    assert (back["published"], back["source"]) == (one["number"], GOOD)
    file = (await scene.as_operator("POST", f"{PUSH}/rollback")).json()
    assert (file["published"], file["source"]) == (None, before["source"])
    assert (await scene.as_operator("POST", f"{PUSH}/rollback")).status_code == 409
    # A version that was published once can be published again.
    assert (await publish(scene, PUSH, one["number"])).status_code == 200
    assert [each["status"] for each in (await in_use(scene))["versions"]] == ["retired", "published"]
    await scene.as_operator("POST", f"{PUSH}/rollback")


async def test_what_was_taken_back_does_not_come_back_with_the_next(scene: Scene) -> None:
    async def publishes(title: str) -> int:
        number: int = (await draft(scene, GOOD.replace("Still there", title))).json()["number"]
        assert (await publish(scene, PUSH, number)).status_code == 200
        return number

    async def goes_back() -> int | None:
        number: int | None = (await scene.as_operator("POST", f"{PUSH}/rollback")).json()["published"]
        return number

    await publishes("A mistake")
    assert await goes_back() is None
    one, two = await publishes("One"), await publishes("Two")
    await publishes("Three")
    assert [await goes_back() for _ in range(3)] == [two, one, None]


async def test_who_changed_a_text_and_when_is_on_record(scene: Scene) -> None:
    number = (await draft(scene, GOOD)).json()["number"]
    await publish(scene, PUSH, number)
    back = (await scene.as_operator("POST", f"{PUSH}/rollback")).json()
    version = next(each for each in back["versions"] if each["number"] == number)
    assert [version[f"{what}_by"] for what in ("created", "published", "retired")] == ["operator:operate"] * 3
    assert version["created_at"] <= version["published_at"] <= version["retired_at"]
    for action, about in (("draft_text", number), ("publish_version", number), ("roll_back", None)):
        answer = await scene.as_operator("GET", f"/v1/audit?action={action}&limit=1")
        (entry,) = answer.json()["entries"]
        assert entry["detail"] == {"text": PUSH.removeprefix("/v1/texts/"), "edition": "", "version": about}


@pytest.mark.parametrize(
    ("path", "source", "problem"),
    [
        (PUSH, GOOD.replace("Go on", "{{ event.bank }}: go on"), "event.bank: nothing provides this variable"),
        (PUSH, GOOD.replace("Go on", "{{ customer.shoe_size }}"), "customer.shoe_size: nothing provides this variable"),
        (PUSH, GOOD.replace("Go on", "Go on " * 60), "body: "),
        (PUSH, GOOD.replace(LINK, "javascript:alert(1)"), "a link must be an http(s) address"),
        (PUSH, GOOD.replace(LINK, "https://{{ customer.first_name }}.example/"), "must lead to the site"),
        (SMS, "Прочтите " * 60, "body: 9 segments (ucs-2), at most 6"),
        (
            SMS,
            "{{ customer.first_name }}, " + "go on with it. " * 30,
            "body: 7 segments (ucs-2), at most 6, for a customer whose data have letters beyond GSM-7",
        ),
        (SMS, "Go on: www.cars.example/credit", "body: www.cars.example/credit is no link that is tracked"),
        (SMS, "Спросите бота: t.me/cars_bot.", "body: t.me/cars_bot is no link that is tracked"),
    ],
)
async def test_what_cannot_be_sent_is_drafted_but_not_published(
    scene: Scene, path: str, source: str, problem: str
) -> None:
    await scene.person(first_name="Ada")
    drafted = (await draft(scene, source, path)).json()
    assert problem in "; ".join(drafted["problems"])
    refused = await publish(scene, path, drafted["number"])
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_text")
    assert problem in refused.json()["message"]
    assert (await in_use(scene, path))["published"] is None
    assert (await scene.as_operator("DELETE", f"{path}/versions/{drafted['number']}")).status_code == 204
    assert (await scene.get(f"{path}/versions/{drafted['number']}")).status_code == 404


async def test_the_number_of_a_discarded_draft_is_nobody_elses(scene: Scene) -> None:
    """Whoever still means to publish it must not publish what somebody else has written."""
    first = (await draft(scene, GOOD)).json()["number"]
    assert (await scene.as_operator("DELETE", f"{PUSH}/versions/{first}")).status_code == 204
    second = (await draft(scene, GOOD)).json()["number"]
    assert second != first
    assert (await publish(scene, PUSH, first)).status_code == 404
    assert (await scene.as_operator("DELETE", f"{PUSH}/versions/{first}")).status_code == 404
    assert (await in_use(scene))["versions"][0]["number"] == second


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("no header", "line 1: header field 'title' is missing"),
        ("---\ntitle: x\n---\n{{ customer.first_name", "line 4: "),
        ("---\ntitle: x\n---\n{{ secrets.key }}", "line 4: unknown variable 'secrets'"),
        ("---\ntitle: x\nsubject: y\n---\nz", "line 3: unknown header field 'subject'"),
        ("---\ntitle: x\n---\n", "there is no body"),
    ],
)
async def test_what_is_no_text_is_refused_with_its_line(scene: Scene, source: str, rule: str) -> None:
    refused = await draft(scene, source)
    assert refused.status_code == 400
    (error,) = refused.json()["errors"]
    assert error["field"] == "source"
    assert rule in error["rule"]


async def test_a_name_nobody_sends_is_refused(scene: Scene) -> None:
    misspelt = PUSH.replace("partly_filled", "party_filled")
    refused = await draft(scene, GOOD, misspelt)
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_text")
    assert (await scene.get(misspelt)).status_code == 404


async def test_a_preview_is_written_with_a_customers_own_data(scene: Scene) -> None:
    person = await scene.person(first_name="Grace")
    number = (await draft(scene, GOOD.replace("Go on", "{{ customer.first_name }}, go on"))).json()["number"]
    body = {"user_id": person.user_id, "event": {"application_id": "A-77"}}
    shown = await scene.as_operator("POST", f"{PUSH}/versions/{number}/preview", body)
    assert shown.json()["body"] == "Grace, go on where you stopped."
    assert shown.json()["link"].endswith("/credit/application/A-77")
    # What is not told is taken from the stay they are in.
    theirs = await scene.as_operator("POST", f"{PUSH}/versions/{number}/preview", {"user_id": person.user_id})
    key = await scene.context.pool.fetchval("select key from enrolments where id = $1", person.enrolment)
    assert theirs.json()["link"].endswith(f"/credit/application/{key}")
    stranger = f"u-{uuid4().hex}"
    await scene.tells("identify", stranger, traits={"first_name": "Ada"})
    missing = await scene.as_operator("POST", f"{PUSH}/versions/{number}/preview", {"user_id": stranger})
    assert (missing.status_code, missing.json()["errors"][0]["rule"]) == (
        400,
        "event.application_id is missing; the customer has been in no journey that sends this text, "
        "so give event and facts",
    )
    nobody = await scene.as_operator("POST", f"{PUSH}/versions/{number}/preview", {"user_id": uuid4().hex})
    assert nobody.status_code == 404


async def test_a_preview_has_the_journeys_own_facts_of_the_customers_stay(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.context, "catalog", Catalog.of([VisitBooked]))
    user, at = f"u-{uuid4().hex}", "2031-05-02T10:30:00Z"
    await scene.tells("identify", user, traits={"first_name": "Grace", "timezone": "Europe/Berlin"})
    await scene.tells("track", user, event="visit_booked", properties={"visit_id": "V-1", "at": at, "centre": "west"})
    customer = await scene.customer_of(user)
    assert customer
    await scene.dispatched(customer)
    source = "{{ visit.day }} {{ visit.hour }}: see you at {{ site }}/visit"
    number = (await draft(scene, source, VISIT)).json()["number"]
    preview = f"{VISIT}/versions/{number}/preview"
    seen = await scene.as_operator("POST", preview, {"user_id": user})
    assert seen.json()["text"].startswith("02.05 12:30: see you at ")
    told = {"user_id": user, "facts": {"visit": {"day": "03.05", "hour": "9:00"}}}
    assert (await scene.as_operator("POST", preview, told)).json()["text"].startswith("03.05 9:00: ")


async def test_a_misspelt_variable_with_a_default_is_not_published_unless_it_is_meant(scene: Scene) -> None:
    source = GOOD.replace("Go on", '{{ customer.frist_name | default: "Friend" }}, go on')
    drafted = (await draft(scene, source)).json()
    assert (drafted["problems"], drafted["unknown"]) == ([], ["customer.frist_name"])
    refused = await publish(scene, PUSH, drafted["number"])
    assert (refused.status_code, refused.json()["code"]) == (409, "unknown_variables")
    assert refused.json()["errors"][0]["rule"] == "customer.frist_name: nothing provides this variable"
    confirmed = await scene.as_operator("POST", f"{PUSH}/versions/{drafted['number']}/publish?confirm=true")
    assert confirmed.json()["status"] == "published"
    assert (await scene.as_operator("POST", f"{PUSH}/rollback")).status_code == 200
    # A trait the texts of the release speak of is no mistake, though nobody may have it yet.
    spelt = (await draft(scene, source.replace("frist_name", "curator_phone"))).json()
    assert (spelt["problems"], spelt["unknown"]) == ([], [])


async def test_only_the_version_that_is_meant_is_taken_back(scene: Scene) -> None:
    """Two people see the same mistake at the same time."""
    numbers = [(await draft(scene, GOOD.replace("Still", title))).json()["number"] for title in ("One", "Two")]
    for number in numbers:
        await publish(scene, PUSH, number)
    first, second = [await scene.as_operator("POST", f"{PUSH}/rollback?version={numbers[1]}") for _ in range(2)]
    assert first.json()["published"] == numbers[0]
    assert (second.status_code, second.json()["code"]) == (409, "another_in_use")
    assert (await in_use(scene))["published"] == numbers[0]
    await scene.as_operator("POST", f"{PUSH}/rollback")


async def test_a_text_a_release_cannot_read_any_more_is_shown_and_can_be_taken_back(scene: Scene) -> None:
    number = (await draft(scene, GOOD)).json()["number"]
    await publish(scene, PUSH, number)
    await scene.context.pool.execute("update texts set source = '{{ gone.for_good }}' where status = 'published'")
    shown = await in_use(scene)
    assert (shown["published"], shown["source"]) == (number, "{{ gone.for_good }}")
    assert "header field 'title' is missing" in shown["broken"] or "unknown variable 'gone'" in shown["broken"]
    assert (await scene.get(f"{PUSH}/versions/{number}")).json()["problems"] == [shown["broken"]]
    back = (await scene.as_operator("POST", f"{PUSH}/rollback")).json()
    assert (back["published"], back["broken"]) == (None, None)


async def test_every_text_is_listed_with_who_uses_it(scene: Scene) -> None:
    listed = (await scene.get("/v1/texts")).json()
    one = next(each for each in listed if each["template"].endswith("/another_bank") and each["channel"] == "call")
    assert one["used_by"] == ["RefusedByBank"]
    assert {each["locale"] for each in listed} == {"en", "ru"}


@pytest.fixture
def rounds(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journey runs that has other texts every month."""
    monkeypatch.setattr(scene.context, "catalog", Catalog.of([Rounds]))
    monkeypatch.setattr(scene.context, "boards", {})


@pytest.mark.usefixtures("rounds")
async def test_an_edition_is_for_its_month_alone(scene: Scene) -> None:
    made = await scene.as_operator("POST", f"{MONTHLY}/versions?edition=2031-12", {"source": LETTER})
    assert (made.status_code, made.json()["problems"]) == (201, [])
    december = f"{MONTHLY}?edition=2031-12"
    assert (await scene.get(december)).json()["source"] is None
    number = made.json()["number"]
    published = await scene.as_operator("POST", f"{MONTHLY}/versions/{number}/publish?edition=2031-12")
    assert published.json()["status"] == "published"
    assert (await scene.get(december)).json()["source"] == LETTER
    assert (await scene.get(f"{MONTHLY}?edition=2032-01")).status_code == 404
    assert (await scene.get(f"{MONTHLY}?edition=2031-13")).status_code == 422


@pytest.mark.usefixtures("rounds")
async def test_what_this_month_lacks_is_listed(scene: Scene) -> None:
    listed = (await scene.get("/v1/texts")).json()
    lacking = [(each["template"], each["locale"]) for each in listed if each["used_by"] and each["published"] is None]
    assert lacking == [(f"rounds/{name}", locale) for name in ("first", "second") for locale in ("en", "ru")]
    assert {each["edition"] for each in listed if each["used_by"] == ["Rounds"]} >= {f"{datetime.now(UTC):%Y-%m}"}
    # Who writes the next month's wants to know before it begins.
    listed = (await scene.get("/v1/texts?month=2033-01")).json()
    assert {each["published"] for each in listed if each["edition"] == "2033-01"} == {None}
    assert (await scene.get("/v1/texts?month=2033-13")).status_code == 422


@pytest.mark.usefixtures("rounds")
async def test_a_month_is_told_where_there_is_one_and_nowhere_else(scene: Scene) -> None:
    without = await draft(scene, LETTER, MONTHLY)
    assert (without.status_code, without.json()["message"]) == (
        404,
        "rounds/first is written for each month; give one as the edition",
    )
    always = await scene.as_operator("POST", f"{PUSH}/versions?edition=2031-12", {"source": GOOD})
    assert always.status_code == 404
    assert "is for always, no journey asks for a month's" in always.json()["message"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("Spring is here.", "category: is required for whatsapp"),
        (f"---\ncategory: marketing\n---\n{'x' * 1001}", "body: 1001 characters, at most 1000"),
        (f"---\ncategory: session\n{buttons('a', 'b', 'c', 'd')}\n---\nWell?", "button: 4 of them, at most 3"),
        (f"---\ncategory: session\n{buttons('y' * 21)}\n---\nWell?", "button b0: 21 characters, at most 20"),
        (f"---\ncategory: marketing\n{buttons(*'abcdefghijk')}\n---\nWell?", "button: 11 of them, at most 10"),
        (f"---\ncategory: marketing\n{buttons('y' * 26)}\n---\nWell?", "button b0: 26 characters, at most 25"),
    ],
)
async def test_a_whatsapp_keeps_to_its_channels_rules(scene: Scene, source: str, problem: str) -> None:
    drafted = (await draft(scene, source, WHATSAPP)).json()
    assert drafted["problems"] == [problem]
    refused = await publish(scene, WHATSAPP, drafted["number"])
    assert (refused.status_code, refused.json()["message"]) == (400, problem)


async def test_a_months_whatsapp_is_reviewed_when_it_is_published(scene: Scene) -> None:
    name = Name("rounds/first", Channel.WHATSAPP, "en", "2031-12")
    source = "---\ncategory: marketing\n---\nRates have fallen: {{ site }}/rates has them all."
    async with scene.context.pool.acquire() as connection:
        version = await texts.draft(connection, name, source, None, "tests")
    path = f"/v1/texts/rounds/first/whatsapp/en/versions/{version.number}/publish?edition=2031-12"
    assert (await scene.as_operator("POST", path)).status_code == 200
    reviewed = (await scene.get("/v1/whatsapp/templates")).json()
    (one,) = [each for each in reviewed if (each["template"], each["edition"]) == ("rounds/first", "2031-12")]
    assert (one["status"], one["requested_by"]) == ("requested", "operator:operate")


async def test_a_whatsapp_names_a_category_that_there_is(scene: Scene) -> None:
    good = "---\ncategory: marketing\n---\nSpring is here: {{ site }}/spring has it all."
    refused = await draft(scene, good.replace("marketing", "promotion"), WHATSAPP)
    assert refused.json()["errors"][0]["rule"] == (
        "line 2: a category is one of marketing, utility, authentication, session, once"
    )
    made = (await draft(scene, good, WHATSAPP)).json()
    assert (await publish(scene, WHATSAPP, made["number"])).json()["status"] == "published"


async def test_readers_may_look_and_not_write(scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {READER}"}
    for method, path in (("POST", f"{PUSH}/versions"), ("POST", f"{PUSH}/rollback")):
        assert (await scene.http.request(method, path, headers=headers, json={"source": GOOD})).status_code == 403
