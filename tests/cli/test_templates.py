"""`journeys templates`, as whoever writes texts uses it."""

from pathlib import Path

from tests.cli.conftest import Run
from tests.world import World

TEXT = "abandoned_application/almost_full/inbox/ru"
SOURCE = (
    "---\ntitle: Осталось немного\nlink: {{ site }}/credit\n---\n"
    "{{ customer.first_name }}, осталось немного. Заявка сохранена, и продолжить можно с того же места в любое время."
)


async def test_a_text_is_drafted_looked_at_published_and_taken_back(world: World, run: Run, tmp_path: Path) -> None:
    person = await world.person(first_name="Grace")
    file = tmp_path / "inbox.txt"
    file.write_text(SOURCE, encoding="utf-8")
    assert "The file of the release" in (await run("templates", "show", TEXT)).said

    drafted = await run("templates", "draft", TEXT, str(file), "--note", "friendlier")
    assert drafted.code == 0, drafted.complained
    assert "Draft 1" in drafted.said
    shown = await run("templates", "preview", TEXT, "1", "--customer", person.user_id)
    assert "Grace, осталось немного." in shown.said
    event = await run("templates", "preview", TEXT, "1", "--customer", person.user_id, "--event", "{")
    assert (event.code, "--event must be JSON" in event.complained) == (1, True)

    assert "Version 1 is in use" in (await run("templates", "publish", TEXT, "1")).said
    shown = await run("templates", "show", TEXT)
    assert "Осталось немного" in shown.said
    assert "friendlier" in shown.said
    listed = [line for line in (await run("templates", "list")).said.splitlines() if line.startswith(TEXT)]
    assert "version 1" in listed[0]

    assert (await run("templates", "show", TEXT, "--source")).said == SOURCE + "\n"

    assert "Draft 2" in (await run("templates", "draft", TEXT, str(file))).said
    assert "Draft 2 is forgotten" in (await run("templates", "discard", TEXT, "2")).said
    assert (await run("templates", "show", TEXT, "--source", "--version", "2")).code == 1

    assert "The file is in use" in (await run("templates", "rollback", TEXT)).said
    assert (await run("templates", "show", TEXT, "--source", "--version", "1")).said == SOURCE + "\n"
    history = (await run("templates", "show", TEXT)).said.split("retired", 1)[1]
    assert history.count("by operator:") == 3  # Written, published and retired.
    again = await run("templates", "rollback", TEXT)
    assert (again.code, again.complained) == (1, "no version is in use; the file of the release is\n")


async def test_a_variable_nobody_knows_is_published_only_if_it_is_meant(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "inbox.txt"
    file.write_text(SOURCE.replace("first_name", "frist_name | default: 'Друг'"), encoding="utf-8")
    drafted = await run("templates", "draft", TEXT, str(file))
    number = drafted.said.split("Draft ")[1].split(",")[0]
    assert "only if meant: nothing provides customer.frist_name" in drafted.said
    refused = await run("templates", "publish", TEXT, number)
    assert refused.code == 1
    assert "mend it, or confirm that it is meant" in refused.complained
    assert "is in use" in (await run("templates", "publish", TEXT, number, "--confirm")).said
    other = await run("templates", "rollback", TEXT, "99")
    assert (other.code, other.complained) == (1, f"version {number} is in use by now, not 99\n")
    assert "The file is in use" in (await run("templates", "rollback", TEXT, number)).said


async def test_what_is_wrong_with_a_text_is_said(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "inbox.txt"
    file.write_text("---\ntitle: x\n---\n{{ event.shoe_size }}", encoding="utf-8")
    drafted = await run("templates", "draft", TEXT, str(file))
    assert "cannot be published: event.shoe_size: nothing provides this variable" in drafted.said
    file.write_text("no header", encoding="utf-8")
    refused = await run("templates", "draft", TEXT, str(file))
    assert refused.code == 1
    assert "line 1: header field 'title' is missing" in refused.complained
    assert (await run("templates", "draft", TEXT, str(tmp_path / "nowhere"))).code == 1
    assert "group/name/channel/locale" in (await run("templates", "show", "inbox")).complained
