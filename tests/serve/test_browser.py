"""People in a real browser: they log in to a real application, see what has access, and nothing foreign is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from fakes import browser as browsers
from fakes import relying, served
from fakes.browser import Browser
from fakes.idp import CHALLENGE
from tailseal_dev.ports import free_ports

API = "https://api.example"
SCOPES = ["openid", "profile", "email", "groups"]
READABLE = 4.5
"""WCAG 2.2, success criterion 1.4.3, level AA."""

pytestmark = pytest.mark.skipif(browsers.program() is None, reason=browsers.MISSING)


@dataclass(frozen=True)
class World:
    """A provider, an application and a browser of Ana's."""

    base: str
    app: str
    browser: Browser

    def asking(self, **parameters: str) -> str:
        """URL of an authorization request."""
        asked = {"client_id": "app", "redirect_uri": f"{self.app}/posted", "response_type": "code", "scope": "openid"}
        asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"} | parameters
        return f"{self.base}/authorize?{urlencode(asked)}"

    def log_in(self) -> None:
        self.browser.open(f"{self.app}/login")
        self.browser.click("Log in")
        assert self.browser.text.startswith("Hello Ana <ana@corp.example>")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("browser")
    (port,) = free_ports(1)
    base, app = served.base_url(), f"http://localhost:{port}"
    usual: dict[str, Any] = {"scopes": SCOPES, "redirectURIs": [f"{app}/callback", f"{app}/posted"]}
    objects = [
        *served.provider(base),
        *served.client("app", postLogoutRedirectURIs=[f"{app}/"], **usual),
        *served.client("others", **usual, allow={"users": ["*@other.example"]}),
        *served.client("television", type="Public", grantTypes=[served.DEVICE], scopes=SCOPES, audiences=[API]),
    ]
    application = relying.application(base, app, "app", served.SECRET)
    with (
        served.serving(folder, base, objects),
        relying.running(application, port),
        browsers.browsing(folder) as browser,
    ):
        yield World(base, app, browser)


@pytest.fixture
def world(everything: World) -> Iterator[World]:
    """A browser without cookies; nothing that it fetched was foreign, and its console has nothing to say."""
    browser = everything.browser
    browser.call("Network.clearBrowserCookies")
    yield everything
    browser.open("about:blank")
    assert (browser.complaints, browser.foreign()) == ([], [])


def check(browser: Browser) -> None:
    """The page can be used by eye, by keyboard and by ear, in the light, in the dark and on a telephone."""
    controls = browser.controls
    assert all(name and name.strip() for name in controls), controls
    assert browser.tabbed() == controls
    assert browser.run("[document.documentElement.lang, document.querySelectorAll('h1').length]") == ["en", 1]
    for dark in (False, True):
        browser.look(dark=dark)
        assert browser.contrast >= READABLE
    browser.look(width=360)
    assert browser.run("document.documentElement.scrollWidth") <= 360
    browser.look()


def test_a_person_logs_in_to_an_application_and_out_again(world: World) -> None:
    browser = world.browser
    browser.open(f"{world.app}/login")
    assert browser.text.startswith("Log in to app?")
    assert "Ana (ana@corp.example), at ana-1.tailnet.example" in browser.text
    assert (browser.controls, browser.focused) == (["Log in", "Cancel"], "Log in")
    check(browser)
    browser.click("Log in")
    assert browser.text.startswith("Hello Ana <ana@corp.example>")
    browser.open(f"{world.app}/logout")
    assert browser.url.startswith(f"{world.app}/")
    assert browser.text.startswith("Hello stranger")
    browser.open(f"{world.app}/login")
    assert browser.text.startswith("Log in to app?")


def test_the_keyboard_alone_is_enough_and_a_second_application_asks_nothing(world: World) -> None:
    browser = world.browser
    browser.open(f"{world.app}/login")
    browser.enter()
    assert browser.text.startswith("Hello Ana")
    browser.open(f"{world.app}/login")
    assert browser.text.startswith("Hello Ana")


