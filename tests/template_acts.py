"""What a worker does with each of the templates in tests/templates, up to the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from browser import until
from playwright.sync_api import expect
from template_parts import Desk

TASK: Mapping[str, Any] = {
    "taskObject": "s3://bins/photo-001.jpg",
    "mask": "s3://bins/photo-002.jpg",
    "source": 'They said "it is clean" & it <smells>.',
    "labels": ["Compost", "Landfill", "Recycle"],
    "guess": "Recycle",
    "stamp": "Fabriqué en",
    "comment": "--> not the end of a comment",
    "manifestLine": {
        "bins": {
            "annotations": [
                {"class_id": 2, "left": 40, "top": 30, "width": 100, "height": 90},
                {"class_id": 0, "left": 160, "top": 20, "width": 60, "height": 50},
            ]
        }
    },
}

Act = Callable[[Desk], None]
ACTS: dict[str, Act] = {}


def _on(template: str) -> Callable[[Act], Act]:
    def remember(act: Act) -> Act:
        ACTS[template] = act
        return act

    return remember


@_on("image-classifier")
def _sort(desk: Desk) -> None:
    desk.key("2", "Enter")


@_on("image-verify-boxes")
def _verify(desk: Desk) -> None:
    desk.click("text=wrong", "text=Say what is wrong")
    desk.type("textarea", "The lid's box is too small.")
    desk.click("text=Close", "text=Submit")


@_on("image-verify-segments")
def _verify_without_comment(desk: Desk) -> None:
    desk.click("text=yes", "text=Add a comment", "text=Close")
    desk.key("Control+Enter")


@_on("image-preselected")
def _agree(desk: Desk) -> None:
    desk.key("Enter")


@_on("image-multi")
def _choose_two(desk: Desk) -> None:
    desk.key("3", "1", "2", "2", "Enter")


@_on("image-multi-none")
def _choose_none(desk: Desk) -> None:
    desk.key("n")
    desk.click("text=Remark")
    desk.type("textarea", "an empty bench")
    desk.key("Escape", "Control+Enter")


@_on("text-classifier")
def _feel(desk: Desk) -> None:
    desk.click("text=View full instructions")
    desk.key("Escape")
    desk.click("text=Submit")
    expect(desk.find(".error")).to_have_text("Choose an option.")
    desk.click("text=cross", "text=Submit")


@_on("text-multi")
def _change_mind(desk: Desk) -> None:
    desk.click("text=None of these", "text=None of these", "text=smell", "text=price", "text=Submit")


@_on("text-multi-preselected")
def _correct(desk: Desk) -> None:
    desk.click("label:has-text('noise')", "label:has-text('smell')", "text=Submit")


@_on("many-classes")
def _filter(desk: Desk) -> None:
    desk.type(".filter", "GHA")
    expect(desk.find("label.option:visible")).to_have_text(["Ghana7"])
    desk.find(".filter").fill("")
    desk.page.keyboard.press("Tab")
    # The first free letter of its name: k of Kenya.
    desk.key("k", "Enter")


@_on("two-classifiers")
def _both(desk: Desk) -> None:
    desk.key("2")
    desk.click("text=whole")
    desk.key("2", "Enter")


@_on("inputs")
def _describe(desk: Desk) -> None:
    # The first field has the focus.
    desk.click("text=Submit")
    expect(desk.find("[name=brand] .error")).to_have_text("Please fill out this field.")
    desk.page.keyboard.type('Öko "42"')
    desk.type("[name=code] input", "1a2")
    expect(desk.find("[name=code] .error")).to_have_text("Digits only, three to five.")
    desk.click("text=Submit")
    desk.page.keyboard.type("3456")
    desk.type("[name=plate] input", "x")
    desk.click("text=Submit")
    expect(desk.find("[name=plate] .error")).to_contain_text("form that is asked for")
    desk.key("Backspace")
    desk.find("[name=filled] input").fill("2026-11-22")
    desk.type("[name=liters] input", "0.75")
    desk.type("[name=mail] input", "nobody")
    desk.key("Enter")
    expect(desk.find("[name=mail] .error")).not_to_be_empty()
    desk.page.keyboard.type("@example.org")
    desk.find("[name=shape] input").fill("round")
    desk.key("Enter")


@_on("text-areas")
def _summarize(desk: Desk) -> None:
    desk.page.keyboard.type("one")
    desk.click("text=Submit")
    expect(desk.find("[name=summary] .error")).to_have_text("Please write at least 5 characters.")
    desk.key("Enter")
    desk.page.keyboard.type("two " * 20)
    expect(desk.find("[name=summary] .counter")).to_have_text("60 / 60")
    desk.type("[name=quote] textarea", "it smells")
    desk.click("text=Submit")


@_on("checkboxes")
def _tick(desk: Desk) -> None:
    desk.click("text=a lid", "text=a label", "text=Submit")
    assert desk.heard("submit") == []
    desk.click("text=I looked closely", "text=It is late")
    # From a checkbox, which Space ticks and unticks.
    desk.key("Space", "Space")
    desk.click("text=Submit")


@_on("radio-buttons")
def _say_how_full(desk: Desk) -> None:
    desk.click("text=half full")
    # Arrow keys go around, past the button that nobody may press.
    desk.key("ArrowDown", "ArrowDown")
    desk.click("text=Submit")


@_on("toggles")
def _toggle(desk: Desk) -> None:
    desk.click("[name=sharp] input", "text=well lit")
    desk.click("text=wholly in the picture", "text=Submit")


@_on("sliders")
def _slide(desk: Desk) -> None:
    desk.find("[name=dirt] input").focus()
    desk.key("ArrowRight", "ArrowRight")
    desk.find("[name=pieces] input[type=number]").fill("45")
    desk.find("[name=second] input").focus()
    desk.key("End", "ArrowLeft")
    desk.click("text=Submit")


@_on("native-controls")
def _catalogue(desk: Desk) -> None:
    desk.find("[name=title]").fill("On <bins>")
    desk.find("[name=pages]").fill("12")
    desk.find("[name=kind]").select_option("leaflet")
    desk.find("[name=colors]").select_option(["red", "blue"])
    desk.click("text=soft", "text=plates")
    desk.click("text=Idle", "crowd-button")


@_on("buttons")
def _press(desk: Desk) -> None:
    desk.find("[name=word] input").fill("second")
    desk.find("[name=plain]").fill("changed")
    desk.find("[name=mark] input").fill("80")
    desk.click("text=agreed", "text=large", "#count", "text=Start again", "#count")
    desk.find("#busy").click(force=True)
    desk.click("text=Manual")
    assert desk.message("link")["href"] == "https://example.org/manual"
    assert desk.heard("submit") == []
    desk.click("text=Done")


@_on("furniture")
def _look_around(desk: Desk) -> None:
    desk.click("[aria-label=Dismiss]")
    expect(desk.find("text=Mind the glass")).to_have_count(0)
    expect(desk.find("text=Gone at once")).to_be_hidden()
    desk.click("#flag")
    desk.find("[title=Delete]").click(force=True)
    desk.click("#more", "#more")
    expect(desk.find("#told")).to_be_visible()
    badge, cart = desk.find("crowd-badge").first.bounding_box(), desk.find("#cart").bounding_box()
    assert badge is not None
    assert cart is not None
    assert abs(badge["x"] + badge["width"] / 2 - cart["x"] - cart["width"]) < 2
    desk.click("text=Submit")


@_on("instructions")
def _read(desk: Desk) -> None:
    desk.click("text=How to do it")
    expect(desk.find("text=Name the thing")).to_be_visible()
    desk.key("ArrowRight")
    expect(desk.find("text=One noun")).to_be_visible()
    desk.key("ArrowRight")
    expect(desk.find("text=a nice green bottle")).to_be_visible()
    expect(desk.find("text=One noun")).to_be_hidden()
    desk.key("Escape")
    desk.click("text=Why do you ask?", "text=I read it", "dialog[open] >> text=Close")
    desk.type("[name=noun] input", "bottle")
    desk.key("Enter")


@_on("tabs")
def _turn(desk: Desk) -> None:
    desk.type("[name=front] input", "ACME")
    desk.click("text=Back")
    expect(desk.find("[name=front]")).to_be_hidden()
    desk.type("[name=back] input", "best before")
    desk.click("text=Front")
    desk.key("End")
    expect(desk.find("text=Both sides count")).to_be_visible()
    desk.click("text=Submit")


@_on("bounding-box")
def _box(desk: Desk) -> None:
    desk.drag((20, 30), (120, 90), (140, 110))
    desk.key("2")
    desk.touch((200, 150), (180, 100))
    # The chosen one goes a pixel to the left.
    desk.find(".viewport").focus()
    desk.key("ArrowLeft", "Shift+ArrowDown")
    desk.touch((5, 5), (15, 15))
    desk.key("Backspace", "Enter")


@_on("bounding-box-adjust")
def _adjust(desk: Desk) -> None:
    desk.click("text=Compost 2")
    desk.key("ArrowDown", "ArrowDown", "ArrowRight")
    desk.click("text=Submit")


@_on("polygon")
def _trace(desk: Desk) -> None:
    desk.touch((60, 60), (160, 60), (160, 120), (60, 120), (60, 60))
    desk.key("2")
    desk.touch((200, 20), (240, 20), (240, 50), (250, 90))
    desk.key("Backspace", "Enter")
    desk.touch((100, 100), (110, 110))
    desk.key("Escape")
    desk.click("text=Submit")


@_on("keypoint")
def _point(desk: Desk) -> None:
    desk.key("2")
    desk.touch((200, 140), (10, 10))
    desk.click("[aria-label='Remove right end 3']", "text=Submit")


@_on("script-vetoes")
def _guess(desk: Desk) -> None:
    desk.type("[name=guess] input", "7")
    desk.key("Enter")
    expect(desk.find("#said")).to_have_text("That is not above 10.")
    desk.type("[name=guess] input", "7")
    desk.key("Enter")


@_on("script-onsubmit")
def _list(desk: Desk) -> None:
    desk.find("textarea").fill("lid\ncap")
    desk.click("text=Submit")


@_on("script-submits")
def _keep(desk: Desk) -> None:
    desk.click("text=Drop")


@_on("script-listens")
def _be_heard(desk: Desk) -> None:
    desk.key("2", "1", "Enter")


@_on("script-assigns")
def _assigned(desk: Desk) -> None:
    desk.click("#what label:has-text('coin')")
    desk.find("#where .viewport").click()
    desk.click("text=Submit")


@_on("script-waits")
def _wait(desk: Desk) -> None:
    desk.find("[name=note] input").fill("as a fist")
    desk.click("text=small", "text=Submit")


@_on("whole-document")
def _write(desk: Desk) -> None:
    desk.type("[name=writer] input", "a neighbor")
    desk.key("Enter")


@_on("self-closed")
def _closed(desk: Desk) -> None:
    desk.type("[name=color] input", "red")
    desk.type("[name=owner] input", "no one")
    desk.click("[name=old] input")
    desk.type("[name=story] textarea", "found")
    desk.click("#skip", "text=Submit")


@_on("nested-form")
def _nested(desk: Desk) -> None:
    desk.type("[name=city]", "Essen")
    desk.type("[name=street] input", "Ringstr.")
    desk.click("text=Send it")


@_on("relaxed-values")
def _marks(desk: Desk) -> None:
    until(lambda: desk.find("label.option").count() == 6, "the options")
    desk.key("1", "3", "4", "5", "Enter")


@_on("locked")
def _locked(desk: Desk) -> None:
    desk.touch((50, 50))
    desk.find("[name=e] .viewport").click()
    desk.key("1", "n")
    desk.find("[name=left] input").fill("this")
    desk.click("text=Submit")
