"""Every page of the portal as people see it, on a desktop and a phone, light and dark, and what axe says."""

from __future__ import annotations

from pathlib import Path

from browser import flaws, until
from people_parts import Owner, Person, Phoner
from playwright.sync_api import Browser, Page
from work_parts import CLASSES, Work

_SCHEMES = ("light", "dark")
_SIZES: dict[str, type[Person]] = {"desktop": Person, "phone": Phoner}


class Gallery:
    """Opens all pages in all looks.

    Args:
        work: where.
        browser: where the pages open.
        owner: somebody who is signed in as the owner.
        job: a job that was done, if there is one.
        folder: where pictures of the pages go.
    """

    def __init__(self, work: Work, browser: Browser, owner: Owner, job: str, folder: Path | None) -> None:
        self._work = work
        self._browser = browser
        self._owner = owner
        self._job = job
        self._folder = folder
        self._found: dict[str, dict[str, list[str]]] = {}
        self._look = ""

    def show(self) -> list[str]:
        """Open them all; print a table, and return what axe found."""
        self._work.create("one", title="Which bin?")
        self._work.create("several", several=True, title="What is in it?")
        self._work.create("quick", title="Quickly, please")
        worker = Person(self._browser, self._work.truth, CLASSES)
        worker.join(self._owner.invite("dora"))
        for scheme in _SCHEMES:
            for size in _SIZES:
                self._look = f"{scheme}-{size}"
                self._worker_pages(worker, scheme, size)
                self._owner_pages(scheme, size)
        return self._table()

    def _worker_pages(self, worker: Person, scheme: str, size: str) -> None:
        person = self._as(worker, scheme, size)
        page = person.page
        page.goto(f"{person.home}/")
        page.wait_for_selector(".card a.button")
        self._keep("jobs", page)
        person.start("Which bin?")
        frame, _ = person.on_show()
        frame.locator("label.option").first.click()
        self._keep("task", page)
        frame.get_by_text("View full instructions").click()
        self._keep("instructions", page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Settings").click()
        self._keep("settings", page)
        page.get_by_label("Fast mode").check()
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Decline").click()
        self._keep("decline", page)
        person.last = ""
        person.start("Quickly, please")
        person.step()
        person.on_show()
        page.locator("#undo").click()
        person.on_show()
        self._keep("undo", page)
        person.last = ""
        person.start("What is in it?")
        frame, _ = person.on_show()
        for option in frame.locator("label.option").all()[::2]:
            option.click()
        self._keep("multi-select", page)
        person.start("Which bin?", "Grid")
        until(lambda: page.locator(".tile").count() > 3, "the grid")
        page.locator(".tile .pick").nth(1).click()
        page.locator(".tile select").nth(3).select_option(CLASSES[2])
        page.wait_for_timeout(1000)
        self._keep("grid", page)
        page.goto(f"{person.home}/")
        person.context.close()

    def _owner_pages(self, scheme: str, size: str) -> None:
        person = self._as(self._owner, scheme, size)
        page = person.page
        page.goto(f"{person.home}/owner")
        page.wait_for_selector(".card")
        self._keep("owner-jobs", page)
        page.locator(".card a").last.click()
        page.wait_for_selector("#classes tbody tr")
        page.wait_for_timeout(700)
        self._keep("owner-job", page)
        page.goto(f"{person.home}/owner/people")
        page.wait_for_selector("#people tbody tr")
        self._keep("people", page)
        page.goto(self._owner.invite(f"guest-{self._look}"))
        self._keep("join", page)
        page.goto(f"{person.home}/nowhere")
        self._keep("nowhere", page)
        person.context.close()

    def _as(self, somebody: Person, scheme: str, size: str) -> Person:
        """The same person at another screen."""
        person = _SIZES[size](self._browser, self._work.truth, CLASSES, scheme=scheme)
        person.context.add_cookies(somebody.context.cookies())  # type: ignore[arg-type]
        person.home = somebody.home
        return person

    def _keep(self, name: str, page: Page) -> None:
        """Keep a picture of a page, and what axe says of it and of the task in it."""
        # What slides or fades is over by then.
        page.wait_for_timeout(150)
        found = flaws(page)
        element = page.query_selector("iframe.front")
        frame = element.content_frame() if element else None
        if frame is not None:
            found += flaws(frame)
        self._found.setdefault(name, {})[self._look] = found
        if self._folder is not None:
            page.screenshot(path=self._folder / f"{name}-{self._look}.png")

    def _table(self) -> list[str]:
        looks = [f"{scheme}-{size}" for scheme in _SCHEMES for size in _SIZES]
        print(f"\n{'axe, WCAG 2.2 AA: violations':<30}" + "".join(f"{look:>15}" for look in looks))
        for name, found in self._found.items():
            print(f"{name:<30}" + "".join(f"{len(found[look]):>15}" for look in looks))
        return [
            f"{name}, {look}: {flaw}"
            for name, found in self._found.items()
            for look, flaws_found in found.items()
            for flaw in flaws_found
        ]
