"""The browser of the tests: headless Chromium, found or said to be missing."""

import os
import shutil

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def chromium() -> str:
    """Return the path of a Chromium; where there is none, the test is left out, or fails if one is required."""
    path = os.environ.get("JOURNEYS_CHROMIUM") or shutil.which("chromium")
    if path is None:
        missing = "no Chromium: install it (apt-get install chromium) or set JOURNEYS_CHROMIUM to its path"
        if os.environ.get("JOURNEYS_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return path
