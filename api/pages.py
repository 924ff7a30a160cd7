"""Pages for customers, in their language. They run no script, load nothing, and must not be kept, indexed or framed."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse, Response
from liquid import Environment, FileSystemLoader, Markup, StrictUndefined

from api.problems import RETRY_AFTER_SECONDS
from domain.messages import Channel

_HTML = Path(__file__).parent / "html"
_STYLE = (_HTML / "pages.css").read_text(encoding="utf-8")
_TEMPLATES = Environment(loader=FileSystemLoader(_HTML), autoescape=True, undefined=StrictUndefined)

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}

PAGE: dict[int | str, dict[str, Any]] = {200: {"description": "A page.", "content": {"text/html": {}}}}
MISSING: dict[int | str, dict[str, Any]] = {
    404: {"description": "Not an address of ours: a page.", "content": {"text/html": {}}},
    503: {"description": "PostgreSQL does not answer: a page, with Retry-After.", "content": {"text/html": {}}},
}


@dataclass(frozen=True)
class Words:
    """What pages say in one language.

    Attributes:
        labels: Channels as things to choose.
        by: Channels within a sentence.
        leaving: What unsubscribing does; takes `by`.
        suppressed: Why a channel cannot be chosen, by reason; takes `label`.
        unreachable: The same for every other reason.
        kept: Our email provider holds on to an unsubscribe.
    """

    labels: Mapping[Channel, str]
    by: Mapping[Channel, str]
    choose: str
    leave: str
    leaving: str
    unsubscribe: str
    or_choose: str
    choose_instead: str
    still: str
    save: str
    nothing: str
    saved: str
    saved_none: str
    saved_nothing: str
    not_saved: str
    unsubscribed: str
    suppressed: Mapping[str, str]
    unreachable: str
    kept: str
    unknown: tuple[str, str]
    away: tuple[str, str]


WORDS = {
    "en": Words(
        labels={
            Channel.EMAIL: "Email",
            Channel.SMS: "SMS",
            Channel.WHATSAPP: "WhatsApp",
            Channel.PUSH: "App notifications",
            Channel.WEB_PUSH: "Browser notifications",
            Channel.CALL: "Phone calls",
        },
        by={
            Channel.EMAIL: "by email",
            Channel.SMS: "by SMS",
            Channel.WHATSAPP: "on WhatsApp",
            Channel.PUSH: "by app notifications",
            Channel.WEB_PUSH: "by browser notifications",
            Channel.CALL: "by phone",
            Channel.INBOX: "in your account",
            Channel.POPUP: "in pop-ups on our site and in our app",
            Channel.BANNER: "in banners on our site and in our app",
        },
        choose="What may we write to you about?",
        leave="Unsubscribe?",
        leaving="You will get no more marketing {by}.",
        unsubscribe="Unsubscribe",
        or_choose="Or choose what you hear about",
        choose_instead="Choose what you hear about",
        still="Messages you need, about your own applications and contracts, will still come.",
        save="Save",
        nothing="No marketing at all",
        saved="Saved. You will hear from us about: {chosen}.",
        saved_none="Saved. You have chosen nothing.",
        saved_nothing="Saved. You will get no marketing from us at all.",
        not_saved="Nothing was saved: this page was open for too long. Look it over and save it again, please.",
        unsubscribed="You are unsubscribed",
        suppressed={
            "opted_out": "{label}: you wrote STOP. Write START to the same number, and you can choose it again.",
            "complained": "{label}: you reported a message of ours as spam, so we send no more there.",
        },
        unreachable="{label}: our messages do not reach you there.",
        kept="Our mail service still keeps an earlier unsubscribe of yours; letters come again once that is undone.",
        unknown=("There is nothing here", "The address is not complete, or is not valid any more."),
        away=("One moment, please", "We cannot answer right now. Try again in a few seconds."),
    ),
    "ru": Words(
        labels={
            Channel.EMAIL: "Письма",
            Channel.SMS: "SMS",
            Channel.WHATSAPP: "WhatsApp",
            Channel.PUSH: "Уведомления приложения",
            Channel.WEB_PUSH: "Уведомления браузера",
            Channel.CALL: "Звонки",
        },
        by={
            Channel.EMAIL: "по электронной почте",
            Channel.SMS: "по SMS",
            Channel.WHATSAPP: "в WhatsApp",
            Channel.PUSH: "в уведомлениях приложения",
            Channel.WEB_PUSH: "в уведомлениях браузера",
            Channel.CALL: "по телефону",
            Channel.INBOX: "в личном кабинете",
            Channel.POPUP: "во всплывающих окнах на сайте и в приложении",
            Channel.BANNER: "в баннерах на сайте и в приложении",
        },
        choose="О чём вам писать?",
        leave="Отписаться?",
        leaving="Больше никакой рекламы {by}.",
        unsubscribe="Отписаться",
        or_choose="Или выберите, что получать",
        choose_instead="Выбрать, что получать",
        still="Нужные вам сообщения о ваших заявках и договорах будут приходить по-прежнему.",
        save="Сохранить",
        nothing="Никакой рекламы",
        saved="Сохранено. Вы будете получать: {chosen}.",
        saved_none="Сохранено. Вы ничего не выбрали.",
        saved_nothing="Сохранено. Вы больше не получите от нас никакой рекламы.",
        not_saved="Ничего не сохранено: страница была открыта слишком долго. Проверьте её и сохраните ещё раз.",
        unsubscribed="Вы отписаны",
        suppressed={
            "opted_out": "{label}: вы написали СТОП. Напишите START на тот же номер, и это снова можно будет выбрать.",
            "complained": "{label}: вы пожаловались на спам, и больше мы туда не пишем.",
        },
        unreachable="{label}: наши сообщения до вас не доходят.",
        kept="Почтовая служба ещё хранит вашу прежнюю отписку; письма снова придут, когда её снимут и там.",
        unknown=("Здесь ничего нет", "Адрес неполон или уже не действует."),
        away=("Одну минуту", "Сейчас мы не можем ответить. Попробуйте ещё раз через несколько секунд."),
    ),
}


@dataclass(frozen=True)
class Way:
    """A channel a topic may come by.

    Attributes:
        value: What the form sends if it is chosen.
    """

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True)
class Subject:
    """A topic, and the ways it may come."""

    title: str
    ways: Sequence[Way]


@dataclass(frozen=True)
class Preferences:
    """What the page of preferences shows.

    Attributes:
        action: Where its forms go.
        form: The token they carry.
        told: What the customer's own doing came to.
        leaving: What unsubscribing would do, if the page is to ask about it.
        notes: What cannot be chosen, and why.
    """

    action: str
    form: str
    subjects: Sequence[Subject]
    told: str | None = None
    leaving: str | None = None
    notes: Sequence[str] = ()

    @property
    def shown(self) -> str:
        """What is chosen on the page as it comes, so that only what a person changes counts as their wish."""
        return " ".join(way.value for subject in self.subjects for way in subject.ways if way.chosen)


@dataclass(frozen=True)
class Pages:
    """Writes pages in one language, in the name of a company."""

    company: str
    language: str

    @staticmethod
    def of(company: str, locale: str) -> "Pages":
        """Return the pages in the language of a locale (BCP 47); English, if they do not exist in it."""
        return Pages(company, "ru" if locale.lower().startswith("ru") else "en")

    @property
    def words(self) -> Words:
        """What they say."""
        return WORDS[self.language]

    def preferences(self, preferences: Preferences, status: int = 200) -> Response:
        """Ask what the customer wants to hear of."""
        shown = {
            "told": preferences.told,
            "leaving": preferences.leaving,
            "action": preferences.action,
            "form": preferences.form,
            "shown": preferences.shown,
            "topics": [asdict(subject) for subject in preferences.subjects],
            "notes": preferences.notes,
        }
        title = self.words.leave if preferences.leaving else self.words.choose
        return self._page("preferences.html", title, status, **shown)

    def unsubscribed(self, text: str, link: str) -> Response:
        """Tell that it is done.

        Args:
            link: To the page of preferences.
        """
        return self._page("message.html", self.words.unsubscribed, 200, text=text, link=link)

    def unknown(self) -> Response:
        """Tell that there is nothing here, and nothing of why."""
        title, text = self.words.unknown
        return self._page("message.html", title, 404, text=text, link=None)

    def away(self) -> Response:
        """Tell that PostgreSQL does not answer."""
        title, text = self.words.away
        page = self._page("message.html", title, 503, text=text, link=None)
        page.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return page

    def codec(self, *, endpoint: str, decodes: bool, refused: str | None, status: int) -> Response:
        """Ask an operator for the key that lets their browser decode payloads.

        Args:
            endpoint: What Temporal's interface is to be told.
            decodes: Whether it does already.
            refused: Why it did not come to that.
        """
        return self._page("codec.html", "What runs hold", status, endpoint=endpoint, decodes=decodes, refused=refused)

    def _page(self, template: str, title: str, status: int, **shown: Any) -> Response:
        body = _TEMPLATES.get_template(template).render(title=title, words=asdict(self.words), **shown)
        html = _TEMPLATES.get_template("layout.html").render(
            language=self.language,
            title=title,
            company=self.company,
            style=Markup(_STYLE),
            body=Markup(body),
        )
        return HTMLResponse(html, status, headers=HEADERS)
