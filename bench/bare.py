"""The bare workflow it is measured against: the same two timers and two HTTP calls, and nothing else."""

import asyncio
import os
import signal
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import httpx

    from dispatch.temporal import connect

TASK_QUEUE = "bare"


@dataclass
class Post:
    """Calls the provider once."""

    client: httpx.AsyncClient

    @activity.defn
    async def post(self, number: int) -> bool:
        """Post a form as large as an SMS."""
        form = {"To": f"+1415{number:07d}", "From": "+15005550006", "Body": "You have begun an application. " * 4}
        answer = await self.client.post("/2010-04-01/Accounts/AC/Messages.json", data=form)
        return answer.status_code == 201


@workflow.defn
class Bare:
    """Wait, call, wait, condition, call."""

    @workflow.run
    async def run(self, number: int) -> None:
        """Go through it once."""
        await workflow.sleep(timedelta(seconds=1))
        taken = await self._post(number)
        await workflow.sleep(timedelta(seconds=1))
        if taken:
            await self._post(number)

    async def _post(self, number: int) -> bool:
        return await workflow.execute_activity_method(Post.post, number, start_to_close_timeout=timedelta(seconds=30))


async def main() -> None:
    """Work until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    client = await connect()
    async with (
        httpx.AsyncClient(base_url=os.environ["TWILIO_BASE_URL"]) as http,
        Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[Bare],
            activities=[Post(http).post],
            disable_eager_activity_execution=True,
            max_cached_workflows=2000,
        ),
    ):
        await stopping.wait()


if __name__ == "__main__":
    asyncio.run(main())
