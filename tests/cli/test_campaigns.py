"""`journeys campaigns`, as a person uses it."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli import campaigns
from tests.campaigns.conftest import Office, office, sending
from tests.cli.conftest import Run

__all__ = ["office", "sending"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns.console, "width", 250)
    monkeypatch.setattr(campaigns, "LOOKS_EVERY", 0.1)


def written(path: Path, body: Any) -> str:
    path.write_text(json.dumps(body))
    return str(path)


async def test_a_campaign_is_put_counted_started_watched_and_reported(office: Office, run: Run, tmp_path: Path) -> None:
    people = await office.people(2)
    form = office.form(goal="tyres_ordered", variants=[{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}])
    name, file = form["name"], written(tmp_path / "tyres.json", form)
    put = await run("campaigns", "put", file)
    assert put.code == 0, put.complained
    assert f"{name}: draft" in put.said
    counted = (await run("campaigns", "count", name)).said
    assert "2 customers" in counted
    assert "variant a: " in counted
    watched = await run("campaigns", "start", name, "--confirm", "--watch")
    assert watched.code == 0, watched.complained
    assert f"{name}: finished" in watched.said
    assert "2/2" in watched.said
    assert "done with 2 of 2: 2 sent" in watched.said
    for person in people:
        assert await person.got() == ["sms tyres"]
    shown = (await run("campaigns", "show", name)).said
    assert '"goal": "tyres_ordered"' in shown
    assert "done with 2 of 2: 2 sent" in shown
    report = (await run("campaigns", "report", name)).said
    assert "goal: tyres_ordered" in report
    assert "unsubscribed" in report
    assert name in (await run("campaigns", "list")).said
    again = await run("campaigns", "start", name)
    assert again.code == 1
    assert "was started by" in again.complained


async def test_a_campaign_is_paused_resumed_and_stopped(office: Office, run: Run, tmp_path: Path) -> None:
    await office.people(1)
    # In UTC it is still November.
    form = office.form(starts_at="2031-12-01T00:30:00+03:00", centre="north")
    name = form["name"]
    put = await run("campaigns", "plan", "put", written(tmp_path / "plan.json", {"campaigns": [form]}))
    assert put.code == 0, put.complained
    for said in (put.said, (await run("campaigns", "plan", "show", "2031-12", "--centre", "north")).said):
        assert name in said
        assert "2031-12-01 00:30 UTC+03:00" in said
    assert "planning" in (await run("campaigns", "start", name, "--confirm")).said
    assert "paused" in (await run("campaigns", "pause", name)).said
    again = await run("campaigns", "pause", name)
    assert (again.code, again.complained.count("\n")) == (1, 1)
    assert "planning" in (await run("campaigns", "resume", name)).said
    assert "stopped" in (await run("campaigns", "stop", name)).said
    assert "Nothing is planned" in (await run("campaigns", "plan", "show", "1999-01")).said


async def test_what_cannot_be_put_is_refused_in_one_line(office: Office, run: Run, tmp_path: Path) -> None:
    wrong = written(tmp_path / "wrong.json", office.form(hour=3))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for file, complaint in (
        (wrong, "hour: sms may be used from 8 to 21 only"),
        (str(broken), "must be JSON"),
        (str(tmp_path / "nothing.json"), "No such file"),
        (written(tmp_path / "nameless.json", {"segment": "s"}), "must have a name"),
        (written(tmp_path / "list.json", []), "must be a JSON object"),
    ):
        refused = await run("campaigns", "put", file)
        assert refused.code == 1
        assert complaint in refused.complained
        assert refused.complained.count("\n") == 1
    draft = office.form()
    await run("campaigns", "put", written(tmp_path / "draft.json", draft))
    assert "Discarded" in (await run("campaigns", "discard", draft["name"])).said
    unknown = await run("campaigns", "watch", f"c_{uuid4().hex[:10]}")
    assert unknown.code == 1
    assert "there is no campaign" in unknown.complained
