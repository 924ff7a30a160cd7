"""One-click unsubscribing and the page of preferences: what a customer says there holds, and nothing else does."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from uuid import UUID, uuid4

import httpx
import pytest

from domain.links import FORM_LASTS, Links
from domain.messages import Channel
from policy.configuration import Policy
from tests.api.scene import PUBLIC, Person, Scene, email_event
from tests.api.test_links import is_a_safe_page, tracked

WAYS = (Channel.EMAIL, Channel.SMS, Channel.WHATSAPP, Channel.PUSH, Channel.CALL)


def unsubscribing(scene: Scene, message: UUID) -> str:
    return scene.context.links.unsubscribe(message).removeprefix(PUBLIC)


def preferring(scene: Scene, message: UUID) -> str:
    return scene.context.links.preferences(message).removeprefix(PUBLIC)


@dataclass
class Shown(HTMLParser):
    """A page as a person sees it: what is ticked, what can be pressed, what is told."""

    html: str
    hidden: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, bool] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)
    actions: set[str] = field(default_factory=set)
    told: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        match tag, given.get("type"):
            case "input", "hidden":
                self.hidden[given["name"]] = given["value"]
            case "input", "checkbox":
                self.boxes[given["value"]] = "checked" in given
            case "button", _:
                self.buttons.append(given["value"])
            case "form", _:
                assert given["method"] == "post"
                self.actions.add(given["action"])

    def handle_data(self, data: str) -> None:
        if self.get_starttag_text() == '<p class="told" role="status">' and not self.told:
            self.told = data

    def form(self, *, do: str = "save", **ticks: bool) -> dict[str, object]:
        """The form as a browser sends it, after some boxes were ticked or cleared: ``sms_offers=False``."""
        boxes = self.boxes | {name.replace("_", ":", 1): ticked for name, ticked in ticks.items()}
        return {**self.hidden, "do": do, "wants": [value for value, ticked in boxes.items() if ticked]}


async def seen(scene: Scene, message: UUID) -> Shown:
    answer = await scene.http.get(preferring(scene, message))
    assert answer.status_code == 200
    return Shown(answer.text)


async def saved(
    scene: Scene, message: UUID, form: dict[str, object], status: int = 200, headers: dict[str, str] | None = None
) -> Shown:
    answer = await scene.http.post(preferring(scene, message), data=form, headers=headers)
    assert answer.status_code == status, answer.text
    assert is_a_safe_page(answer)
    return Shown(answer.text)


async def a_letter(scene: Scene, locale: str = "en") -> tuple[Person, UUID]:
    person = await scene.person()
    return person, await scene.sent(person, Channel.EMAIL, locale=locale)


@pytest.fixture
def more_topics(scene: Scene) -> Iterator[None]:
    """Two topics, and calls only for those who asked for them."""
    context = scene.context
    before = context.deployment
    policy = Policy.model_validate(
        {
            "topics": {
                "offers": {"title": {"en": "Offers & <reminders>", "ru": "Предложения"}},
                "news": {"title": {"en": "News", "ru": "Новости"}},
            },
            "consent": {"call": "required"},
        }
    )
    context.deployment = before.model_copy(update={"policy": policy})
    yield
    context.deployment = before


# One click.


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
        (
            b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (b"", ""),
    ],
)
async def test_one_click_withdraws_consent_at_once_without_cookies_or_redirects(
    scene: Scene, body: bytes, content_type: str
) -> None:
    person, message = await a_letter(scene)
    headers = {"User-Agent": "Mail/1.0 " + "x" * 500} | ({"Content-Type": content_type} if content_type else {})
    answer = await scene.http.post(unsubscribing(scene, message), content=body, headers=headers)
    assert answer.status_code == 200
    assert is_a_safe_page(answer)
    (entry,) = await scene.ledger(person)
    assert (entry["channel"], entry["topic"], entry["given"], entry["source"]) == ("email", "*", False, "one_click")
    assert entry["address"] == person.email.lower()
    assert entry["proof"]["message"] == str(message)
    assert len(entry["proof"]["user_agent"]) == 200
    assert await scene.allows(person, Channel.EMAIL) == (False, "withdrawn")
    assert await scene.allows(person, Channel.SMS) == (True, "assumed")
    # What must reach them still does.
    assert await scene.suppressed(Channel.EMAIL, person.email) is None


async def test_one_click_holds_for_whoever_is_reached_there_and_for_a_new_address(scene: Scene) -> None:
    person, message = await a_letter(scene)
    other = await scene.person(email=person.email.upper())
    await scene.http.post(unsubscribing(scene, message))
    assert await scene.allows(other, Channel.EMAIL) == (False, "withdrawn")
    assert await scene.allows(other, Channel.SMS) == (True, "assumed")
    await scene.tells("identify", person.user_id, traits={"email": f"new-{person.email}"})
    assert await scene.allows(person, Channel.EMAIL) == (False, "withdrawn")


async def test_the_newest_wish_holds_also_by_an_old_letter(scene: Scene) -> None:
    person, old = await a_letter(scene)
    new = await scene.sent(person, Channel.EMAIL)
    await scene.http.post(unsubscribing(scene, new))
    await saved(scene, new, (await seen(scene, new)).form(email_offers=True))
    assert await scene.allows(person, Channel.EMAIL) == (True, "given")
    await scene.http.post(unsubscribing(scene, old))
    assert await scene.allows(person, Channel.EMAIL) == (False, "withdrawn")


async def test_a_wish_follows_its_customer_into_a_merge(scene: Scene) -> None:
    person, message = await a_letter(scene)
    other = await scene.person()
    await scene.http.post(unsubscribing(scene, message))
    await scene.tells("alias", other.user_id, previousId=person.user_id)
    assert await scene.allows(other, Channel.EMAIL) == (False, "withdrawn")
    # The letter's links act for whom its reader turned out to be.
    await saved(scene, message, (await seen(scene, message)).form(do="nothing"))
    assert await scene.allows(other, Channel.SMS) == (False, "withdrawn")


# Looking.


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("address", [unsubscribing, preferring])
async def test_looking_changes_nothing_and_shows_nothing_personal(scene: Scene, method: str, address: object) -> None:
    person, message = await a_letter(scene)
    page = await scene.http.request(method, address(scene, message))  # type: ignore[operator]
    assert page.status_code == 200
    assert is_a_safe_page(page)
    assert await scene.ledger(person) == []
    for personal in (person.email, person.email.split("@")[0], person.phone, person.user_id, "http"):
        assert personal not in page.text
    if (method, address) == ("GET", unsubscribing):
        assert "P***@e***.com" in page.text
        assert Shown(page.text).buttons[0] == "unsubscribe"


@pytest.mark.parametrize(("locale", "language"), [("ru", "ru"), ("ru-RU", "ru"), ("en-GB", "en"), ("de", "en")])
async def test_pages_speak_the_messages_language(scene: Scene, locale: str, language: str) -> None:
    _, message = await a_letter(scene, locale)
    for method, path in (
        ("GET", unsubscribing(scene, message)),
        ("POST", unsubscribing(scene, message)),
        ("GET", preferring(scene, message)),
    ):
        page = await scene.http.request(method, path)
        assert f'<html lang="{language}">' in page.text
        assert ("ыбрать" in page.text or "Сохранить" in page.text) == (language == "ru")


async def test_an_address_that_is_not_ours_is_unknown(scene: Scene) -> None:
    person, message = await a_letter(scene)
    stranger = Links(PUBLIC, b"another secret, of somebody else")
    for path in (
        tracked(scene, message, 0).replace("/r/", "/u/"),
        unsubscribing(scene, uuid4()),
        unsubscribing(scene, message)[:-2] + "AA",
        unsubscribing(scene, message).replace("/u/", "/p/"),
        preferring(scene, message).replace("/p/", "/u/"),
        f"/p/{scene.context.links.form(message, datetime.now(UTC))}",
        stranger.unsubscribe(message).removeprefix(PUBLIC),
        stranger.preferences(message).removeprefix(PUBLIC),
        "/u/x",
        "/p/%00",
    ):
        for method in ("GET", "POST"):
            answer = await scene.http.request(method, path)
            assert answer.status_code == 404, path
            assert is_a_safe_page(answer)
    assert await scene.ledger(person) == []


async def test_the_links_of_who_was_erased_lead_nowhere(scene: Scene) -> None:
    person, message = await a_letter(scene)
    form = (await seen(scene, message)).form(do="nothing")
    await scene.http.post(unsubscribing(scene, message))
    assert (await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")).status_code == 204
    for path in (unsubscribing(scene, message), preferring(scene, message)):
        for method in ("GET", "POST"):
            assert (await scene.http.request(method, path, data=form)).status_code == 404
    kept = await scene.context.pool.fetch("select address, proof from consents where customer_id = $1", person.customer)
    assert [(row["address"].startswith("erased:"), row["proof"]) for row in kept] == [(True, {})]
    # Who is reached there later has not agreed to anything.
    again = await scene.person(email=person.email)
    assert await scene.allows(again, Channel.EMAIL) != (True, "assumed")


# Choosing.


async def test_the_page_shows_the_channels_one_has_and_what_holds(scene: Scene, more_topics: None) -> None:
    person, message = await a_letter(scene)
    shown = await seen(scene, message)
    assert list(shown.boxes) == [f"{channel}:{topic}" for topic in ("offers", "news") for channel in WAYS]
    assert [value for value, ticked in shown.boxes.items() if not ticked] == ["call:offers", "call:news"]
    assert "Offers &amp; &lt;reminders&gt;" in shown.html
    assert shown.buttons == ["save", "nothing"]
    await scene.context.pool.execute("update customers set phone = null where id = $1", person.customer)
    assert {value.split(":")[0] for value in (await seen(scene, message)).boxes} == {"email", "push"}


async def test_only_what_is_changed_is_added_to_the_ledger(scene: Scene, more_topics: None) -> None:
    person, message = await a_letter(scene)
    shown = await saved(scene, message, (await seen(scene, message)).form())
    assert await scene.ledger(person) == []
    shown = await saved(scene, message, shown.form(email_news=False, call_offers=True))
    assert shown.boxes["email:news"] is False
    assert shown.boxes["call:offers"] is True
    assert "News (SMS, WhatsApp, App notifications)" in shown.told
    entries = [(each["channel"], each["topic"], each["given"]) for each in await scene.ledger(person)]
    assert sorted(entries) == [("call", "offers", True), ("email", "news", False)]
    await saved(scene, message, shown.form())
    assert len(await scene.ledger(person)) == 2
    assert {each["source"] for each in await scene.ledger(person)} == {"preference_page"}
    assert await scene.allows(person, Channel.EMAIL, "news") == (False, "withdrawn")
    assert await scene.allows(person, Channel.EMAIL, "offers") == (True, "assumed")
    assert await scene.allows(person, Channel.CALL, "offers") == (True, "given")
    assert await scene.allows(person, Channel.CALL, "news") == (False, "never_given")


async def test_no_marketing_at_all_is_one_wish_for_everything(scene: Scene) -> None:
    person, message = await a_letter(scene)
    for _ in range(2):
        shown = await saved(scene, message, (await seen(scene, message)).form(do="nothing"))
    assert not any(shown.boxes.values())
    assert [(each["channel"], each["topic"], each["given"]) for each in await scene.ledger(person)] == [
        ("*", "*", False)
    ]
    assert {await scene.allows(person, channel) for channel in Channel} == {(False, "withdrawn")}
    shown = await saved(scene, message, shown.form(sms_offers=True))
    assert await scene.allows(person, Channel.SMS) == (True, "given")
    assert await scene.allows(person, Channel.EMAIL) == (False, "withdrawn")
    await saved(scene, message, shown.form(do="nothing"))
    assert await scene.allows(person, Channel.SMS) == (False, "withdrawn")


async def test_the_pages_button_unsubscribes_from_the_messages_channel(scene: Scene) -> None:
    person, message = await a_letter(scene)
    page = Shown((await scene.http.get(unsubscribing(scene, message))).text)
    (action,) = page.actions
    assert action == f"..{preferring(scene, message)}"
    shown = await saved(scene, message, {"form": page.hidden["form"], "do": "unsubscribe"})
    assert shown.boxes["email:offers"] is False
    assert shown.told.startswith("You are unsubscribed")
    (entry,) = await scene.ledger(person)
    assert (entry["channel"], entry["topic"], entry["source"]) == ("email", "*", "preference_page")


async def test_who_shares_a_mailbox_withdraws_for_all_there_and_agrees_for_oneself(scene: Scene) -> None:
    first, letter = await a_letter(scene)
    second = replace(await scene.person(email=first.email), email=first.email)
    await saved(scene, letter, (await seen(scene, letter)).form(email_offers=False, sms_offers=False))
    assert await scene.allows(second, Channel.EMAIL) == (False, "withdrawn")
    # Of the phone the mailbox proves nothing.
    assert await scene.allows(second, Channel.SMS) == (True, "assumed")
    await saved(scene, letter, (await seen(scene, letter)).form(email_offers=True))
    assert await scene.allows(first, Channel.EMAIL) == (True, "given")
    assert await scene.allows(second, Channel.EMAIL) == (False, "withdrawn")


async def test_what_was_wished_elsewhere_since_the_page_was_shown_stays(scene: Scene) -> None:
    person, message = await a_letter(scene)
    stale = await seen(scene, message)
    await scene.http.post(unsubscribing(scene, message))
    await scene.texts(f"whatsapp:{person.phone}", "STOP")
    shown = await saved(scene, message, stale.form(push_offers=False))
    assert shown.boxes["email:offers"] is False
    before = len(await scene.ledger(person))
    await saved(scene, message, stale.form(email_offers=False))
    assert len(await scene.ledger(person)) == before
    assert await scene.allows(person, Channel.EMAIL) == (False, "withdrawn")
    assert await scene.allows(person, Channel.WHATSAPP) == (False, "suppressed:opted_out")
    assert await scene.allows(person, Channel.PUSH) == (False, "withdrawn")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "spamreport"}, "Email: you reported"),
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, "Email: our messages do not reach"),
    ],
)
async def test_what_is_suppressed_cannot_be_chosen_and_says_why(
    scene: Scene, event: dict[str, str], words: str
) -> None:
    person, message = await a_letter(scene)
    await scene.sendgrid_says(email_event(message=message, **event))
    await scene.texts(person.phone, "STOP")
    shown = await seen(scene, message)
    assert {value.split(":")[0] for value in shown.boxes} == {"whatsapp", "push", "call"}
    assert words in shown.html
    assert "SMS: you wrote STOP. Write START" in shown.html
    before = await scene.ledger(person)
    wanted = ["email:offers", "sms:offers", "pigeon:offers", "push:secrets", "push", "*:*", "", "💥"]
    await saved(scene, message, {**shown.form(), "wants": [*(value for value in shown.boxes), *wanted]})
    assert await scene.ledger(person) == before


async def test_an_unsubscribe_the_provider_keeps_is_told(scene: Scene) -> None:
    person, message = await a_letter(scene)
    await scene.sendgrid_says(email_event("dropped", message, reason="Unsubscribed Address"))
    shown = await seen(scene, message)
    assert shown.boxes["email:offers"] is False
    shown = await saved(scene, message, shown.form(email_offers=True))
    assert "Our mail service still keeps" in shown.html
    path = f"/v1/customers/{person.user_id}/subscriptions"
    assert (await scene.get(path)).json()["kept_by_provider"] == "sendgrid"
    await scene.sendgrid_says(email_event("group_resubscribe", message))
    assert (await scene.get(path)).json()["kept_by_provider"] is None


# Whose form it is.


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": PUBLIC},
        {"Origin": "https://evil.example"},
        {"Origin": f"{PUBLIC}.evil.example"},
        {"Origin": PUBLIC.replace("https", "http")},
    ],
)
async def test_a_form_from_another_site_is_not_taken(scene: Scene, headers: dict[str, str]) -> None:
    person, message = await a_letter(scene)
    shown = await saved(scene, message, (await seen(scene, message)).form(do="nothing"), 403, headers)
    assert shown.told.startswith("Nothing was saved")
    assert await scene.ledger(person) == []


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Origin": "null"}, {"Origin": PUBLIC}, {}]
)
async def test_a_form_from_our_page_is_taken(scene: Scene, headers: dict[str, str]) -> None:
    person, message = await a_letter(scene)
    await saved(scene, message, (await seen(scene, message)).form(do="nothing"), headers=headers)
    assert len(await scene.ledger(person)) == 1


async def test_a_form_is_taken_only_for_its_own_page_and_for_a_while(scene: Scene) -> None:
    person, message = await a_letter(scene)
    links, now = scene.context.links, datetime.now(UTC)
    token = preferring(scene, message).removeprefix("/p/")
    for form in (
        "",
        token,
        links.form(uuid4(), now),
        links.form(message, now - FORM_LASTS - timedelta(seconds=2)),
        links.form(message, now)[:-2] + "AA",
        Links(PUBLIC, b"another secret, of somebody else").form(message, now),
    ):
        await saved(scene, message, {"form": form, "do": "nothing"}, 403)
    assert await scene.ledger(person) == []
    await saved(scene, message, {"form": links.form(message, now - FORM_LASTS + timedelta(minutes=1)), "do": "nothing"})
    assert len(await scene.ledger(person)) == 1


@pytest.mark.parametrize("body", [b"", b"\xff", b"form", b"do=nothing", b"a&" * 1000, b"form=" + b"x" * 10_000])
async def test_what_is_no_form_saves_nothing(scene: Scene, body: bytes) -> None:
    person, message = await a_letter(scene)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await scene.http.post(preferring(scene, message), content=body, headers=headers)
    assert answer.status_code == 403
    assert await scene.ledger(person) == []


async def test_an_endless_form_is_refused(scene: Scene) -> None:
    person, message = await a_letter(scene)
    form = {**(await seen(scene, message)).form(do="nothing"), "more": "x" * 20_000}
    answer: httpx.Response = await scene.http.post(preferring(scene, message), data=form)
    assert answer.status_code == 413
    assert await scene.ledger(person) == []
