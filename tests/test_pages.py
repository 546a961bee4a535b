"""Lists in pages: whatever the size, the order and the filters, nothing is lost and nothing comes twice."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulator_parts import BUCKET, TEAM, create_job, put_inputs
from groundtruth_parts import request
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.aws import Aws
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.groundtruth import operations
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.vendors import Vendors
from gtlabel.engine.board import Board, JobKey
from gtlabel.engine.store import Store

START = datetime(2026, 11, 22, tzinfo=UTC)
HERE = Context()
NAMES = st.lists(
    st.text("aAbB12", min_size=1, max_size=4), min_size=0, max_size=12, unique_by=lambda name: name.lower()
)


class Account:
    """Ground Truth without S3: jobs stay as they were created, or stopped."""

    def __init__(self) -> None:
        self.seconds = 0
        self.board = Board(Store(), clock=lambda: START + timedelta(seconds=self.seconds))
        self.shelf = Shelf()
        self._operations = operations(self.board, self.shelf)

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self._operations[operation](HERE, params)

    def create(self, name: str, *, later: int = 0, stop: bool = False) -> None:
        self.seconds += later
        self.call("CreateLabelingJob", **request(name))
        if stop:
            self.board.stop(JobKey(HERE.account, HERE.region, name))

    def close(self) -> None:
        self.board.store.close()
        self.shelf.close()


LISTS = {
    "ListLabelingJobs": ("LabelingJobSummaryList", "LabelingJobName"),
    "ListLabelingJobsForWorkteam": ("LabelingJobSummaryList", "LabelingJobName"),
    "ListWorkteams": ("Workteams", "WorkteamName"),
    "ListSubscribedWorkteams": ("SubscribedWorkteams", "WorkteamArn"),
    "ListHumanTaskUis": ("HumanTaskUiSummaries", "HumanTaskUiName"),
}


def walk(account: Account, operation: str, params: dict[str, Any], size: int) -> Iterator[list[str]]:
    """The names of each page."""
    result, name = LISTS[operation]
    more: dict[str, str] = {}
    while True:
        answer = account.call(operation, **params, **more, MaxResults=size)
        yield [item[name] for item in answer[result]]
        if "NextToken" not in answer:
            return
        more = {"NextToken": answer["NextToken"]}


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "SortBy": st.sampled_from(["Name", "CreationTime", "Status"]),
        "SortOrder": st.sampled_from(["Ascending", "Descending"]),
        "NameContains": st.text("aB1", min_size=1, max_size=1),
        "StatusEquals": st.sampled_from(["Initializing", "Stopping"]),
        "CreationTimeAfter": st.integers(0, 9).map(lambda n: START + timedelta(seconds=n)),
        "CreationTimeBefore": st.integers(0, 9).map(lambda n: START + timedelta(seconds=n)),
    },
)


@settings(max_examples=30, deadline=None)
@given(names=NAMES, data=st.data(), asked=ASKED, size=st.integers(1, 5))
def test_pages_of_jobs_are_the_whole_list_while_others_are_created(
    names: list[str], data: st.DataObject, asked: dict[str, Any], size: int
) -> None:
    account = Account()
    for name in names:
        account.create(name, later=data.draw(st.integers(0, 2)), stop=data.draw(st.booleans()))
    whole = walk(account, "ListLabelingJobs", asked, 100)
    before = next(whole)
    expected = [name for name in names if _fits(account, name, asked)]
    assert sorted(before) == sorted(expected)
    found: list[str] = []
    for place, shown in enumerate(walk(account, "ListLabelingJobs", asked, size)):
        assert len(shown) <= size
        found += shown
        # Not after each page: whoever asks for one at a time would never be done.
        if place < 4:
            account.create(f"new-{place}", later=data.draw(st.integers(0, 1)))
    assert len(set(found)) == len(found)
    assert [name for name in found if not name.startswith("new-")] == before
    account.close()


def _fits(account: Account, name: str, asked: dict[str, Any]) -> bool:
    job = account.board.job(JobKey(HERE.account, HERE.region, name))
    return (
        asked.get("NameContains", "").lower() in name.lower()
        and asked.get("StatusEquals", job.status) == job.status
        and asked.get("CreationTimeAfter", job.created) <= job.created
        and job.created <= asked.get("CreationTimeBefore", job.created)
    )


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.from_regex(r"[a-z]{1,3}", fullmatch=True), max_size=9, unique=True),
    size=st.integers(1, 4),
    order=st.sampled_from(["Ascending", "Descending"]),
)
def test_pages_of_everything_else_are_the_whole_list(names: list[str], size: int, order: str) -> None:
    account = Account()
    vendors = Vendors(account.shelf)
    for name in names:
        account.create(name)
        vendors.subscribe(HERE, name)
        account.call("CreateHumanTaskUi", HumanTaskUiName=name, UiTemplate={"Content": "<p></p>"})
        members = [{"CognitoMemberDefinition": {"UserPool": "p", "UserGroup": "g", "ClientId": "c"}}]
        account.call("CreateWorkteam", WorkteamName=name, Description="d", MemberDefinitions=members)
    for operation in LISTS:
        params: dict[str, Any] = {"WorkteamArn": TEAM} if operation.endswith("ForWorkteam") else {}
        if operation != "ListSubscribedWorkteams":
            params["SortOrder"] = order
        (whole,) = walk(account, operation, params, 100)
        assert {name.rpartition("/")[2] for name in whole} - {"gtlabel"} == set(names)
        assert [name for shown in walk(account, operation, params, size) for name in shown] == whole
    account.close()


@pytest.fixture(scope="module")
def three() -> Iterator[Account]:
    account = Account()
    for name in ("a", "b", "c"):
        account.create(name)
        Vendors(account.shelf).subscribe(HERE, name)
    yield account
    account.close()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_token_that_was_changed_is_refused(three: Account, data: st.DataObject) -> None:
    token: str = three.call("ListLabelingJobs", MaxResults=1)["NextToken"]
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_=+/ é\n"))
    changed = data.draw(
        st.sampled_from(
            [
                token[:place] + letter + token[place + 1 :],
                token[:place] + letter + token[place:],
                token[:place] + token[place + 1 :],
                token[:place],
                token + letter,
                base64.b64encode(b'[["CreationTime", false], [1, "a"]]').decode(),
            ]
        )
    )
    if changed != token:
        with pytest.raises(ApiError) as error:
            three.call("ListLabelingJobs", MaxResults=1, NextToken=changed)
        assert error.value.code == "ValidationException"


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("ListLabelingJobs", {"SortBy": "Name"}),
        ("ListLabelingJobs", {"SortOrder": "Descending"}),
        ("ListLabelingJobs", {"NameContains": "a"}),
        ("ListLabelingJobsForWorkteam", {"WorkteamArn": TEAM}),
        ("ListWorkteams", {}),
        ("ListWorkforces", {}),
        ("ListSubscribedWorkteams", {}),
    ],
)
def test_a_token_goes_with_one_list_one_order_and_its_filters(
    three: Account, operation: str, params: dict[str, Any]
) -> None:
    token = three.call("ListLabelingJobs", MaxResults=1)["NextToken"]
    assert three.call("ListLabelingJobs", MaxResults=2, NextToken=token)["LabelingJobSummaryList"]
    with pytest.raises(ApiError, match="NextToken was not given out by this list"):
        three.call(operation, **params, NextToken=token)


def test_boto3_walks_the_pages_of_a_server(gtlabel_aws: Aws) -> None:
    put_inputs(gtlabel_aws.s3)
    names = [f"job-{number}" for number in range(7)]
    for name in names:
        create_job(gtlabel_aws, name)
    assert gtlabel_aws.s3.list_buckets()["Buckets"][0]["Name"] == BUCKET
    pager = gtlabel_aws.sagemaker.get_paginator("list_labeling_jobs")
    for size in (1, 3, 7):
        pages = pager.paginate(SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": size})
        found = [job["LabelingJobName"] for page in pages for job in page["LabelingJobSummaryList"]]
        assert found == names[::-1]
