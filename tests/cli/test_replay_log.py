"""What the rows of a log mean, and what is said of those that mean nothing."""

import gzip
import os
from pathlib import Path

import pytest

from api.segment import read_call
from cli.replay import log as logs
from cli.replay.log import BadLog, Log
from cli.replay.mapping import BadMapping, load
from tests.cli.logs import MAPPING, NOON, row, text, written

LOAN_MAPPING = Path(logs.__file__).parent / "mappings" / "loan_applications.toml"


def read(folder: Path, content: str | bytes, *, mapping: str = MAPPING, limit_cases: int | None = None) -> Log:
    path, with_mapping = written(folder, content, mapping=mapping)
    return logs.read(path, load(with_mapping), name="r", limit_cases=limit_cases)


def told(log: Log) -> list[str]:
    """What is sent, in order."""
    return [f"{each.call['userId']} {each.call.get('event', 'identify')}" for each in log.happenings]


def test_rows_become_events_in_time_order_each_customer_introduced_once(tmp_path: Path) -> None:
    log = read(
        tmp_path, text(row(60, "1", "sent"), row(0, "1", "opened"), row(30, "2", "opened"), row(40, "2", "filed"))
    )
    assert told(log) == [
        "client-1 identify",
        "client-1 credit_application_started",
        "client-2 identify",
        "client-2 credit_application_started",
        "client-1 credit_application_submitted",
        "client-1 credit_issued",
    ]
    assert (log.rows, log.mapped, dict(log.ignored), log.unreadable) == (4, 3, {"the clerks' work": 1}, [])
    assert log.happenings[0].at == NOON
    introduction, started = log.happenings[0].call, log.happenings[1].call
    assert introduction["traits"] == {"email": "client-1@example.com", "phone": "+12125550001", "limit": 1000}
    assert introduction["context"]["device"] == {"token": "phone-of-client-1"}
    assert started["properties"] == {"application_id": "1", "filled": 2, "total": 40, "sum": 1000}


def test_every_call_is_one_the_api_accepts_and_has_an_id_of_its_own(tmp_path: Path) -> None:
    log = read(tmp_path, text(row(0, "1", "opened"), row(1, "1", "sent")))
    calls = [read_call(dict(each.call), NOON) for each in log.happenings]
    assert len({call.message_id for call in calls}) == len(calls) == 4


def test_a_packed_log_is_unpacked(tmp_path: Path) -> None:
    path, mapping = written(tmp_path, text(row(0, "1", "opened")), packed=True)
    assert logs.read(path, load(mapping), name="r").mapped == 1


def test_only_the_cases_that_appear_first_are_played(tmp_path: Path) -> None:
    rows = [row(5, "late", "opened"), row(0, "early", "opened"), row(9, "early", "signed"), row(2, "second", "filed")]
    log = read(tmp_path, text(*rows), limit_cases=2)
    assert {each.call["userId"] for each in log.happenings} == {"client-early"}
    assert (log.rows, log.mapped, log.ignored.total(), log.left_out) == (4, 2, 1, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2012-03-01T12:00:00Z,1,opened,1000", "has 4 columns, the first line 5"),
        ("2012-03-01T12:00:00Z,1,opened,1000,a,b", "has 6 columns, the first line 5"),
        ("yesterday,1,opened,1000,a", "at: must be a time in ISO 8601"),
        ("2012-03-01T12:00:00,1,opened,1000,a", "at: names no time zone, and the mapping's times.zone is not set"),
        ("2012-03-01T12:00:00Z,,opened,1000,a", "case: must not be empty"),
        ("2012-03-01T12:00:00Z,1,opened,a lot,a", "{sum}: must be a number"),
        ("2012-03-01T12:00:00Z,1,opened,nan,a", "{sum}: must be a number"),
        ("2012-03-01T12:00:00Z,1,invented,1000,a", "no rule of the mapping says what it means"),
        ('2012-03-01T12:00:00Z,1,"opened"x,1000,a', "is not CSV, from here to line 3: "),
    ],
)
def test_a_bad_row_is_counted_with_its_line_and_reason_and_the_rest_is_played(
    tmp_path: Path, line: str, reason: str
) -> None:
    log = read(tmp_path, text(row(0, "1", "opened")) + line + "\n" + ",".join(row(1, "2", "opened")) + "\n")
    assert (log.rows, log.mapped) == (3, 2)
    (bad,) = log.unreadable
    assert bad.line == 3
    assert bad.reason.startswith(reason)
    assert "client-2 credit_application_started" in told(log)


def test_a_row_in_another_encoding_costs_only_itself(tmp_path: Path) -> None:
    good, bad = text(row(0, "1", "opened")).encode(), ",".join(row(1, "2", "opened", who="Jürgen")).encode("latin-1")
    log = read(tmp_path, good + bad + b"\n")
    assert (log.mapped, [(each.line, each.reason) for each in log.unreadable]) == (
        1,
        [(3, "who: must be written in utf-8")],
    )


