"""A quiz in the chat: which car suits the customer."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.messages import Draft
    from workflows.bot import Bot
    from workflows.car_dealer.events import Booking, QuizOpened
    from workflows.drafts import call, whatsapp
    from workflows.journey import journey


@journey(
    starts_on=QuizOpened,
    restarts_on=QuizOpened,
    ends_on=Booking,
    keywords={"quiz": QuizOpened, "квиз": QuizOpened, "тест": QuizOpened},
)
class CarQuiz(Bot):
    """Finds out by buttons which car suits a customer, recommends it, and leads to a manager."""

    async def talk(self) -> None:
        while True:
            drives = await self.choose(whatsapp("car_quiz/where"))
            matters = await self.choose(whatsapp("car_quiz/what_matters"))
            match await self.choose(self.recommended(drives, matters)):
                case "phone":
                    return await self.say(whatsapp("car_quiz/phone"))
                case _:
                    continue

    def recommended(self, drives: str, matters: str) -> Draft:
        """What suits whoever drives there and minds that."""
        match drives, matters:
            case "city", "price":
                return whatsapp("car_quiz/city_price")
            case "city", _:
                return whatsapp("car_quiz/city_comfort")
            case "country", "price":
                return whatsapp("car_quiz/country_price")
            case "country", _:
                return whatsapp("car_quiz/country_comfort")
            case _, "price":
                return whatsapp("car_quiz/family_price")
            case _:
                return whatsapp("car_quiz/family_comfort")

    async def fell_silent(self) -> None:
        await self.send(call("car_quiz/left"))
