"""Browser, system and device from user agent and hints; places from a database file."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from collector.digest.about import About
from collector.digest.enrich import Enrichment, read_agent
from collector.digest.normalise import Normaliser
from collector.digest.places import Places
from collector.machine.disk import RealDisk
from tests.digest import mmdb
from tests.helpers.clock import FakeClock

ABOUT = About("5f3c9a1e0b7d4c2e8a6f1d2c3b4a5960", 42, 1795219200.0, client_ip="198.51.100.23")
PHONE = ("Mozilla/5.0 (iPhone; CPU iPhone OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
         "Version/16.0 Mobile/15E148 Safari/604.1")  # fmt: skip
VIENNA = {"country": {"iso_code": "AT", "names": {"en": "Austria"}}, "city": {"names": {"en": "Vienna"}},
          "subdivisions": [{"names": {"en": "Vienna State"}}]}  # fmt: skip


def normalise(event: dict[str, Any], enrichment: Enrichment | None = None) -> dict[str, Any]:
    """An event, normalised."""
    found = Normaliser(enrichment or Enrichment()).normalise(json.dumps(event).encode(), ABOUT)
    tree: dict[str, Any] = json.loads(found.payload)
    return tree


def request(**headers: str) -> dict[str, Any]:
    """An event with request headers."""
    return {"request": {"headers": {name.replace("_", "-"): value for name, value in headers.items()}}}


def test_a_context_sent_by_the_sdk_is_not_replaced() -> None:
    event = {**request(User_Agent=PHONE), "contexts": {"browser": {"name": "Own", "version": "1"}}}
    assert normalise(event)["contexts"]["browser"]["name"] == "Own"


def test_the_system_of_a_browser_does_not_hide_the_system_of_a_server() -> None:
    event = {**request(User_Agent=PHONE), "platform": "python", "contexts": {"os": {"name": "Linux", "version": "6.1"}}}
    contexts = normalise(event)["contexts"]
    assert contexts["os"]["os"] == "Linux 6.1"
    assert contexts["client_os"]["os"] == "iOS 16.0"


def test_an_unknown_user_agent_adds_nothing() -> None:
    assert set(normalise(request(User_Agent="?"))["contexts"]) == {"trace"}


@pytest.mark.parametrize("brands", ["", ";;;", '"Not_A Brand";v="99"', "x" * 300, '"', "=,=;,"])
def test_malformed_hints_are_passed_over(brands: str) -> None:
    assert read_agent(("", brands, "", "", "")) == [] or read_agent(("", brands, "", "", ""))[0][0] == "browser"


def test_chromium_is_named_when_no_other_brand_is() -> None:
    contexts = dict(read_agent(("", '"Chromium";v="109", "Not A;Brand";v="1"', "", "", "")))
    assert contexts["browser"] == {"name": "Chromium", "version": "109"}


def places(path: Path, clock: FakeClock) -> Places:
    """Places from a file."""
    return Places(path, RealDisk(), clock)


def test_an_address_gets_its_place(tmp_path: Path) -> None:
    mmdb.write(tmp_path / "city.mmdb", {"198.51.100.23": VIENNA})
    found = places(tmp_path / "city.mmdb", FakeClock())
    event = normalise({"user": {"ip_address": "198.51.100.23"}}, Enrichment(found.locate))
    assert event["user"]["geo"] == {
        "country_code": "AT", "city": "Vienna", "subdivision": "Vienna State", "region": "Austria",
    }  # fmt: skip
    assert found.locate("192.0.2.1") is None
    found.close()


def test_a_place_that_was_sent_is_kept(tmp_path: Path) -> None:
    mmdb.write(tmp_path / "city.mmdb", {"198.51.100.23": VIENNA})
    found = places(tmp_path / "city.mmdb", FakeClock())
    user = {"ip_address": "198.51.100.23", "geo": {"country_code": "FR"}}
    assert normalise({"user": user}, Enrichment(found.locate))["user"]["geo"] == {"country_code": "FR"}
    found.close()


def test_a_replaced_file_is_read_within_ten_seconds(tmp_path: Path) -> None:
    path, clock = tmp_path / "city.mmdb", FakeClock()
    mmdb.write(path, {"198.51.100.23": VIENNA})
    found = places(path, clock)
    before = found.locate("198.51.100.23")
    mmdb.write(path, {"198.51.100.23": {"country": {"iso_code": "DE"}}})
    os.utime(path, (1, 1))
    clock.advance(10.0)
    after = found.locate("198.51.100.23")
    assert before is not None and before.country_code == "AT"
    assert after is not None and after.country_code == "DE"
    found.close()


def test_a_missing_or_broken_file_means_no_places_and_says_why(tmp_path: Path) -> None:
    clock = FakeClock()
    missing = places(tmp_path / "none.mmdb", clock)
    (tmp_path / "broken.mmdb").write_bytes(b"no database")
    broken = places(tmp_path / "broken.mmdb", clock)
    assert missing.locate("198.51.100.23") is None and "No such file" in missing.problem
    assert broken.locate("198.51.100.23") is None and "broken.mmdb" in broken.problem
