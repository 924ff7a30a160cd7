"""All the sandbox knows, in one place, for its HTTP rooms."""

from typing import Annotated

from fastapi import Depends, Request

from sandbox.browsers import Browsers
from sandbox.callbacks import Callbacks
from sandbox.configuration import Configuration
from sandbox.database import connect
from sandbox.desk import Desk
from sandbox.faults import Faults
from sandbox.ledger import Ledger
from sandbox.people import People
from sandbox.whatsapp_templates import WhatsAppTemplates


class World:
    def __init__(self, configuration: Configuration) -> None:
        connection = connect(configuration.database)
        self.configuration = configuration
        self.ledger = Ledger(connection)
        self.people = People(connection)
        self.faults = Faults(connection)
        self.browsers = Browsers(connection)
        self.templates = WhatsAppTemplates(connection)
        self.desk = Desk(connection)
        self.callbacks = Callbacks(connection, self.ledger, configuration)

    def product(self, path: str) -> str:
        """The address of one of the product's webhooks."""
        return self.configuration.callback_url + path


async def _world(request: Request) -> World:
    world = request.app.state.world
    assert isinstance(world, World)
    return world


TheWorld = Annotated[World, Depends(_world)]