def test_a_log_of_another_encoding_delimiter_and_zone_is_read_as_the_mapping_says(tmp_path: Path) -> None:
    mapping = (
        'encoding = "latin-1"\ndelimiter = ";"\n'
        + MAPPING
        + '\n[times]\nformat = "%d.%m.%Y %H:%M"\nzone = "Europe/Berlin"\n'
    )
    content = "at;case;what;sum;who\n01.03.2012 13:00;1;opened;5;Jürgen\n".encode("latin-1")
    log = read(tmp_path, content, mapping=mapping)
    assert log.happenings[0].call["userId"] == "Jürgen"
    assert log.happenings[0].at == NOON


def test_a_log_with_its_own_ids_names_a_repeated_row_by_the_same_id(tmp_path: Path) -> None:
    twice = row(0, "1", "signed")
    log = read(tmp_path, text(twice, twice), mapping='message_id = "{case}-{what}"\n' + MAPPING)
    ids = [each.call["messageId"] for each in log.happenings if each.call["type"] == "track"]
    assert ids == ["1-signed:credit_application_submitted"] * 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("at,case,what,who\n", "lacks columns the mapping speaks of: sum"),
        ("at,case,what,sum,who,at\n", "names a column twice: at"),
    ],
)
def test_a_log_that_cannot_be_played_says_why(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(BadLog, match=complaint):
        read(tmp_path, content)


def test_a_packed_log_that_is_cut_off_is_not_played_at_all(tmp_path: Path) -> None:
    path, mapping = written(tmp_path, text(row(0, "1", "opened")), packed=True)
    path.write_bytes(gzip.compress(os.urandom(5000).hex().encode())[:2000])
    with pytest.raises(BadLog, match="cannot be read beyond line"):
        logs.read(path, load(mapping), name="r")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("case = ", "kase = "), "columns.case: Field required"),
        (('"{who}"', '"{who.__class__}"'), "customer.user_id: must name columns plainly"),
        (('"{who}"', '"{who"'), "customer.user_id: must be a text with {column} in it"),
        (("filled = 2", "filled = [2]"), "events.1.properties.filled: must be a text, a number, true, false"),
        (('when = { what = "filed" }', "when = {}"), "ignored.1.when: "),
        (('because = "the clerks\' work"', ""), "ignored.1.because: Field required"),
        (('title = "A shop\'s applications"', 'encoding = "klingon"\ntitle = "x"'), "encoding: must be an encoding"),
        (("[columns]", "[colums]"), "colums: Extra inputs are not permitted"),
        (("[columns]", "[columns"), "line"),
    ],
)
def test_a_wrong_mapping_is_refused_with_field_and_rule(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    assert change[0] in MAPPING
    _, mapping = written(tmp_path, "", mapping=MAPPING.replace(*change, 1))
    with pytest.raises(BadMapping) as refused:
        load(mapping)
    assert complaint in str(refused.value)


def test_the_mapping_that_ships_tells_the_story_of_a_loan_application(tmp_path: Path) -> None:
    def happened(minute: int, event: str, lifecycle: str = "COMPLETE", case: str = "173688") -> str:
        return f"2011-10-01T10:{minute:02d}:00.000+02:00,{case},20000,{event},{lifecycle},112\n"

    path = tmp_path / "loans.csv"
    path.write_text(
        "timestamp,case_id,amount_requested,event,lifecycle,resource\n"
        + happened(0, "A_SUBMITTED")
        + happened(0, "A_PARTLYSUBMITTED")
        + happened(1, "A_PREACCEPTED")
        + happened(1, "W_Completeren aanvraag", "SCHEDULE")
        + happened(2, "W_Completeren aanvraag", "START")
        + happened(3, "A_ACCEPTED")
        + happened(4, "A_FINALIZED")
        + happened(5, "O_SENT")
        + happened(6, "W_Completeren aanvraag", "COMPLETE")
        + happened(7, "O_SENT_BACK")
        + happened(8, "A_ACTIVATED")
        + happened(8, "A_APPROVED")
        + happened(9, "A_SUBMITTED", case="2")
        + happened(9, "A_DECLINED", case="2")
    )
    log = logs.read(path, load(LOAN_MAPPING), name="r")
    assert log.unreadable == []
    filled = [
        each.call["properties"].get("filled") for each in log.happenings if "filled" in each.call.get("properties", {})
    ]
    assert filled == [3, 5, 14, 24, 36, 40, 3]
    assert [each.split()[1] for each in told(log)][-6:] == [
        "credit_application_submitted",
        "credit_issued",
        "identify",
        "credit_application_started",
        "credit_application_submitted",
        "credit_application_refused",
    ]
    for each in log.happenings:
        read_call(dict(each.call), NOON)


@pytest.mark.skipif("JOURNEYS_LOAN_LOG" not in os.environ, reason="JOURNEYS_LOAN_LOG does not name the loan log")
def test_the_whole_loan_log_is_understood() -> None:
    log = logs.read(Path(os.environ["JOURNEYS_LOAN_LOG"]), load(LOAN_MAPPING), name="r")
    assert log.unreadable == []
    assert log.rows == log.mapped + log.ignored.total()
    assert len(log.happenings) > log.mapped > 0
