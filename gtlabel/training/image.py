"""Where AWS keeps the container of its built-in image classification.

The accounts are those of `sagemaker/core/image_uri_config/image-classification.json` in the package
sagemaker-core 2.27.0 (contract/training.md §1.2): the table is here so that nobody has to install 420 MB
of SDK to look up twelve digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gtlabel.errors import TrainingRegionError

REPOSITORY = "image-classification"
_TAG = "1"  # the only one there is; AWS advises it over `latest`

_ACCOUNTS = {
    "af-south-1": "455444449433",
    "ap-east-1": "286214385809",
    "ap-northeast-1": "501404015308",
    "ap-northeast-2": "306986355934",
    "ap-northeast-3": "867004704886",
    "ap-south-1": "991648021394",
    "ap-south-2": "628508329040",
    "ap-southeast-1": "475088953585",
    "ap-southeast-2": "544295431143",
    "ap-southeast-3": "951798379941",
    "ap-southeast-4": "106583098589",
    "ca-central-1": "469771592824",
    "ca-west-1": "190319476487",
    "cn-north-1": "390948362332",
    "cn-northwest-1": "387376663083",
    "eu-central-1": "813361260812",
    "eu-central-2": "680994064768",
    "eu-north-1": "669576153137",
    "eu-south-1": "257386234256",
    "eu-south-2": "104374241257",
    "eu-west-1": "685385470294",
    "eu-west-2": "644912444149",
    "eu-west-3": "749696950732",
    "il-central-1": "898809789911",
    "me-central-1": "272398656194",
    "me-south-1": "249704162688",
    "sa-east-1": "855470959533",
    "us-east-1": "811284229777",
    "us-east-2": "825641698319",
    "us-gov-east-1": "237065988967",
    "us-gov-west-1": "226302683700",
    "us-iso-east-1": "490574956308",
    "us-isob-east-1": "765400339828",
    "us-isof-east-1": "108575199400",
    "us-isof-south-1": "124985052026",
    "us-west-1": "632365934929",
    "us-west-2": "433757028032",
}

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html; the isolated partitions have
# domains of their own.
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
}
_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z0-9.]+/(?P<repository>[^:@]+)(?:[:@].+)?"
)


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """A container image of Amazon ECR, taken apart."""

    account: str
    region: str
    repository: str


def image_uri(region: str) -> str:
    """The training image of the built-in image classification in a region.

    Raises:
        TrainingRegionError: where AWS does not offer the algorithm.
    """
    account = _ACCOUNTS.get(region)
    if account is None:
        raise TrainingRegionError(region, regions())
    domain = next((name for start, name in _DOMAINS.items() if region.startswith(start)), "amazonaws.com")
    return f"{account}.dkr.ecr.{region}.{domain}/{REPOSITORY}:{_TAG}"


def regions() -> tuple[str, ...]:
    """The regions that offer the algorithm."""
    return tuple(_ACCOUNTS)


def parse_image(uri: str) -> RegistryImage | None:
    """Take the address of a container image apart; None for an image outside of Amazon ECR."""
    match = _IMAGE.fullmatch(uri)
    return RegistryImage(match["account"], match["region"], match["repository"]) if match else None
