"""The page in headless Chromium: opened, seen to live, filtered, used by keyboard, dark and light, and on a phone."""

import os
import time
from pathlib import Path

import broker as brokers
import pytest
from chromium import PROGRAM, Page
from test_http_api import broker_with_api, client, publish, until

pytestmark = [pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own page"), pytest.mark.xdist_group("page")]
PHONE = 360
VIEWS = ("overview", "clients", "retained", "top", "alarms")
ROWS = "[...document.querySelectorAll('#client-rows tr')].map(row => row.querySelector('.link').textContent)"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def scene():
    """A broker with clients, and a browser that looks at it."""
    assert PROGRAM, "chromium is not installed: .ci/run does that"
    with broker_with_api("memory_budget_topic plant 1MiB\n") as broker, client(broker, "press-1", "plant/#", clean=True) as one, client(broker, "press-2", clean=True), client(broker, "oven", clean=True):
        publish(broker, *[(f"plant/{number}/setpoint", f'{{"value": {number}}}') for number in range(5)], ("plant/0/bytes", bytes([255, 1])))
        broker.talker = one
        with Page() as page:
            page.open(f"http://127.0.0.1:{broker.api.port}/")
            page.until("document.querySelectorAll('#tiles .tile').length >= 6")
            yield broker, page


def show(page, view):
    page.run(f"location.hash = '{view}'")
    page.until(f"!document.getElementById('view-{view}').hidden")


def picture(page, name):
    """Kept where INTEROP_PICTURES says, to be looked at."""
    directory = os.environ.get("INTEROP_PICTURES")
    if directory:
        page.picture(Path(directory) / f"{name}.png", full=False)


def test_it_lives(scene):
    broker, page = scene
    show(page, "overview")
    sent = "document.querySelectorAll('#tiles dd')[1].firstChild.textContent"
    page.until(f"{sent} === '0/s'")
    for number in range(60):
        broker.talker.publish("plant/live", str(number), 1)
        time.sleep(0.02)
    page.until(f"parseFloat({sent}) > 0")
    assert "RSS" in page.run("document.getElementById('water-words').textContent")
    assert page.run("document.querySelectorAll('#accounts tr:not([hidden])').length") >= 3
    assert page.run("document.getElementById('budget-rows').textContent").startswith("topic plant")
    # Something is drawn: not all pixels are alike.
    assert page.run("(() => { const c = document.getElementById('water'); return new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size; })()") > 5
    picture(page, "overview")


def test_it_stops_while_it_is_paused(scene):
    broker, page = scene
    page.run("document.getElementById('pause').click()")
    time.sleep(0.5)
    asked = len(page.requests())
    time.sleep(3)
    assert len(page.requests()) == asked
    page.run("document.getElementById('pause').click()")
    page.until("document.getElementById('pause').textContent === 'Pause'")
    time.sleep(2)
    assert len(page.requests()) > asked


def test_clients_are_filtered_and_sorted(scene):
    broker, page = scene
    show(page, "clients")
    page.until(f"{ROWS}.length === 3")
    page.run("document.getElementById('client-search').focus()")
    page.type("press")
    page.until(f"JSON.stringify({ROWS}) === '[\"press-1\",\"press-2\"]'")
    page.run("document.querySelector('#sort-client_id button').click()")
    page.until(f"JSON.stringify({ROWS}) === '[\"press-2\",\"press-1\"]'")
    assert page.run("document.getElementById('sort-client_id').getAttribute('aria-sort')") == "descending"
    page.run("document.getElementById('client-search').value = ''; document.getElementById('client-search').dispatchEvent(new Event('input'))")
    page.run("document.querySelector('#sort-client_id button').click()")
    page.until(f"{ROWS}.length === 3")
    picture(page, "clients")


def test_a_client_is_looked_at_and_kicked_by_keyboard(scene):
    broker, page = scene
    show(page, "clients")
    with client(broker, "victim", "vic/#", clean=True) as victim:
        page.until(f"{ROWS}.includes('victim')")
        page.run("[...document.querySelectorAll('#client-rows .link')].find(one => one.textContent === 'victim').focus()")
        page.press("Enter", text="\r")
        page.until("document.getElementById('detail').open && document.getElementById('detail-body').textContent.includes('vic/#')")
        page.press("Escape")
        page.until("!document.getElementById('detail').open")
        page.press("Tab")
        assert page.run("document.activeElement.getAttribute('aria-label')") == "Disconnect victim"
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus is seen"
        page.press("Enter", text="\r")
        page.until("document.getElementById('kick').open")
        picture(page, "kick")
        assert page.run("document.activeElement.textContent") == "Cancel", "nobody is kicked by a key too many"
        page.press("Escape")
        page.until("!document.getElementById('kick').open")
        time.sleep(0.5)
        assert not victim.gone
        page.until("document.activeElement.getAttribute('aria-label') === 'Disconnect victim'")
        page.press("Enter", text="\r")
        page.until("document.getElementById('kick').open")
        page.press("Tab")
        page.press("Enter", text="\r")
        until(lambda: victim.gone)
    page.until(f"!{ROWS}.includes('victim')")
    assert "victim was disconnected" in page.run("document.getElementById('toast').textContent")


def test_retained_messages_are_browsed(scene):
    broker, page = scene
    show(page, "retained")
    topics = "[...document.querySelectorAll('#retained-rows .link')].map(one => one.textContent)"
    page.until(f"{topics}.includes('plant/3/setpoint')")
    page.run("document.getElementById('retained-filter').value = 'plant/+/bytes'; document.querySelector('#retained-form button').click()")
    page.until(f"JSON.stringify({topics}) === '[\"plant/0/bytes\"]'")
    assert "/wE= (base64)" in page.run("document.getElementById('retained-rows').textContent")
    page.run("document.getElementById('retained-filter').value = 'a/#/b'; document.querySelector('#retained-form button').click()")
    page.until("!document.getElementById('retained-error').hidden")
    page.run("document.getElementById('retained-filter').value = '#'; document.querySelector('#retained-form button').click()")
    page.until(f"{topics}.length > 3")
    page.run("document.querySelector('#retained-rows .link').click()")
    page.until("document.getElementById('detail').open")
    page.press("Escape")
    picture(page, "retained")


def test_a_client_whose_name_is_no_path_is_looked_at_and_kicked(scene):
    broker, page = scene
    show(page, "clients")
    with client(broker, "..", "dots/#", clean=True) as victim:
        page.until(f"{ROWS}.includes('..')")
        page.run("[...document.querySelectorAll('#client-rows .link')].find(one => one.textContent === '..').click()")
        page.until("document.getElementById('detail').open && document.getElementById('detail-body').textContent.includes('dots/#')")
        page.press("Escape")
        page.until("!document.getElementById('detail').open")
        page.run("document.querySelector('[aria-label=\"Disconnect ..\"]').click()")
        page.until("document.getElementById('kick').open")
        page.run("document.querySelector('#kick [value=yes]').click()")
        until(lambda: victim.gone)


def test_retained_messages_are_deleted_after_a_look_and_a_question(scene):
    broker, page = scene
    publish(broker, *[(f"doomed/{number}", "x") for number in range(30)], ("spared/1", "x"))
    show(page, "retained")
    page.run("document.getElementById('retained-filter').value = 'doomed/#'; document.querySelector('#retained-form button').click()")
    page.until("document.querySelectorAll('#retained-rows tr').length === 30")
    page.run("document.getElementById('retained-delete').click()")
    page.until("document.getElementById('delete').open")
    assert page.run("document.getElementById('delete-title').textContent") == "Delete 30 retained messages?"
    assert "doomed/12" in page.run("document.getElementById('delete-topics').textContent")
    assert page.run("document.activeElement.textContent") == "Cancel"
    picture(page, "delete")
    page.press("Escape")
    page.until("!document.getElementById('delete').open")
    time.sleep(0.3)
    assert broker.api.get("/api/v1/retained", filter="doomed/0")["retained"], "a look deletes nothing"
    page.run("document.getElementById('retained-delete').click()")
    page.until("document.getElementById('delete').open")
    page.run("document.querySelector('#delete [value=yes]').click()")
    page.until("document.querySelectorAll('#retained-rows tr').length === 0")
    assert "30 retained messages were deleted" in page.run("document.getElementById('toast').textContent")
    assert broker.api.get("/api/v1/retained", filter="spared/#")["retained"]
    page.run("document.getElementById('retained-filter').value = '#'; document.querySelector('#retained-form button').click()")


def test_who_holds_the_most_is_shown(scene):
    broker, page = scene
    show(page, "top")
    page.until("document.querySelectorAll('#top-rows tr').length === 3")
    assert "3 sessions hold" in page.run("document.getElementById('top-foot').textContent")
    picture(page, "top")
    page.run("const what = document.getElementById('top-what'); what.value = 'prefixes count'; what.dispatchEvent(new Event('change'))")
    page.until("document.getElementById('top-rows').textContent.includes('plant/0')")
    assert page.run("document.getElementById('top-head').textContent") == "TopicsMessagesBytes"


def test_an_alarm_is_shown_and_goes(scene):
    broker, page = scene
    good = broker.config.read_text()
    broker.config.write_text(good + "no_such_thing 1\n")
    assert broker.api.status("/api/v1/reload", "POST", {"X-Requested-With": "x"}) == 422
    page.until("document.getElementById('health').textContent === '1 alarm'")
    show(page, "alarms")
    page.until("document.getElementById('alarm-list').textContent.includes('no_such_thing')")
    picture(page, "alarms")
    broker.config.write_text(good)
    assert broker.api.status("/api/v1/reload", "POST", {"X-Requested-With": "x"}) == 200
    page.until("document.getElementById('alarm-list').textContent.includes('Nothing is wrong')")


def test_dark_and_light_and_a_phone(scene):
    broker, page = scene
    colours = {}
    for dark in (False, True):
        page.shape(1280, 900, dark)
        colours[dark] = page.until(BACKGROUND)
    assert colours[False] != colours[True]
    for dark in (True, False):
        page.shape(PHONE, 740, dark)
        for view in VIEWS:
            show(page, view)
            time.sleep(0.6)
            assert page.run("document.documentElement.scrollWidth") <= PHONE, view
            picture(page, f"{view}-phone-{'dark' if dark else 'light'}")
    page.shape(1280, 900)


def test_every_field_has_a_name(scene):
    broker, page = scene
    nameless = page.run(
        "[...document.querySelectorAll('button, input, select, a[href], canvas, table, dialog')].filter(one =>"
        " !(one.textContent.trim() || one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.labels?.length)).map(one => one.outerHTML)"
    )
    assert nameless == []


def test_it_asks_nobody_else_and_nothing_went_wrong(scene):
    broker, page = scene
    own = f"http://127.0.0.1:{broker.api.port}/"
    others = {url for url in page.requests() if not url.startswith((own, "data:"))}
    assert others == set()
    # Those that the tests above have provoked.
    expected = "the server responded with a status of 400"
    assert [problem for problem in page.problems() if expected not in problem] == []
