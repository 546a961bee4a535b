"""The answer to a web server that wants to know who asks: Basic (RFC 7617) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence

from gtlabel.edge.device.logins import Login

_ONE = re.compile(r"(?:^|,)\s*(?=(?:Basic|Digest)\s)", re.IGNORECASE)
_PART = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# In the order in which they are preferred; a server that names none means MD5.
_DIGESTS = {"SHA-256": "sha256", "MD5": "md5"}


class Entrance:
    """Answers what one web server asked, and each later time at once.

    Nothing is said before it asked: who is asked for a digest never sends the password.

    Args:
        login: who asks.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._asked: dict[str, str] | None = None
        self._digest = ""
        self._times = 0

    def learn(self, challenges: Sequence[str]) -> bool:
        """Take what the server asked, as its `WWW-Authenticate` says; whether that can be answered."""
        asked: dict[str, dict[str, str]] = {}
        for challenge in (part for header in challenges for part in _ONE.split(header)):
            scheme, _, rest = challenge.partition(" ")
            parts = {key.lower(): quoted or plain for key, quoted, plain in _PART.findall(rest)}
            kinds = [kind.strip() for kind in parts.get("qop", "auth").split(",")]
            if scheme.lower() == "basic":
                asked["Basic"] = parts
            elif scheme.lower() == "digest" and "nonce" in parts and "auth" in kinds:
                asked.setdefault(parts.get("algorithm", "MD5").upper(), parts)
        self._digest = next((name for name in (*_DIGESTS, "Basic") if name in asked), "")
        self._asked = asked.get(self._digest)
        self._times = 0
        return bool(self._digest)

    def headers(self, path: str) -> dict[str, bytes]:
        """What goes with a request of a path; nothing before the server asked."""
        if self._asked is None:
            return {}
        user, password = self._login.user, self._login.password
        if self._digest == "Basic":
            return {"Authorization": b"Basic " + base64.b64encode(f"{user}:{password}".encode())}
        self._times += 1
        return {"Authorization": self._answer(self._asked, path).encode()}

    def _answer(self, asked: dict[str, str], path: str) -> str:
        """RFC 7616, 3.4.1."""
        name = _DIGESTS[self._digest]

        def digest(*parts: str) -> str:
            return hashlib.new(name, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

        # Escapes stay as they came: what is quoted goes back as it was, and into the digest unescaped.
        realm, nonce = asked.get("realm", ""), asked["nonce"]
        secret = digest(self._login.user, _plain(realm), self._login.password)
        question = digest("GET", path)
        words = {"username": _quoted(self._login.user), "realm": realm, "nonce": nonce, "uri": path}
        bare = {}
        if "qop" in asked:
            times, ours = f"{self._times:08x}", os.urandom(8).hex()
            words["response"] = digest(secret, _plain(nonce), times, ours, "auth", question)
            words["cnonce"] = ours
            bare = {"qop": "auth", "nc": times}
        else:
            words["response"] = digest(secret, _plain(nonce), question)
        if "opaque" in asked:
            words["opaque"] = asked["opaque"]
        if "algorithm" in asked:
            bare["algorithm"] = self._digest
        said = [f'{key}="{value}"' for key, value in words.items()]
        return "Digest " + ", ".join(said + [f"{key}={value}" for key, value in bare.items()])


def _plain(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)


def _quoted(plain: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", plain)
