"""The status page in a real browser."""

import pytest
from playwright.sync_api import Error

from tests.helpers.browser import needs_browser, page
from tests.helpers.running import Collector, collector, envelope, error_event

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("browser"), needs_browser]

LOOK = "() => [getComputedStyle(document.body).backgroundColor, document.body.innerText]"


def shown(running: Collector, color_scheme: str) -> tuple[str, str, list[str]]:
    with page(color_scheme) as (opened, complaints):
        opened.goto(f"http://127.0.0.1:{running.address[1]}/")
        try:
            background, text = opened.evaluate(LOOK)
        except Error:  # the page calls itself anew every five seconds: it was just then
            opened.wait_for_load_state()
            background, text = opened.evaluate(LOOK)
        return str(text), str(background), complaints


def test_the_page_shows_flow_and_issues_in_light_and_dark_without_complaints() -> None:
    with collector() as running:
        empty, _, _ = shown(running, "light")
        assert "No event yet" in empty
        assert running.dsn in empty
        running.send(envelope(error_event('<img src=x onerror="document.title=1">', "PageError")))
        running.drained()
        light, light_background, light_complaints = shown(running, "light")
        dark, dark_background, dark_complaints = shown(running, "dark")
        assert 'PageError: <img src=x onerror="document.title=1">' in light
        assert "SHOP-1" in dark
        assert light_background != dark_background
        assert light_complaints == dark_complaints == []