def test_whoever_cancels_is_sent_back_without_a_login(world: World) -> None:
    world.browser.open(f"{world.app}/login")
    world.browser.click("Cancel")
    assert world.browser.text.startswith("No login: access_denied")


def test_consent_lists_what_the_application_asks_for(world: World) -> None:
    browser = world.browser
    browser.open(f"{world.app}/login?prompt=consent")
    assert browser.controls == ["Allow", "Cancel"]
    assert browser.run("[...document.querySelectorAll('li')].length") >= 3
    check(browser)
    browser.click("Allow")
    assert browser.text.startswith("Hello Ana")


def test_a_form_sends_itself_to_the_application(world: World) -> None:
    browser = world.browser
    browser.open(world.asking(response_mode="form_post", state="s"))
    browser.click("Log in")
    assert browser.text.startswith("Posted code iss state")
    browser.open(world.asking(response_mode="form_post", prompt="none"))
    assert browser.text.startswith("Posted code iss")


def test_people_see_what_has_access_and_take_it_back(world: World) -> None:
    browser = world.browser
    world.log_in()
    browser.open(f"{world.base}/")
    assert "ana@corp.example" in browser.text
    check(browser)
    while revoke := [name for name in browser.controls if name.startswith("Revoke app")]:
        browser.click(revoke[0])
    assert "Nothing." in browser.text
    check(browser)
    browser.click("Log out of this browser")
    assert browser.text.startswith("Log out?")
    check(browser)
    browser.click("Stay")
    assert browser.text.startswith("You are still logged in")
    browser.open(f"{world.base}/logout")
    browser.click("Log out")
    assert browser.text.startswith("You are logged out")


def test_a_device_is_connected_by_the_code_that_it_shows(world: World) -> None:
    browser = world.browser
    wishes = {"client_id": "television", "scope": "openid email", "resource": API}
    begun = httpx.post(f"{world.base}/device_authorization", data=wishes).json()
    browser.open(begun["verification_uri"])
    assert browser.focused == "Code that the device shows"
    check(browser)
    browser.run("document.querySelector('input[type=text]').focus()")
    browser.type("BCDF-GHJK")
    browser.enter()
    assert "No device waits with that code" in browser.text
    check(browser)
    browser.open(begun["verification_uri_complete"])
    browser.click("Continue")
    assert "television" in browser.text
    assert begun["user_code"] in browser.text
    assert "your mail address" in browser.text
    assert f"to use {API} in your name" in browser.text
    check(browser)
    browser.click("Connect")
    assert "television is connected" in browser.text
    asked = {"grant_type": served.DEVICE, "device_code": begun["device_code"], "client_id": "television"}
    assert "access_token" in httpx.post(f"{world.base}/token", data=asked).json()


@pytest.mark.parametrize(
    ("parameters", "title", "said"),
    [
        ({"client_id": "nobody"}, "Something is wrong here", "client"),
        ({"redirect_uri": "https://evil.example/"}, "Something is wrong here", "redirect_uri"),
        ({"client_id": "others"}, "You may not do that", "access_denied"),
    ],
)
def test_errors_say_what_is_wrong_and_send_nobody_anywhere(
    world: World, parameters: dict[str, str], title: str, said: str
) -> None:
    browser = world.browser
    browser.open(world.asking(**parameters))
    assert browser.text.startswith(title)
    assert said in browser.text
    assert browser.url.startswith(world.base)
    check(browser)


def test_no_other_site_can_frame_a_page(world: World) -> None:
    browser = world.browser
    browser.open(f"{world.app}/")
    frame = f"Object.assign(document.createElement('iframe'), {{src: '{world.asking()}', onload: shown}})"
    browser.run(f"new Promise(shown => document.body.append({frame}))")
    browser.open(f"{world.app}/")
    assert "frame" in browser.complained()
