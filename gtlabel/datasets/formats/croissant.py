"""A description of the dataset that catalogs and libraries read, and the tables that it describes.

Croissant 1.0 is JSON-LD over schema.org: https://docs.mlcommons.org/croissant/docs/croissant-spec.html. It
names the files with their digests, and says of each column what it means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gtlabel.datasets.channels import Example
from gtlabel.datasets.collect.licence import address_of
from gtlabel.datasets.formats import csv
from gtlabel.datasets.formats.target import Target, Written, channels_of, licence_of
from gtlabel.manifests.classes import ClassList

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FIELDS = (
    ("image", "sc:URL", "Where the picture is, in S3."),
    ("label", "sc:Integer", "The number of the class."),
    ("class-name", "sc:Text", "The name of the class."),
    ("original", "sc:URL", "Where the picture was when it was labeled."),
    ("confidence", "sc:Float", "What the labeling job said of its label, from 0 to 1."),
    ("human-annotated", "sc:Text", "Whether people gave the label: yes or no."),
    ("job-name", "sc:Text", "The labeling job."),
    ("creation-date", "sc:DateTime", "When the label was given, in UTC."),
    ("license", "sc:Text", "The licence of the picture; empty where none is known."),
    ("source", "sc:Text", "Where the picture was collected, as JSON; empty where it was not."),
)


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Write `<channel>.csv` for each channel and `croissant.json`, which describes them."""
    tables: dict[str, Written] = {}
    licences: set[str] = set()

    def noted(members: Iterable[Example]) -> Iterator[Example]:
        for example in members:
            licences.add(licence_of(example))
            yield example

    for channel, members in channels_of(examples):
        name = f"{channel}.csv"
        tables[channel] = target.write(name, csv.table(noted(members), classes), "text/csv; charset=utf-8")
    described = _describe(tables, classes, sorted(licences - {""}), target)
    document = json.dumps(described, ensure_ascii=False, indent=2).encode() + b"\n"
    return [*tables.values(), target.write("croissant.json", [document], "application/ld+json")]


def _describe(
    tables: dict[str, Written], classes: ClassList, licences: Sequence[str], target: Target
) -> dict[str, Any]:
    addresses = [address_of(name) or name for name in licences]
    # The last folder of the dataset that is not ours.
    name = target.pictures.key.rstrip("/").removesuffix("classes").rstrip("/").rpartition("/")[2]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name or target.pictures.bucket,
        "description": f"Pictures of {len(classes)} classes: {', '.join(classes)}.",
        **({"license": addresses[0] if len(addresses) == 1 else addresses} if addresses else {}),
        "distribution": [_file(table) for table in tables.values()],
        "recordSet": [
            _classes(classes),
            *(_records(channel, table.name) for channel, table in tables.items()),
        ],
    }


def _file(table: Written) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": table.name,
        "name": table.name,
        "contentUrl": table.name,
        "contentSize": f"{table.size} B",
        "encodingFormat": "text/csv",
        "sha256": table.sha256,
    }


def _classes(classes: ClassList) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "description": "The classes.",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/label"},
        "field": [
            _field("classes", "label", "sc:Integer", "The number of the class."),
            {
                **_field("classes", "class-name", "sc:Text", "Its name."),
                "dataType": ["sc:Text", "sc:name"],
            },
        ],
        "data": [{"classes/label": label, "classes/class-name": name} for label, name in enumerate(classes)],
    }


def _records(channel: str, table: str) -> dict[str, Any]:
    fields = []
    for name, kind, meaning in _FIELDS:
        field = _field(channel, name, kind, meaning)
        field["source"] = {"fileObject": {"@id": table}, "extract": {"column": name}}
        if name == "label":
            field["references"] = {"field": {"@id": "classes/label"}}
        fields.append(field)
    return {
        "@type": "cr:RecordSet",
        "@id": channel,
        "name": channel,
        "description": f"The pictures of the channel {channel}.",
        "key": {"@id": f"{channel}/image"},
        "field": fields,
    }


def _field(record_set: str, name: str, kind: str, meaning: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "description": meaning,
        "dataType": kind,
    }
