"""S3 addresses: strings that were checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

from gtlabel.errors import UriError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

# Bucket names: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_S3_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<key>.*))?", re.DOTALL)


class S3Uri(str):
    """The address of an object or a prefix, `s3://bucket/key`.

    It is a plain string everywhere else: in JSON, as a dictionary key, in a request.

    Raises:
        UriError: when made from a text that is no such address.
    """

    __slots__ = ("bucket", "key")

    bucket: str
    key: str

    def __new__(cls, text: str) -> Self:
        """Check the text and take it apart."""
        match = _S3_URI.fullmatch(text)
        if match is None:
            raise UriError(text)
        uri = super().__new__(cls, text)
        uri.bucket = match["bucket"]
        uri.key = match["key"] or ""
        return uri

    @classmethod
    def of(cls, bucket: str, key: str = "") -> Self:
        """The address of `key` in `bucket`, exactly as the key is spelled."""
        return cls(f"s3://{bucket}/{key}")

    def at(self, key: str) -> S3Uri:
        """The address of `key` in the same bucket, exactly as the key is spelled.

        Nothing is left to check: the bucket was, and every text is a key. Listings live on this.
        """
        uri = str.__new__(S3Uri, f"s3://{self.bucket}/{key}")
        uri.bucket = self.bucket
        uri.key = key
        return uri

    @classmethod
    def checked(cls, text: str) -> S3Uri:
        """The address that `text` is known to be, because it was checked where it came from."""
        uri = str.__new__(S3Uri, text)
        end = text.find("/", 5)
        uri.bucket = text[5:end]
        uri.key = text[end + 1 :]
        return uri

    def __truediv__(self, name: str) -> S3Uri:
        """The address of `name` below this one, as if this were a folder."""
        return S3Uri(f"{self.rstrip('/')}/{name.lstrip('/')}")

    @property
    def name(self) -> str:
        """What stands after the last slash."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part of the address in letters, digits and hyphens, for names made of it."""
        last = self.key.rstrip("/").rpartition("/")[2] or self.bucket
        return re.sub(r"[^a-zA-Z0-9]+", "-", last).strip("-") or "images"

    @property
    def folder(self) -> S3Uri:
        """The address up to and with the last slash."""
        return S3Uri.of(self.bucket, self.key[: self.key.rfind("/") + 1])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )
