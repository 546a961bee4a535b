"""People at work in a browser: by keyboard alone, by mouse, and on a phone.

Each of them is a page of its own; `step` answers one task. Who they are to the portal and which pictures they
see is the portal's business: they read what is on the screen, and answer by what is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from browser import DESKTOP, PHONE, until
from playwright.sync_api import Browser, Error, Frame, Locator, Page

_SHOWN = """() => {
  const element = document.querySelector('crowd-image-classifier, crowd-image-classifier-multi-select');
  const image = element?.shadowRoot?.querySelector('img');
  return image?.complete && image.naturalWidth ? element.getAttribute('src') : null;
}"""

_CHOSEN = """() => [...document.querySelectorAll('*')].flatMap((element) => element.shadowRoot
  ? [...element.shadowRoot.querySelectorAll('.option:has(input:checked) .text')].map((text) => text.innerText)
  : [])"""

# A page believes a key that comes 150 ms after its task was shown, or later.
_NOTE_SHOWN = """window.addEventListener('message', ({data}) => {
  if (data?.type === 'gtlabel:show') window.gtlabelShown = performance.now();
});"""
_TAKES_KEYS = "() => document.hasFocus() && performance.now() - (window.gtlabelShown ?? Infinity) > 160"

_FOCUSED = """() => [document.activeElement.textContent.trim(),
  document.activeElement.closest('.card')?.textContent ?? '']"""

# The option that says that no class fits, where a page has one.
NONE = "None of these"


def picture_of(address: str) -> str:
    """The picture in S3 that an address of the portal shows."""
    return "s3://" + unquote(urlsplit(address).path).split("/", 7)[7]


def option(frame: Frame, name: str) -> Locator:
    """An option of the task on show."""
    return frame.locator("label.option").filter(has=frame.get_by_text(name, exact=True))


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
        self.context.add_init_script(_NOTE_SHOWN)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.truth = truth
        self.classes = classes
        self.mistaken = set(mistaken)
        self.answered: list[str] = []
        self.seconds = 0.0
        self.home = ""
        self.last = ""

    def join(self, link: str) -> None:
        """Open an invite and accept it."""
        self.home = link.rpartition("/join/")[0]
        self.page.goto(link)
        self.press_button("Join")
        self.page.wait_for_url("**/")

    def start(self, title: str, word: str = "Start working") -> None:
        """Begin a job of the list, once it has something to do; grids begin by another word."""
        card = self.card(title)

        def is_there() -> bool:
            self.page.goto(f"{self.home}/")
            self.page.wait_for_selector("#me:not(:empty)")
            # The page fills its list in one go with that name.
            return card.get_by_text(word, exact=True).count() > 0

        until(is_there, f"the job {title!r}")
        self.press_button(word, title)
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
        if not shown or shown == self.last:
            return None
        return frame, shown

    def behind(self) -> str | None:
        """The picture of the page behind the one on show, once it is there."""
        element = self.page.query_selector("iframe:not(.front)")
        frame = element.content_frame() if element else None
        try:
            shown = frame.evaluate(_SHOWN) if frame else None
        except Error:
            return None
        return picture_of(shown) if shown else None

    def on_show(self) -> tuple[Frame, str]:
        """The page of the task on show and its picture, once another one than the last is there."""
        found = until(self.task, "a task")
        assert found is not None
        self.last = found[1]
        return found[0], picture_of(self.last)

    def next_task(self) -> tuple[Frame, str] | None:
        """The task on show, as soon as it is known whether there is one."""

        def look() -> tuple[Frame, str] | str | None:
            return self.task() or ("none" if self.page.locator("#notice").is_visible() else None)

        # A server that was killed needs a while, and pages ask ever more rarely.
        seen = until(look, "a task, or word that there is none", 120)
        return None if isinstance(seen, str) else seen

    def step(self) -> bool:
        """Answer the task on show; False if there is none."""
        began = time.monotonic()
        found = self.next_task()
        if found is None:
            return False
        frame, self.last = found
        picture = picture_of(self.last)
        # Nobody decides faster than that, and the page would not believe them.
        time.sleep(0.16)
        self.answer(frame, self.opinion(picture))
        self.answered.append(picture)
        self.seconds += time.monotonic() - began
        return True

    def step_until(self, count: int) -> None:
        """Answer until so many are answered, also where there is nothing to do in between."""

        def enough() -> bool:
            if len(self.answered) < count:
                self.step()
            return len(self.answered) >= count

        until(enough, f"{count} answers", 120)

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

    def ready(self, frame: Frame) -> None:
        """Wait until the page of a task hears keys."""
        until(lambda: frame.evaluate(_TAKES_KEYS), "a page that takes keys")

    def press_button(self, name: str, job: str = "") -> None:
        """Press a button or link of the portal's own pages, on the card of a job if that is named."""
        place = self.card(job) if job else self.page
        place.get_by_text(name, exact=True).first.click()

    def card(self, title: str) -> Locator:
        """What the list of jobs shows of one."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        return self.page.locator(".card").filter(has=heading)

    def notice(self) -> str:
        """What stands in the place of a task, once it does."""
        self.page.wait_for_selector("#notice", state="visible")
        return self.page.locator("#notice-title").inner_text()

    def answer(self, frame: Frame, chosen: Sequence[str]) -> None:
        """Choose and submit; of nothing at all the page has to be told."""
        for name in chosen or [NONE]:
            option(frame, name).click()
        frame.locator("crowd-button").click()


def label_all(people: Sequence[Person], after_turn: Callable[[int], None]) -> None:
    """Let people answer in turn until each has seen every picture.

    Args:
        people: who works.
        after_turn: hears how many turns there were; everybody who still works answers once in each.
    """
    turn, idle = 0, 0.0
    while at_work := [person for person in people if set(person.answered) != set(person.truth)]:
        # A page may have nothing for a moment, and looks again by itself.
        answered = [person.step() for person in at_work]
        if not any(answered):
            idle += 0.05
            assert idle < 60, "pages have nothing to do, and pictures are left"
            time.sleep(0.05)
            continue
        idle = 0.0
        turn += 1
        after_turn(turn)


class Typist(Person):
    """Somebody who never touches the mouse."""

    def press_button(self, name: str, job: str = "") -> None:
        """Walk to it by the tabulator key."""
        for _ in range(30):
            self.page.keyboard.press("Tab")
            focused, card = self.page.evaluate(_FOCUSED)
            if focused == name and job in card:
                self.page.keyboard.press("Enter")
                return
        raise AssertionError(f"the tabulator key does not lead to {name!r}")

    def answer(self, frame: Frame, chosen: Sequence[str]) -> None:
        """Digits, and Enter; a key that comes too early to be meant does nothing, and is pressed again."""
        for name in chosen or [NONE]:
            key = "n" if name == NONE else str(self.classes.index(name) + 1)
            while name not in frame.evaluate(_CHOSEN):
                self.page.keyboard.press(key)
        self.page.keyboard.press("Enter")


class Phoner(Person):
    """Somebody with a phone and a thumb."""

    size = PHONE
    touch = True

    def answer(self, frame: Frame, chosen: Sequence[str]) -> None:
        """Tap and tap."""
        for name in chosen or [NONE]:
            option(frame, name).tap()
        frame.locator("crowd-button").tap()


class Owner(Person):
    """Somebody who lets others in, and looks at what they do."""

    def invite(self, name: str) -> str:
        """Take somebody in, and return the link that lets them in once."""
        desk = self.desk()
        desk.get_by_label("Name").fill(name)
        desk.get_by_role("button", name="Invite", exact=True).click()
        told = desk.locator("#link").filter(has_text=f"Send this to {name}")
        told.wait_for()
        return told.locator("code").inner_text()

    def desk(self) -> Page:
        """The page about people, in a tab of its own."""
        if len(self.context.pages) == 1:
            self.context.new_page().goto(f"{self.home}/owner/people")
        # A tab in the background draws so rarely that a click takes seconds.
        self.context.pages[1].bring_to_front()
        return self.context.pages[1]
