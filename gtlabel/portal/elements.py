"""The elements of worker pages that exist here: the one list of them, with their attributes.

https://docs.aws.amazon.com/sagemaker/latest/dg/sms-ui-template-reference.html and its page for each element;
contract/worker-ui.md 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a worker page.

    Attributes:
        attributes: those it knows, besides the ones that every HTML element has.
        own: those of them that only our element knows; AWS's ignores them.
        answers: whether it puts something under its name into the answer.
    """

    name: str
    attributes: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    answers: bool = False


def _element(name: str, attributes: str = "", own: str = "", *, answers: bool = False) -> Element:
    return Element(name, frozenset(f"{attributes} {own}".split()), frozenset(own.split()), answers)


_TEXT_FIELD = (
    "allowed-pattern auto-focus auto-validate disabled error-message label max-length min-length "
    "name placeholder required value"
)
_DRAWING = "header initial-value labels name src"
# Neither has AWS's any: an answer that is given already, and one that cannot be changed.
_OURS = "disabled initial-value"

ELEMENTS: Mapping[str, Element] = {
    element.name: element
    for element in (
        # `answer-format` is Mechanical Turk's; Ground Truth's form does not look at it either.
        _element("crowd-form", "answer-format"),
        _element("crowd-image-classifier", "categories header name overlay src", _OURS, answers=True),
        _element(
            "crowd-image-classifier-multi-select",
            "categories exclusion-category header name src",
            _OURS,
            answers=True,
        ),
        _element("crowd-classifier", "categories header name", _OURS, answers=True),
        _element(
            "crowd-classifier-multi-select",
            "categories exclusion-category header name",
            _OURS,
            answers=True,
        ),
        _element("crowd-bounding-box", _DRAWING, "disabled", answers=True),
        _element("crowd-polygon", _DRAWING, "disabled", answers=True),
        _element("crowd-keypoint", _DRAWING, "disabled", answers=True),
        _element("crowd-input", f"{_TEXT_FIELD} type", answers=True),
        _element("crowd-text-area", f"{_TEXT_FIELD} char-counter max-rows rows", answers=True),
        _element("crowd-checkbox", "checked disabled name required value", answers=True),
        _element("crowd-radio-group"),
        _element("crowd-radio-button", "checked disabled name value", answers=True),
        _element("crowd-toggle-button", "checked disabled invalid name required value", answers=True),
        _element(
            "crowd-slider",
            "disabled editable max min name pin required secondary-progress step value",
            answers=True,
        ),
        _element("crowd-slider-label"),
        _element("crowd-button", "disabled form-action href icon icon-align icon-url loading target variant"),
        _element("crowd-instructions", "link-text link-type"),
        _element("crowd-card", "heading image"),
        _element("crowd-alert", "dismissible type"),
        _element("crowd-modal", "link-text link-type"),
        _element("crowd-tabs"),
        _element("crowd-tab", "header"),
        _element("crowd-toast", "duration opened text"),
        _element("crowd-badge", "for icon label"),
        _element("crowd-fab", "disabled icon label title"),
        _element("crowd-icon-button", "disabled icon"),
    )
}

# Bare tags that give a part of an element its place.
REGIONS: Mapping[str, Element] = {
    region.name: region
    for region in (
        _element("short-instructions", "header"),
        _element("full-instructions", "header"),
        _element("short-summary"),
        _element("detailed-instructions"),
        _element("positive-example"),
        _element("negative-example"),
        _element("worker-comment", "header link-text placeholder"),
        _element("classification-target"),
    )
}
