"""What the portal signs addresses with: made once, and the same for all servers on one database."""

from __future__ import annotations

from secrets import token_hex

from gtlabel.emulator.api import Context
from gtlabel.emulator.shelf import Shelf

_KIND = "portal-secret"
_NAME = "addresses"


def portal_secret(shelf: Shelf) -> bytes:
    """The secret of the portal whose documents these are."""
    # Whoever is second to write has not written, and reads the first one's.
    shelf.add(Context(), _KIND, _NAME, {"secret": token_hex(32)})
    document = shelf.get(Context(), _KIND, _NAME)
    return bytes.fromhex(document["secret"]) if document else b""
