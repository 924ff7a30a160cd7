"""All parts of the embedded default as one: started in order, watched, stopped in order."""

import asyncio
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.stack import postgres, running, secrets, services
from cli.stack.errors import AlreadyRunning, PartDied, StackError
from cli.stack.ports import HOST, Ports, choose, free_port
from cli.stack.postgres import Postgres
from cli.stack.processes import Child, ProcessList, clean_environment, run_to_end
from cli.stack.services import Programs
from cli.stack.temporal import NAMESPACE, Temporal
from dispatch.codec import VARIABLE as PAYLOAD_KEYS
from store.keys import MOST


class Part(StrEnum):
    """What a stack can consist of."""

    POSTGRES = "postgres"
    TEMPORAL = "temporal"
    SANDBOX = "sandbox"
    API = "api"
    WORKER = "worker"


ALL_PARTS = frozenset(Part)


class EmbeddedStack:
    """PostgreSQL, Temporal, sandbox, API and workers as children of this process.

    Use it with ``async with``, from the main thread: entered, every part is ready; left, none runs. Parts
    are told apart by name: ``postgres``, ``temporal``, ``sandbox``, ``api``, ``worker-1``, ``worker-2``…

    Attributes:
        data: The data directory, absolute.
        environment: The variables that configure the product's processes for this stack.
        database_url: Of the product's database, with password.
        temporal_address: ``host:port`` of Temporal's gRPC service.
        api_url: Base address of the API.
        ui_url: Base address of Temporal's web interface.
        sandbox_url: Base address of the sandbox.
        write_key: Key with which a backend sends events.
        operator_key: Key for everything people do over HTTP.
        desk_key: Key of the sandbox's operators' desk, for conversations.
    """

    environment: dict[str, str]
    database_url: str
    temporal_address: str
    api_url: str
    ui_url: str
    sandbox_url: str
    write_key: str
    operator_key: str
    desk_key: str

    def __init__(
        self,
        data: Path,
        *,
        parts: Collection[Part] = ALL_PARTS,
        workers: int = 1,
        ports: Ports = Ports(),  # noqa: B008, it is frozen
        durable: bool = True,
        speed: float = 1.0,
        dynamic_config: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        part_environment: Mapping[str, str] | None = None,
        programs: Programs = Programs(),  # noqa: B008, it is frozen
    ) -> None:
        """Describe a stack; nothing is touched yet.

        Args:
            data: Directory for data, logs and secrets; made if it is missing.
            parts: Which parts to run; schema and keys are set up if the API or a worker is among them.
            workers: How many worker processes.
            ports: Where API, Temporal's interface and sandbox listen.
            durable: Go on with the data of the last start and keep everything on disk. Otherwise begin
                empty and leave nothing but logs: faster, for tests and demonstrations.
            speed: Journey seconds per wall second.
            dynamic_config: Settings of the Temporal server by key, values as JSON.
            environment: Further variables for API and workers.
            part_environment: Further variables for every part; ``{part}`` in a value is its name.
            programs: What runs as the API and as workers.
        """
        self.data = data.absolute()
        self._parts = frozenset(parts)
        self._workers = workers
        self._ports = ports
        self._durable = durable
        self._speed = speed
        self._dynamic_config = dynamic_config or {}
        self._further_environment = environment or {}
        self._part_environment = part_environment or {}
        self._programs = programs
        self._children: dict[str, Child] = {}
        self._processes = ProcessList(self.data / "processes.json")
        self._deaths: asyncio.Queue[PartDied] = asyncio.Queue()
        self._lock: int | None = None

    async def __aenter__(self) -> Self:
        """Start every part.

        Raises:
            AlreadyRunning: Another stack holds the data directory.
            PortTaken: A port asked for is taken; the message names it and what moves it.
            StackError: A part cannot start; with the end of its log.
        """
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every part, first those that take work in, last those that keep it."""
        await self._stop()

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids of the parts that run now, by name."""
        return {name: child.pid for name, child in self._children.items() if child.pid}

    def log(self, part: str) -> Path:
        """Return the log file of a part."""
        return self.data / "logs" / f"{part}.log"

    async def failure(self) -> PartDied:
        """Wait until a part ends that nobody stopped, and return which."""
        return await self._deaths.get()

    async def kill(self, part: str) -> None:
        """Kill a part as a crash would (SIGKILL) and wait until it is gone."""
        await self._children[part].kill()

    async def stop_part(self, part: str) -> None:
        """Stop one part tidily."""
        await self._children[part].stop()

    async def start_part(self, part: str, variables: Mapping[str, str] | None = None) -> None:
        """Start a part again that was killed or stopped, where it was, and wait until it is ready.

        Args:
            variables: Further variables of its environment from now on.

        Raises:
            StackError: It cannot start; with the end of its log.
        """
        self._children[part].add_variables(variables or {})
        await self._children[part].start()
        self._processes.write(list(self._children.values()))

    async def create_database(self, name: str) -> str:
        """Make an empty database beside the product's and return its address."""
        server = self._children[Part.POSTGRES]
        assert isinstance(server, Postgres)
        await server.create_database(name)
        return server.url(name)

    async def _start(self) -> None:
        self._take_data_directory()
        self._prepare()
        await self._start_together(Part.POSTGRES, Part.TEMPORAL, Part.SANDBOX)
        if self._parts & {Part.API, Part.WORKER}:
            await self._run("migrate", "store.migrate")
            await self._run("speed", "store.installation")
            await self._run("keys", "store.keys", "ensure", JOURNEYS_KEYS=self._keys())
        await self._start_together(Part.API, *(name for name in self._children if name.startswith(Part.WORKER)))
        if Part.API in self._parts:
            running.announce(self.data, self.api_url)

    async def _start_together(self, *names: str) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    if name in self._children:
                        group.create_task(self.start_part(name))
        except* StackError as errors:
            raise errors.exceptions[0] from None

    async def _stop(self) -> None:
        workers = [name for name in self._children if name.startswith(Part.WORKER)]
        for together in ([Part.API], [Part.SANDBOX], workers, [Part.TEMPORAL], [Part.POSTGRES]):
            await asyncio.gather(*(self._children[name].stop() for name in together if name in self._children))
        if self._lock is not None:
            running.retire(self.data)
            (self.data / "processes.json").unlink(missing_ok=True)
            if not self._durable:
                self._forget()
            os.close(self._lock)
            self._lock = None

    async def _run(self, name: str, module: str, *arguments: str, **variables: str) -> None:
        await run_to_end(
            name,
            [sys.executable, "-m", module, *arguments],
            {**clean_environment(), **self.environment, **variables},
            self.log(name),
        )

    def _keys(self) -> str:
        """Return the API keys as the product takes them in."""
        at_will = {"rate": MOST, "burst": MOST}
        return json.dumps(
            [
                {"name": "backend", "scopes": ["ingest"], "token": self.write_key, **at_will},
                {
                    "name": "operator",
                    "scopes": ["operate", "read", "inbox", "decode"],
                    "token": self.operator_key,
                    **at_will,
                },
                {"name": "site", "scopes": ["inbox"], "token": self._site_key, **at_will},
                {"name": "desk", "scopes": ["converse"], "token": self.desk_key, **at_will},
            ]
        )

    def _take_data_directory(self) -> None:
        for directory in (self.data / "logs", self.data / "temporal", self.data / "sandbox"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode() or "another process"
            os.close(lock)
            raise AlreadyRunning(
                f"{self.data} is in use by process {holder}. End that one, or choose another data directory."
            ) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock
        self._processes.end_leftovers()

    def _prepare(self) -> None:
        """Choose ports, find or make the secrets, and describe every child."""
        kept = secrets.load(self._secrets_file)
        if not self._durable:
            if kept and kept.durable:
                raise StackError(
                    f"{self.data} holds lasting data, which this run would remove. Choose another data directory."
                )
            self._forget()
        ports = Ports(
            api=choose(self._ports.api, "the API", "--api-port or JOURNEYS_API_PORT"),
            ui=choose(self._ports.ui, "Temporal's UI", "--ui-port or JOURNEYS_UI_PORT"),
            sandbox=choose(self._ports.sandbox, "the sandbox", "--sandbox-port or JOURNEYS_SANDBOX_PORT"),
        )
        self._describe(ports)

    def _describe(self, ports: Ports) -> None:
        assert ports.api
        assert ports.ui
        assert ports.sandbox
        self.api_url = f"http://{HOST}:{ports.api}"
        self.ui_url = f"http://{HOST}:{ports.ui}"
        self.sandbox_url = f"http://{HOST}:{ports.sandbox}"
        known = secrets.keep(self._secrets_file, self.sandbox_url, durable=self._durable)
        self.write_key = known.write_key
        self.operator_key = known.operator_key
        self._site_key = known.providers["SANDBOX_SITE_KEY"]
        self.desk_key = known.providers["SANDBOX_OPERATORS_KEY"]

        database = Postgres(
            self.data,
            port=free_port(),
            password=known.database_password,
            durable=self._durable,
            log=self.log(Part.POSTGRES),
        )
        temporal = Temporal(
            port=free_port(),
            ui_port=ports.ui,
            database=self.data / "temporal" / "temporal.db" if self._durable else None,
            dynamic_config=self._dynamic_config,
            codec_endpoint=self.codec_url,
            log=self.log(Part.TEMPORAL),
        )
        self.database_url = database.url()
        self.temporal_address = temporal.address
        self.environment = self._product_environment(known)
        sandbox = services.sandbox(ports.sandbox, self._sandbox_environment(known), self.log(Part.SANDBOX))
        api = services.api(self._programs.api, ports.api, self.environment, self.log(Part.API))
        described: dict[Part, list[Child]] = {
            Part.POSTGRES: [database],
            Part.TEMPORAL: [temporal],
            Part.SANDBOX: [sandbox],
            Part.API: [api],
            Part.WORKER: [self._worker(number) for number in range(1, self._workers + 1)],
        }
        self._children = {child.name: child for part in Part if part in self._parts for child in described[part]}
        for child in self._children.values():
            child.on_death = self._deaths.put_nowait
            child.add_variables({name: value.format(part=child.name) for name, value in self._part_environment.items()})

    def _worker(self, number: int) -> Child:
        log = self.log(f"{Part.WORKER}-{number}")
        return services.worker(self._programs.worker, number, free_port(), self.environment, log)

    def _product_environment(self, known: secrets.Secrets) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            # Otherwise the person's own file would add its TLS and keys to this address.
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "JOURNEYS_PUBLIC_URL": self.api_url,
            "JOURNEYS_UI_URL": self.ui_url,
            "JOURNEYS_SECRET": known.link_secret,
            "JOURNEYS_SPEED": str(self._speed),
            "SENDGRID_FROM_EMAIL": "journeys@example.com",
            "SENDGRID_FROM_NAME": "Journeys",
            **{name: value for name, value in known.providers.items() if not name.startswith("SANDBOX_")},
            **self._further_environment,
        }

    @property
    def codec_url(self) -> str | None:
        """Where payloads are decoded, if they are encrypted here."""
        return f"{self.api_url}/codec" if PAYLOAD_KEYS in self._further_environment else None

    def _sandbox_environment(self, known: secrets.Secrets) -> dict[str, str]:
        return {
            **known.providers,
            "SANDBOX_DATABASE": str(self.data / "sandbox" / "sandbox.db"),
            "SANDBOX_CALLBACK_URL": self.api_url,
            "SANDBOX_SPEED": str(self._speed),
        }

    @property
    def _secrets_file(self) -> Path:
        return self.data / "secrets.json"

    def _forget(self) -> None:
        postgres.forget(self.data)
        for directory in (self.data / "temporal", self.data / "sandbox"):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(mode=0o700)
        self._secrets_file.unlink(missing_ok=True)
