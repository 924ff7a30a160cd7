"""What the page about the policy says is so."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from domain.messages import Channel
from policy.configuration import Policy
from policy.contact import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_example_is_a_policy() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    policy = Policy.model_validate(tomllib.loads(example)["policy"])
    assert [cap.name for cap in policy.caps] == ["sms 3 in 7 days", "all 1 in 1 day"]
    assert policy.consent[Channel.SMS] == "required"
    assert set(tomllib.loads(example)["policy"]) == set(Policy.model_fields) - {"holdout_salt"}


def test_the_table_has_every_rule_in_its_order() -> None:
    rows = re.findall(r"^\| (\w+) \| (.+?) \| (yes|no) \|$", PAGE, re.MULTILINE)
    assert rows == [(rule.name, rule.says, "yes" if rule.transactional else "no") for rule in RULES]


@pytest.mark.parametrize(
    "section",
    [
        {"caps": [{"at_most": 1, "within": "P3661D"}]},
        {"blocks": {"refused": {"on": "credit_refused", "lasts": "P3661D"}}},
        {"dialogue_ends_after": "P3661D"},
    ],
)
def test_no_rule_reaches_beyond_what_can_be_reckoned(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="must not be longer than ten years"):
        Policy.model_validate(section)
