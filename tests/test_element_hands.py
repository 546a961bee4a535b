"""Our crowd elements in people's hands: by keyboard alone, on phones, with bad pictures and hostile names."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from browser import DESKTOP, PHONE, colors, flaws, until
from PIL import Image
from playwright.sync_api import Browser, expect
from template_acts import TASK
from template_parts import PICTURES, Desk, desk, template

# Sets out to see what Tab reaches and whether it shows; says how many places there are to reach.
_STOPS = """() => {
  const inside = (root) => [...root.querySelectorAll('*')].flatMap(
    (node) => [node, ...(node.shadowRoot ? inside(node.shadowRoot) : [])]);
  const isFirst = (node) => node.type !== 'radio' || node.checked || !node.name
    || node === node.getRootNode().querySelector(`input[type=radio][name="${node.name}"]`);
  const isStop = (node) => node.matches('button, a, input, textarea, select, [tabindex]')
    && node.tabIndex >= 0 && !node.matches(':disabled') && node.checkVisibility() && isFirst(node);
  window.stops = inside(document).filter(isStop);
  window.reached = new Set();
  window.unseen = [];
  const focused = (event) => {
    const [node] = event.composedPath();
    if (reached.has(node) || node.shadowRoot) return;
    reached.add(node);
    const {outlineStyle, outlineWidth} = getComputedStyle(node.closest('.option') ?? node);
    if (outlineStyle === 'none' || !parseFloat(outlineWidth)) unseen.push(node.outerHTML);
  };
  // From one place to another of the same shadow, the event does not leave it.
  const roots = new Set(stops.map((node) => node.getRootNode()));
  for (const root of roots) root.addEventListener('focusin', focused);
  stops[0].focus();
  return stops.length;
}"""
_MISSED = "() => [stops.filter((node) => !reached.has(node)).map((node) => node.outerHTML), unseen]"
_CHECKED = """() => [...document.querySelectorAll('*')]
  .flatMap((node) => [...(node.shadowRoot?.querySelectorAll('input') ?? [])])
  .map(({checked, value}) => [checked, value])"""

HOSTILE = [
    "<img src=x onerror=alert(1)><b>bold</b>",
    "</crowd-form></div><script>document.title = 'mine'</script>",
    "\"double\" 'single' `back`",
    "{{ 7 | times: 7 }} {% raw %} {{ task.input }}",
    "\u202egnp.elpmaxe\u2066\u200b",
    "long " * 60,
    "&lt;b&gt; &amp;amp; \\u0041 \\\\ \\",
    "'], alert(1), ['",
    "__proto__",
    "  room around  ",
    "\U0001f5d1 ünï 猫",
]
REACHED = [
    "bounding-box-adjust",
    "buttons",
    "furniture",
    "image-verify-boxes",
    "inputs",
    "instructions",
    "radio-buttons",
    "sliders",
    "tabs",
    "text-multi",
    "toggles",
]


@pytest.fixture(scope="module")
def at_desk(browser: Browser) -> Iterator[Desk]:
    with desk(browser) as made:
        yield made


def values(at_desk: Desk) -> Any:
    return at_desk.frame.evaluate(_CHECKED)


def tab_to(at_desk: Desk, place: str) -> None:
    """Presses Tab until something of a class has the focus."""
    focus = """() => {
      let node = document.activeElement;
      while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
      return node?.className ?? '';
    }"""
    for _ in range(40):
        at_desk.page.keyboard.press("Tab")
        if place in at_desk.frame.evaluate(focus).split():
            return
    raise AssertionError(f"Tab never reached {place}")


def test_hostile_names_of_classes_show_literally_and_come_back_unchanged(at_desk: Desk) -> None:
    at_desk.open(
        """<crowd-form><crowd-classifier-multi-select name="{{ task.input.header }}"
        header="{{ task.input.header }}" categories="{{ task.input.labels | to_json | escape }}">
        <classification-target>{{ task.input.header }}</classification-target>
        </crowd-classifier-multi-select></crowd-form>""",
        {"labels": HOSTILE, "header": HOSTILE[0]},
    )
    assert at_desk.find(".option .text").all_text_contents() == HOSTILE
    assert at_desk.find(".header").text_content() == HOSTILE[0]
    expect(at_desk.find("img, b")).to_have_count(0)
    for number in range(len(HOSTILE)):
        at_desk.find("input.category").nth(number).check()
    at_desk.key("Enter")
    assert json.loads(at_desk.answer()) == {HOSTILE[0]: {"labels": HOSTILE}}
    assert at_desk.complaints == []


@pytest.mark.parametrize("name", ["image-classifier", "image-multi-none", "bounding-box", "inputs"])
def test_no_single_key_does_anything_where_single_keys_are_off(at_desk: Desk, name: str) -> None:
    at_desk.set(hotkeys=False)
    try:
        at_desk.open(template(name), TASK)
        if at_desk.find(".viewport").count():
            at_desk.message("image")
        shown = "() => [...document.querySelectorAll('*')].map((node) => node.shadowRoot?.innerHTML).join()"
        before = at_desk.frame.evaluate(shown), values(at_desk)
        at_desk.find("h2, .header, p").first.click()
        at_desk.key(*"1230nfuUsg?+-=abcxyz", "Enter", "Backspace", "Delete", "Escape", "/", ".")
        assert (at_desk.frame.evaluate(shown), values(at_desk)) == before
        assert at_desk.heard("key") == at_desk.heard("submit") == []
        expect(at_desk.find("kbd:visible")).to_have_count(0)
    finally:
        at_desk.set()


def test_keys_mean_nothing_to_the_task_while_a_dialog_is_open_or_somebody_types(at_desk: Desk) -> None:
    at_desk.open(template("image-verify-boxes"), TASK)
    at_desk.click("text=View full instructions")
    at_desk.key("1", "2", "u")
    at_desk.key("Escape")
    at_desk.click("text=Say what is wrong")
    at_desk.page.keyboard.type("12 u?")
    at_desk.key("Enter")
    at_desk.click("dialog[open] >> text=Close")
    assert [checked for checked, _ in values(at_desk)][:2] == [False, False]
    assert at_desk.heard("key") == at_desk.heard("submit") == []
    assert at_desk.find(".said").text_content() == "12 u?\n"


def test_keys_that_the_task_does_not_know_go_to_the_shell(at_desk: Desk) -> None:
    at_desk.open(template("image-classifier"), TASK)
    at_desk.key("u", "?", "s", "9", "x")
    until(lambda: len(at_desk.heard("key")) == 3, "three keys")
    assert [said["key"] for said in at_desk.heard("key")] == ["u", "?", "s"]


def test_in_fast_mode_a_digit_is_the_whole_answer_to_a_question_with_one(at_desk: Desk) -> None:
    at_desk.set(fast=True)
    try:
        at_desk.open(template("image-classifier"), TASK)
        at_desk.key("3")
        assert json.loads(at_desk.answer()) == {"crowd-image-classifier": {"label": "Recycle"}}
        at_desk.open(template("image-multi"), TASK)
        at_desk.key("3")
        assert at_desk.heard("submit") == []
    finally:
        at_desk.set()


def test_an_answer_is_sent_once_however_often_somebody_clicks(at_desk: Desk) -> None:
    at_desk.open(template("image-preselected"), TASK)
    at_desk.find("text=Submit").dblclick()
    at_desk.key("Enter", "Control+Enter")
    at_desk.answer()
    assert len(at_desk.heard("submit")) == 1


@pytest.mark.parametrize("name", REACHED)
def test_every_control_is_reached_by_tab_and_shows_that_it_has_the_focus(at_desk: Desk, name: str) -> None:
    at_desk.open(template(name), TASK)
    if at_desk.find(".viewport").count():
        # With the picture come new buttons in place of those before.
        at_desk.message("image")
    stops = at_desk.frame.evaluate(_STOPS)
    assert stops > 0
    # What scrolls is a stop as well, and a date has several.
    for key in ["Tab", "Shift+Tab", *["Tab"] * (stops + 6)]:
        at_desk.page.keyboard.press(key)
    missed, unseen = at_desk.frame.evaluate(_MISSED)
    assert missed == []
    assert unseen == []


def test_boxes_are_drawn_moved_and_sized_by_keyboard_alone(at_desk: Desk) -> None:
    at_desk.open(template("bounding-box"), TASK)
    keys = at_desk.page.keyboard
    tab_to(at_desk, "viewport")
    for key, times in (("ArrowLeft", 5), (" ", 1), ("ArrowDown", 4), ("ArrowRight", 10), (" ", 1)):
        for _ in range(times):
            keys.press(key)
    for key, times in (("ArrowUp", 3), ("Shift+ArrowRight", 2), ("Escape", 1), ("ArrowUp", 1)):
        for _ in range(times):
            keys.press(key)
    at_desk.key("Enter")
    [box] = json.loads(at_desk.answer())["annotatedResult"]["boundingBoxes"]
    step = box["height"] // 4
    assert box == {
        "label": "Compost",
        "left": 128 - 5 * step,
        "top": 96 - 3,
        "width": 10 * step + 2,
        "height": 4 * step,
    }


def test_polygons_and_points_are_drawn_by_keyboard_alone(at_desk: Desk) -> None:
    at_desk.open(template("polygon"), TASK)
    tab_to(at_desk, "viewport")
    for key in (" ", "ArrowRight", "ArrowRight", " ", "ArrowDown", "ArrowDown", " ", "Enter", "Enter"):
        at_desk.page.keyboard.press(key)
    drawn = json.loads(at_desk.answer())["outline"]["polygons"][1]["vertices"]
    assert len(drawn) == 3
    assert drawn[0] == {"x": 128, "y": 96}
    at_desk.open(template("keypoint"), TASK)
    tab_to(at_desk, "viewport")
    for key in (" ", "Escape", "Shift+ArrowLeft", " ", "ArrowDown", "Enter"):
        at_desk.page.keyboard.press(key)
    points = json.loads(at_desk.answer())["points"]["keypoints"][1:]
    assert [(point["x"], point["y"]) for point in points] == [(128, 96), (127, 97)]


def test_nobody_answers_about_a_picture_that_they_have_not_seen(at_desk: Desk) -> None:
    for name in ("image-classifier", "bounding-box"):
        at_desk.open(template(name), {**TASK, "taskObject": "s3://bins/gone.jpg"})
        assert at_desk.message("image")["ok"] is False
        expect(at_desk.find(".broken")).to_have_text(
            "The picture does not load. Decline the task rather than guess."
        )
        at_desk.key("1", "Enter")
        at_desk.click("text=Submit")
        expect(at_desk.find(".error")).to_have_text("The picture does not load; decline the task.")
        assert at_desk.heard("submit") == []


def test_a_picture_is_asked_for_again_until_its_server_is_back(at_desk: Desk) -> None:
    for name in ("image-classifier", "bounding-box"):
        at_desk.open(template(name), {**TASK, "taskObject": f"s3://bins/late-{name}.jpg"})
        assert at_desk.message("image")["ok"] is False
        at_desk.portal.pictures[f"late-{name}.jpg"] = (PICTURES / "photo-001.jpg").read_bytes()
        until(lambda: at_desk.heard("image")[-1]["ok"], "the picture")
        expect(at_desk.find(".broken")).to_have_count(0)
    # Of one outage the shell is told once.
    assert len(at_desk.heard("image")) == 2


def test_a_turned_photo_is_upright_to_look_at_and_as_it_is_stored_to_draw_on(at_desk: Desk) -> None:
    turned = io.BytesIO()
    plain = Image.open(PICTURES / "photo-001.jpg")
    exif = plain.getexif()
    exif[0x0112] = 6
    plain.save(turned, "jpeg", exif=exif)
    at_desk.portal.pictures["turned.jpg"] = turned.getvalue()
    size = "(image) => [image.naturalWidth, image.naturalHeight]"
    at_desk.open(template("image-classifier"), {**TASK, "taskObject": "s3://bins/turned.jpg"})
    at_desk.message("image")
    assert at_desk.find(".viewport img").evaluate(size) == [192, 256]
    at_desk.open(template("bounding-box"), {**TASK, "taskObject": "s3://bins/turned.jpg"})
    at_desk.message("image")
    at_desk.key("Enter")
    assert json.loads(at_desk.answer())["annotatedResult"]["inputImageProperties"] == {
        "height": 192,
        "width": 256,
    }


def test_a_picture_is_zoomed_moved_and_brightened_without_dragging(at_desk: Desk) -> None:
    at_desk.open(template("image-classifier"), TASK)
    at_desk.message("image")
    image = at_desk.find(".viewport img")
    fitted = image.bounding_box()
    assert fitted is not None
    at_desk.key("+")
    at_desk.click("[aria-label='Zoom in']", "[aria-label='Look to the left']", "[aria-label='Look up']")
    moved = image.bounding_box()
    assert moved is not None
    assert moved["width"] == pytest.approx(fitted["width"] * 1.25**2)
    assert moved["x"] + moved["width"] / 2 == pytest.approx(fitted["x"] + fitted["width"] / 2 + 60)
    at_desk.find("[aria-label=Brightness]").fill("150")
    assert "brightness(150%)" in image.evaluate("(image) => image.style.filter")
    at_desk.page.set_viewport_size({"width": 1200, "height": 700})
    at_desk.settle()
    after = image.bounding_box()
    assert after is not None
    assert after["width"] == pytest.approx(moved["width"])
    at_desk.page.set_viewport_size(DESKTOP)
    at_desk.settle()
    at_desk.key("f")
    assert image.bounding_box() == fitted
    assert image.evaluate("(image) => image.style.filter") == ""


def test_two_fingers_zoom_and_draw_nothing(at_desk: Desk) -> None:
    at_desk.open(template("bounding-box"), TASK)
    at_desk.message("image")
    before = at_desk.find(".viewport img").bounding_box()
    assert before is not None
    x, y = at_desk.point(128, 96)
    fingers = at_desk.page.context.new_cdp_session(at_desk.page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": left, "y": top, "id": number} for number, (left, top) in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x - 50, y))
    touch("touchMove", (x - 60, y))
    touch("touchStart", (x - 60, y), (x + 60, y))
    touch("touchMove", (x - 120, y), (x + 120, y))
    touch("touchEnd")
    after = at_desk.find(".viewport img").bounding_box()
    assert after is not None
    assert after["width"] == pytest.approx(2 * before["width"], rel=0.02)
    at_desk.key("Enter")
    assert json.loads(at_desk.answer())["annotatedResult"]["boundingBoxes"] == []


@pytest.mark.parametrize(
    ("name", "opener"),
    [
        ("image-classifier", "View full instructions"),
        ("image-verify-boxes", "Say what is wrong"),
        ("instructions", "How to do it"),
        ("instructions", "Why do you ask?"),
    ],
)
def test_an_open_dialog_is_accessible(at_desk: Desk, name: str, opener: str) -> None:
    at_desk.open(template(name), TASK)
    at_desk.click(f"text={opener}")
    found = flaws(at_desk.frame)
    at_desk.page.emulate_media(**colors("dark"))
    found += flaws(at_desk.frame)
    at_desk.page.emulate_media(**colors("light"))
    assert found == []


def test_a_phone_shows_short_instructions_on_demand_and_what_is_chosen(at_desk: Desk) -> None:
    at_desk.page.set_viewport_size(PHONE)
    try:
        at_desk.open(template("image-classifier"), TASK)
        expect(at_desk.find("short-instructions")).to_be_hidden()
        at_desk.click("text=In short")
        expect(at_desk.find("short-instructions")).to_be_visible()
        expect(at_desk.find("[aria-label=Contrast]")).to_be_hidden()
        at_desk.click("[aria-label='Brightness and contrast']")
        expect(at_desk.find("[aria-label=Contrast]")).to_be_visible()
        at_desk.click(".option >> text=Landfill", "text=Submit")
        assert json.loads(at_desk.answer()) == {"crowd-image-classifier": {"label": "Landfill"}}
    finally:
        at_desk.page.set_viewport_size(DESKTOP)


def test_a_page_that_nobody_frames_shows_its_answer_and_sends_nothing(at_desk: Desk) -> None:
    at_desk.open(template("text-classifier"), TASK)
    alone = at_desk.page.context.new_page()
    try:
        alone.goto(f"{at_desk.portal.origin}/frame/{at_desk.lease}")
        alone.click("text=glad")
        form = "document.querySelector('crowd-form')"
        assert alone.evaluate(f"() => {form}._serializeForm()") == {
            "taskAnswers": '[{"tone":{"label":"glad"}}]'
        }
        for feeling in ("cross", "glad"):
            alone.click(f"text={feeling}")
            alone.click("text=Submit")
            expect(alone.locator(".gtlabel-answer")).to_contain_text(f'"{feeling}"')
            assert json.loads(alone.inner_text(".gtlabel-answer")) == {"tone": {"label": feeling}}
    finally:
        alone.close()
    assert at_desk.heard("submit") == []
