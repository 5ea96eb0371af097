"""Least privilege, read from the code: each action that a call needs is granted, and each granted one is needed.

Calls are found by reading the modules: of clients of AWS by the names of their operations, of obstore by its functions.
A row of the table that no module of ours calls for names the documentation that asks for it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

import pipeline_assets
from pipeline_assets.deploy.aws.permissions import PERMISSIONS, RESOURCES, ROLES
from pipeline_assets.deploy.aws.template import infra_root

PACKAGE = Path(pipeline_assets.__file__).parent
# Modules that the Spark job imports to reach S3; all others run on the machines of Dagster.
OF_THE_JOB = {"engine/distributed/object_io.py", "engine/spark/job.py"}
# The only module with which a producer reaches AWS; pipelines run it too, with --extract.
OF_THE_PRODUCER = "lake/firehose.py"
# What a call is granted by, where that is not the operation's own name.
GRANTED_BY = {
    "s3:ListObjects": ["s3:ListBucket"],
    "s3:ListObjectsV2": ["s3:ListBucket"],
    "s3:HeadObject": ["s3:GetObject"],
    "s3:DeleteObjects": ["s3:DeleteObject"],
    "sqs:DeleteMessageBatch": ["sqs:DeleteMessage"],
}
WRITES = ["s3:PutObject", "s3:AbortMultipartUpload"]
TRANSFERS = {
    "upload_file": WRITES,
    "upload_fileobj": WRITES,
    "download_file": ["s3:GetObject"],
    "copy": ["s3:GetObject", *WRITES],
}
OBSTORE = {
    "list": ["s3:ListBucket"],
    "list_with_delimiter": ["s3:ListBucket"],
    "head": ["s3:GetObject"],
    "get": ["s3:GetObject"],
    "get_range": ["s3:GetObject"],
    "open_reader": ["s3:GetObject"],
    "put": WRITES,
    "copy": ["s3:GetObject", "s3:PutObject"],
    "rename": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
    "delete": ["s3:DeleteObject"],
}
ACTION = re.compile(r"(s3|sqs|sns|cloudwatch|glue|logs|firehose|secretsmanager):[A-Z][A-Za-z]+")


@cache
def operations(service: str) -> dict[str, str]:
    """The names of a client's methods and of the operations behind them."""
    import botocore.session
    from botocore import xform_name

    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): name for name in model.operation_names}


def actions_of(source: str) -> set[str]:
    """The actions that the calls in a module's source need.

    Raises:
        KeyError: a function of obstore of which is not known here what it needs.
    """
    if "client" not in source and "obstore" not in source:  # to parse every module takes a second
        return set()
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    services = {
        call.args[0].value
        for call in calls
        if call.func.attr in ("client", "s3_client", "_client") and call.args and isinstance(call.args[0], ast.Constant)
    }
    found: set[str] = set()
    for call in calls:
        method = call.func.attr
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "obstore":
            found.update(OBSTORE[method])
            continue
        if method == "get_paginator":
            method = call.args[0].value
        for service in services:
            if method in operations(service):
                action = f"{service}:{operations(service)[method]}"
                found.update(GRANTED_BY.get(action, [action]))
        if "s3" in services:
            found.update(TRANSFERS.get(method, ()))
    return found


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(("deploy/", "doctor/", "samples/")):
            yield name, path.read_text(encoding="utf-8")


@cache
def statements_of(role: str) -> dict[str, set[str]]:
    """The actions of a role in the template, by the name of their statement."""
    name = role.replace("_", " ").title().replace(" ", "")
    (policy,) = _template()["Resources"][f"{name}Role"]["Properties"]["Policies"]
    return {statement["Sid"]: set(statement["Action"]) for statement in policy["PolicyDocument"]["Statement"]}


@cache
def _template() -> dict:
    return yaml.safe_load((infra_root() / "template.yaml").read_text(encoding="utf-8"))


def granted_in_the_template(role: str) -> set[str]:
    return set().union(*statements_of(role).values())


@cache
def used() -> dict[str, set[str]]:
    """The actions of each module that needs some."""
    return {name: actions for name, text in modules() if (actions := actions_of(text))}


def used_by(role: str) -> set[str]:
    if role == "producer":
        return used()[OF_THE_PRODUCER]
    return {a for name, actions in used().items() if (name in OF_THE_JOB) == (role == "glue_job") for a in actions}


def documented(role: str) -> set[str]:
    """Granted as a service of AWS, Snowflake or Dagster needs it, by its documentation."""
    return {row.action for row in PERMISSIONS if row.role == role and not row.used_by.endswith((".py", "/"))}


@pytest.mark.parametrize("role", ["pipeline", "producer", "glue_job"])
def test_each_used_action_is_granted(role: str) -> None:
    assert used_by(role) - granted_in_the_template(role) == set()


@pytest.mark.parametrize("role", ROLES)
def test_each_granted_action_is_used(role: str) -> None:
    needed = (used_by(role) if role in ("pipeline", "producer", "glue_job") else set()) | documented(role)
    # A reader that may not list a bucket is told "forbidden" where an object is missing.
    needed |= {"s3:ListBucket"} if role == "glue_job" else set()
    assert granted_in_the_template(role) - needed == set()


def test_an_error_names_a_permission_that_can_be_granted() -> None:
    named = {found.group() for _, text in modules() for found in ACTION.finditer(_texts(text))}
    assert "sns:Publish" in named
    named.discard("s3:TestEvent")  # is an event
    assert named - {row.action for row in PERMISSIONS} == set()


def test_the_reading_finds_calls_that_nobody_granted() -> None:
    assert actions_of('client = self.aws.client("sqs")\nclient.purge_queue(QueueUrl=url)') == {"sqs:PurgeQueue"}
    assert actions_of("obstore.rename(store, a, b)") == {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
    assert actions_of('s3.client("s3").get_paginator("list_object_versions")') == {"s3:ListObjectVersions"}
    with pytest.raises(KeyError):
        actions_of("obstore.sign(store, 'GET', a)")


# The places that the calls of a module reach, and what the documentation of a service asks for there. That an action is
# granted somewhere is not enough: reading the runs of the job does not let anybody read what has landed.
REACHED = {
    "lake/": {
        "s3": ("data buckets", "data objects"),
        "glue": ("lake catalog", "crawler"),
        "sqs": ("queues",),
        "firehose": ("delivery streams",),
    },
    "engine/glue/engine.py": {"s3": ("artifacts bucket", "glue runs")},
    "engine/glue/job.py": {"glue": ("glue job",), "logs": ("glue logs",)},
    "engine/distributed/object_io.py": {"s3": ("data objects", "glue runs")},
    "batch/": {"sns": ("alerts topic",), "cloudwatch": ("metrics",)},
    "secret.py": {"secretsmanager": ("secret",)},
}
S3_LOGS = {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
DOCUMENTED = {
    ("pipeline", "compute logs"): S3_LOGS,
    # obstore's multipart uploads clean up after themselves, wherever they are.
    ("glue_job", "data buckets"): {"s3:ListBucket"},
    ("glue_job", "artifacts bucket"): {"s3:ListBucket"},
    ("glue_job", "glue runs"): {"s3:DeleteObject"},
    ("glue_job", "glue script"): {"s3:GetObject"},
    ("glue_job", "glue logs"): LOGS,
    ("crawler", "lake buckets"): {"s3:ListBucket"},
    ("crawler", "lake objects"): {"s3:GetObject"},
    ("crawler", "lake catalog"): {
        *("glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:CreateTable", "glue:UpdateTable"),
        *("glue:GetPartitions", "glue:BatchGetPartition", "glue:BatchCreatePartition", "glue:UpdatePartition"),
    },
    ("crawler", "glue logs"): LOGS,
    ("firehose", "delivery buckets"): {"s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"},
    ("firehose", "delivered objects"): {"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"},
    ("firehose", "delivery logs"): {"logs:PutLogEvents"},
    ("snowflake", "data buckets"): {"s3:GetBucketLocation", "s3:ListBucket"},
    ("snowflake", "data objects"): {"s3:GetObject", "s3:GetObjectVersion"},
}


def needed() -> set[tuple[str, str, str]]:
    """(role, place, action) of each call in the code, and of what services are documented to need."""
    found = {(role, on, action) for (role, on), actions in DOCUMENTED.items() for action in actions}
    for module, actions in used().items():
        role = "glue_job" if module in OF_THE_JOB else "pipeline"
        (reached,) = [places for start, places in REACHED.items() if module.startswith(start)]
        for action in actions:
            for on in reached[action.partition(":")[0]]:
                found |= {(role, on, action)} if _fits(action, on) else set()
    return found | {("producer", "producer streams", action) for action in used()[OF_THE_PRODUCER]}


def _fits(action: str, on: str) -> bool:
    """Buckets are listed, objects are not; a crawler is started and does nothing else."""
    if action.startswith("s3:"):
        return (action == "s3:ListBucket") == on.endswith(("bucket", "buckets"))
    return (action == "glue:StartCrawler") == (on == "crawler")


# Of the job's plans only small ones are written by the pipelines, and the job writes nothing into the lake.
NOT_NEEDED = {
    ("pipeline", "glue runs", "s3:AbortMultipartUpload"),
    ("glue_job", "data objects", "s3:PutObject"),
    ("glue_job", "data objects", "s3:AbortMultipartUpload"),
}


def test_each_place_that_is_reached_is_granted_and_no_other() -> None:
    rows = {(row.role, row.on, row.action) for row in PERMISSIONS}
    assert needed() - NOT_NEEDED == rows


def test_each_row_of_the_table_is_in_the_template_on_its_place() -> None:
    for row in PERMISSIONS:
        sid = "".join(word.capitalize() for word in row.on.split())
        assert row.action in statements_of(row.role)[sid], row


def test_each_row_says_where_and_what_for() -> None:
    assert {row.on for row in PERMISSIONS} == set(RESOURCES)
    assert len({(row.action, row.role, row.on) for row in PERMISSIONS}) == len(PERMISSIONS)
    for row in PERMISSIONS:
        assert row.purpose
        assert not row.purpose.endswith(".")
        if row.used_by.endswith(".py"):
            assert row.action in used()[row.used_by] or row.action == "s3:ListBucket", row


def _texts(source: str) -> str:
    strings = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return "\n".join(text for text in strings if isinstance(text, str) and ACTION.fullmatch(text))
