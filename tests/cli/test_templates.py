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

    assert "Version 1 is in use" in (await run("templates", "publish", TEXT, "1")).said
    shown = await run("templates", "show", TEXT)
    assert "Осталось немного" in shown.said
    assert "friendlier" in shown.said
    listed = [line for line in (await run("templates", "list")).said.splitlines() if line.startswith(TEXT)]
    assert "version 1" in listed[0]

    assert (await run("templates", "show", TEXT, "--source")).said == SOURCE + "\n"

    assert "The file is in use" in (await run("templates", "rollback", TEXT)).said
    history = (await run("templates", "show", TEXT)).said.split("retired", 1)[1]
    assert history.count("by operator:") == 3  # Written, published and retired.
    again = await run("templates", "rollback", TEXT)
    assert (again.code, again.complained) == (1, "no version is in use; the file of the release is\n")


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
