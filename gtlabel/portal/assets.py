"""The portal's own scripts and styles."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from gtlabel.portal.documents import elements_script, elements_version

_STATIC = Path(__file__).parent / "static"
# What our files are called; what else may be asked for, no system of files need ever see.
_NAME = re.compile(r"[\w-][\w./-]{0,99}", re.ASCII)
_SCRIPT_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


async def static(request: Request) -> Response:
    """Our own scripts and styles."""
    name = request.path_params["name"]
    if name == "crowd.js":
        headers = {**_SCRIPT_HEADERS, "Cross-Origin-Resource-Policy": "cross-origin"}
        if request.query_params.get("v") == elements_version():
            # Each task's frame asks for it.
            headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return Response(elements_script(), headers=headers, media_type="text/javascript")
    path = (_STATIC / name).resolve() if _NAME.fullmatch(name) else _STATIC
    if not path.is_relative_to(_STATIC) or path.suffix not in (".js", ".css", ".svg") or not path.is_file():
        return Response("there is nothing here", 404, media_type="text/plain")
    kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
    return Response(path.read_bytes(), headers=_SCRIPT_HEADERS, media_type=kind)
