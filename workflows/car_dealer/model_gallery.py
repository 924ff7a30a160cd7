"""A new model's pictures in the chat, one after the other."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.bot import Bot
    from workflows.car_dealer.events import Booking, GalleryOpened
    from workflows.drafts import call, whatsapp
    from workflows.journey import journey


@journey(
    starts_on=GalleryOpened,
    restarts_on=GalleryOpened,
    ends_on=Booking,
    keywords={"new model": GalleryOpened, "новинка": GalleryOpened},
)
class ModelGallery(Bot):
    """Shows a new model; who looks at all of it is called, who looks at one and leaves is left alone."""

    async def talk(self) -> None:
        saw_all = (
            await self.choose(whatsapp("model_gallery/outside")) == "next"
            and await self.choose(whatsapp("model_gallery/inside")) == "next"
            and await self.choose(whatsapp("model_gallery/on_the_road")) == "next"
        )
        if saw_all:
            await self.say(whatsapp("model_gallery/end"))
            await self.send(call("model_gallery/saw_all"))
