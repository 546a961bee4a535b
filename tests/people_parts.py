"""People at work in a browser: by keyboard alone, by mouse, and on a phone.

Each of them is a page of its own; `step` answers one task. Who they are to the portal and which pictures they
see is the portal's business: they read what is on the screen, and answer by what is right.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from browser import DESKTOP, PHONE, until
from playwright.sync_api import Browser, Error, Frame, Page

_SHOWN = """() => {
  const element = document.querySelector('crowd-image-classifier, crowd-image-classifier-multi-select');
  const image = element?.shadowRoot?.querySelector('img');
  return image?.complete && image.naturalWidth ? element.getAttribute('src') : null;
}"""

_CHOSEN = """() => [...document.querySelectorAll('*')].flatMap((element) => element.shadowRoot
  ? [...element.shadowRoot.querySelectorAll('input.category:checked')].map((input) => input.value) : [])"""


class Person:
    """Somebody at a page of the portal.

    Args:
        browser: where their page opens.
        truth: the classes of each picture, by its address in S3.
        classes: the classes in the order of the class list.
        mistaken: pictures that they take for the next class.
        scheme: the color scheme of their machine.
    """

    size = DESKTOP
    touch = False

    def __init__(
        self,
        browser: Browser,
        truth: Mapping[str, Sequence[str]],
        classes: Sequence[str],
        mistaken: Sequence[str] = (),
        scheme: str = "light",
    ) -> None:
        self.context = browser.new_context(
            viewport=self.size,
            has_touch=self.touch,
            color_scheme=scheme,  # type: ignore[arg-type]
            reduced_motion="reduce",
        )
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.truth = truth
        self.classes = classes
        self.mistaken = set(mistaken)
        self.answered: list[str] = []
        self._last = ""

    def join(self, link: str) -> None:
        """Open an invite and accept it."""
        self.page.goto(link)
        self.press_button("Join")
        self.page.wait_for_url("**/")

    def start(self) -> None:
        """Begin the first job of the list."""
        self.page.wait_for_selector(".card a.button")
        self.press_button("Start working")
        self.page.wait_for_url("**/work/*")

    def task(self) -> tuple[Frame, str] | None:
        """The page of a task that is new, and what it shows, once both are there."""
        element = self.page.query_selector("iframe.front")
        frame = element.content_frame() if element else None
        if frame is None:
            return None
        try:
            shown = frame.evaluate(_SHOWN)
        except Error:
            # The frame goes on to another task while it is asked.
            return None
        if not shown or shown == self._last:
            return None
        return frame, shown

    def has_more(self) -> bool:
        """Whether a task is on show, as soon as that is known."""
        until(
            lambda: self.task() or self.page.locator("#notice").is_visible(),
            "a task, or word that there is none",
        )
        return self.task() is not None

    def step(self) -> bool:
        """Answer the task on show; False if there is none."""
        if not self.has_more():
            return False
        found = self.task()
        assert found is not None
        frame, self._last = found
        picture = "s3://" + unquote(self._last).split("/", 7)[7]
        # Nobody decides faster than that, and the page would not believe them.
        time.sleep(0.16)
        self.answer(frame, self.opinion(picture))
        self.answered.append(picture)
        return True

    def opinion(self, picture: str) -> list[str]:
        """What they think is right."""
        right = list(self.truth[picture])
        if picture not in self.mistaken:
            return right
        return [self.classes[(self.classes.index(right[0]) + 1) % len(self.classes)]]

    def screenshot(self, folder: Path | None, name: str) -> None:
        """Write what they see where a person can look."""
        if folder is not None:
            self.page.screenshot(path=folder / f"{name}.png")

    def press_button(self, name: str) -> None:
        """Press a button or link of the portal's own pages."""
        self.page.get_by_text(name, exact=True).first.click()

    def answer(self, frame: Frame, chosen: Sequence[str]) -> None:
        """Choose and submit."""
        for name in chosen:
            frame.locator("label.option").filter(has=frame.get_by_text(name, exact=True)).click()
        frame.locator("crowd-button").click()


class Typist(Person):
    """Somebody who never touches the mouse."""

    def press_button(self, name: str) -> None:
        """Walk to it by the tabulator key."""
        for _ in range(30):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.textContent.trim()") == name:
                self.page.keyboard.press("Enter")
                return
        raise AssertionError(f"the tabulator key does not lead to {name!r}")

    def answer(self, frame: Frame, chosen: Sequence[str]) -> None:
        """Digits, and Enter; a key that comes too early to be meant does nothing, and is pressed again."""
        for name in chosen:
            while name not in frame.evaluate(_CHOSEN):
                self.page.keyboard.press(str(self.classes.index(name) + 1))
        self.page.keyboard.press("Enter")


class Phoner(Person):
    """Somebody with a phone and a thumb."""

    size = PHONE
    touch = True

    def answer(self, frame: Frame, chosen: Sequence[str]) -> None:
        """Tap and tap."""
        for name in chosen:
            frame.locator("label.option").filter(has=frame.get_by_text(name, exact=True)).tap()
        frame.locator("crowd-button").tap()
