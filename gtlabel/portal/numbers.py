"""Numbers in addresses, as routes know them under the name `number`: no larger than any database counts.

Starlette's own `int` reads as many digits as somebody sends, and Python refuses to make a number of 5,000.
"""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class _Number(Convertor[int]):
    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())

# The part of a path that is the number of a job, and the one that is a moment.
NUMBER = "{number:number}"
EXPIRY = "{expiry:number}"
