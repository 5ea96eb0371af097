"""A harmless call for each permission of the pipelines' role: what `doctor` checks of AWS.

One probe for each row of the table in `permissions`, one check result for each probe. What is probed is authorization,
on the very things that the settings name; what is missing (bucket, queue, topic, job, secret, credentials) is reported
once and apart from what is forbidden: whatever needs it is then skipped.

The surprising part is how a call can be harmless and still tell. AWS looks a thing up, or at what is asked of it, only
for those who may ask, so calls go to keys, runs, tables, crawlers and streams that are not there, and where the policy
covers the real one alone they contradict themselves. AWS documents that order for no service; a call that it refuses
for its shape before anything else (ValidationException) therefore counts as not tried. Three checks leave a trace: an
empty object is written and deleted again, a key that never was gets a delete marker where versions are kept, and a
message that waits in a queue counts one more of the receives after which it goes to the dead letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_assets.deploy.aws.permissions import PERMISSIONS, Permission
from pipeline_assets.doctor.installation import CheckResult, CheckSkippedError, CheckWarningError, check_result
from pipeline_assets.doctor.probe_context import MISSING, MissingError, ProbeContext, elsewhere, identity
from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.lake.notifications import dead_letters
from pipeline_assets.settings import with_secret

if TYPE_CHECKING:
    from pipeline_assets.batch.report import Pipeline
    from pipeline_assets.settings import Settings

_NO_RUN = "jr_" + "0" * 64
_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")

Try = Callable[[ProbeContext, Permission], str]


def probe_permissions(settings: Settings, pipelines: Sequence[Pipeline]) -> Iterator[CheckResult]:
    """Who we are to AWS, and each permission of the pipelines' role; one failure does not hide the next."""
    context = ProbeContext(settings, pipelines)
    who = identity(context)
    yield who
    if who.passed is False:
        yield CheckResult("permissions", None, "nothing of AWS can be tried like that")
        return
    yield from elsewhere(context)
    for row in PERMISSIONS:
        if row.role == "pipeline":
            yield check_result(f"{row.action} on {row.on}", lambda row=row: PROBES[row.action, row.on](context, row))


# --- S3 ------------------------------------------------------------------------------------------------------

_LISTS = {row.on: row for row in PERMISSIONS if row.role == "pipeline" and row.action == "s3:ListBucket"}


def _list_buckets(context: ProbeContext, row: Permission) -> str:
    buckets = [bucket for bucket, _ in context.places(row.on)]
    if wrong := [error for bucket in buckets if (error := context.listing(row, bucket))]:
        raise _together(wrong)
    return ", ".join(buckets)


def _in_each(attempt: Callable[[ProbeContext, Permission, str, str], str]) -> Try:
    """A try on objects, in every bucket that is there."""

    def each(context: ProbeContext, row: Permission) -> str:
        lists = _LISTS["data buckets" if row.on == "data objects" else "artifacts bucket"]
        places = context.places(row.on)
        there = [(b, p) for b, p in places if not isinstance(context.listing(lists, b), MissingError)]
        if not there:
            raise CheckSkippedError("there is no bucket to try it in")
        wrong: list[PipelineError] = []
        done: list[str] = []
        for bucket, prefix in there:
            if row.action == "s3:GetObject" and context.listing(lists, bucket):
                raise CheckSkippedError(f"who may not list {bucket} is told nothing about a key in it")
            try:
                done.append(attempt(context, row, bucket, prefix + context.nobody))
            except PipelineError as error:
                wrong.append(error)
        if wrong:
            raise _together(wrong)
        return ", ".join(done)

    return each


def _put(context: ProbeContext, row: Permission, bucket: str, key: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = context.client("s3")
    context.ask(row, _objects(context, bucket, key), lambda: s3.put_object(Bucket=bucket, Key=key, Body=b""))
    try:
        s3.delete_object(Bucket=bucket, Key=key)
    except (ClientError, BotoCoreError):
        return f"{bucket} (the empty {key} stays there, as it could not be deleted)"
    return bucket


def _get(context: ProbeContext, row: Permission, bucket: str, key: str) -> str:
    s3 = context.client("s3")
    context.ask(row, _objects(context, bucket, key), lambda: s3.get_object(Bucket=bucket, Key=key), "NoSuchKey")
    return bucket


def _delete(context: ProbeContext, row: Permission, bucket: str, key: str) -> str:
    s3 = context.client("s3")
    context.ask(row, _objects(context, bucket, key), lambda: s3.delete_object(Bucket=bucket, Key=key))
    return bucket


def _abort(context: ProbeContext, row: Permission, bucket: str, key: str) -> str:
    def abort() -> Any:
        return context.client("s3").abort_multipart_upload(Bucket=bucket, Key=key, UploadId=context.nobody)

    context.ask(row, _objects(context, bucket, key), abort, "NoSuchUpload")
    return bucket


def _objects(context: ProbeContext, bucket: str, key: str) -> str:
    return f"arn:{context.partition}:s3:::{bucket}/{key.rpartition('/')[0]}/*"


def _together(wrong: Sequence[PipelineError]) -> PipelineError:
    """The first of several, and how many more there are like it."""
    more = [error.message for error in wrong[1:]]
    return ConfigurationError(" ".join([wrong[0].message, *more]), remedy=wrong[0].remedy)


# --- Glue ----------------------------------------------------------------------------------------------------


def _start_run(context: ProbeContext, row: Permission) -> str:
    """A retry of a run that never was, with two sizes that exclude each other, of a minute: nothing of it can start."""

    def start() -> Any:
        return context.client("glue").start_job_run(
            JobName=context.job, JobRunId=_NO_RUN, WorkerType="G.1X", NumberOfWorkers=2, MaxCapacity=1.0, Timeout=1
        )

    response = context.ask(
        row, context.job_arn, start, MISSING, "InvalidInputException", "ConcurrentRunsExceededException"
    )
    if response.code == MISSING and re.search(r"missing metadata|\bJob \S+ not found", response.said):
        raise MissingError(
            f"There is no Glue job {context.job}.",
            remedy="`pipeline-assets deploy aws` makes it; PIPELINE_GLUE_JOB names it.",
        )
    if run := response.given.get("JobRunId"):  # not of Glue itself
        context.client("glue").batch_stop_job_run(JobName=context.job, JobRunIds=[run])
        return f"{context.job}; a run started all the same and was told to stop"
    return context.job


def _get_run(context: ProbeContext, row: Permission) -> str:
    glue = context.client("glue")
    context.ask(row, context.job_arn, lambda: glue.get_job_run(JobName=context.job, RunId=_NO_RUN), MISSING)
    return context.job


def _get_runs(context: ProbeContext, row: Permission) -> str:
    glue = context.client("glue")
    response = context.ask(row, context.job_arn, lambda: glue.get_job_runs(JobName=context.job, MaxResults=1), MISSING)
    if response.code:
        raise CheckSkippedError(f"there is no Glue job {context.job}")
    return context.job


def _stop_run(context: ProbeContext, row: Permission) -> str:
    glue = context.client("glue")
    stop = {"JobName": context.job, "JobRunIds": [_NO_RUN]}
    context.ask(row, context.job_arn, lambda: glue.batch_stop_job_run(**stop), MISSING)
    return context.job


def _find_log(context: ProbeContext, row: Permission) -> str:
    group, logs = "/aws-glue/jobs/output", context.client("logs")
    where = context.arn("logs", f"log-group:{group}") if context.job else ""
    find = {"logGroupName": group, "logStreamNamePrefix": context.nobody, "limit": 1}
    context.ask(row, where, lambda: logs.describe_log_streams(**find), "ResourceNotFoundException")
    return group


def _read_log(context: ProbeContext, row: Permission) -> str:
    group, logs = "/aws-glue/jobs/output", context.client("logs")
    where = context.arn("logs", f"log-group:{group}:*") if context.job else ""
    read = {"logGroupName": group, "logStreamName": context.nobody, "limit": 1}
    context.ask(row, where, lambda: logs.get_log_events(**read), "ResourceNotFoundException")
    return group


def _get_table(context: ProbeContext, row: Permission) -> str:
    found = {table: context.get_catalog_table(row, table) for table in context.lake_tables or [context.nobody]}
    return ", ".join(
        f"{table} ({'is made by the first batch' if response.code else 'is there'})"
        for table, response in found.items()
    )


def _create_database(context: ProbeContext, row: Permission) -> str:
    """Over one that is there: Glue keeps it as it is."""
    database, glue = context.settings.glue_database, context.client("glue")
    try:
        response = context.get_catalog_table(_row("glue:GetTable"), (context.lake_tables or [context.nobody])[0])
    except PipelineError:
        raise CheckSkippedError(f"whether {database} is there could not be told, and the try might make it") from None
    if response.code and re.search(r"\bdatabase\b", response.said, re.IGNORECASE):
        raise CheckSkippedError(f"there is no database {database}, and the try would make it, as the first batch does")
    where = context.arn("glue", f"database/{database}")
    context.ask(row, where, lambda: glue.create_database(DatabaseInput={"Name": database}), "AlreadyExistsException")
    return database


def _create_table(context: ProbeContext, row: Permission) -> str:
    """Over one that is there: Glue keeps it as it is."""
    database, glue = context.settings.glue_database, context.client("glue")
    for table in context.lake_tables:
        try:
            is_there = not context.get_catalog_table(_row("glue:GetTable"), table).code
        except PipelineError:
            break
        if is_there:
            create = {"DatabaseName": database, "TableInput": {"Name": table}}
            context.ask(row, context.table_arn(table), lambda create=create: glue.create_table(**create), *_THERE)
            return f"{table} (is there and stays as it is)"
    raise CheckSkippedError("no table of the lake is known to be there yet, and the try would make one")


_THERE = ("AlreadyExistsException", "InvalidInputException")


def _on_no_table(operation: str, **arguments: object) -> Try:
    """A change to a table that is not there."""

    def change(context: ProbeContext, row: Permission) -> str:
        table = context.nobody.replace("-", "_")
        given = json.loads(json.dumps(arguments).replace("<table>", table)) | {
            "DatabaseName": context.settings.glue_database
        }
        call = getattr(context.client("glue"), operation)
        context.ask(row, context.table_arn("*"), lambda: call(**given), MISSING)
        return f"tables of {context.settings.glue_database}"

    return change


def _start_crawler(context: ProbeContext, row: Permission) -> str:
    """One that is not there, of a name that the role covers: a start of the real one would be paid for."""
    crawler, glue = context.settings.glue_crawler, context.client("glue")
    if not crawler:
        raise CheckSkippedError("PIPELINE_GLUE_CRAWLER is not set: batches register partitions themselves")
    name = f"{crawler}-{context.nobody}"
    context.ask(row, context.arn("glue", f"crawler/{name}"), lambda: glue.start_crawler(Name=name), MISSING)
    return f"{crawler}, by way of {crawler}-doctor-…, which is not there; whether {crawler} is was not asked"


# --- queues, topic, streams, secret ------------------------------------------------------------------------


def _on_queues(
    call: Callable[[Any, str], Mapping[str, Any]],
    *expected: str,
    notice: Callable[[Mapping[str, Any]], str] = lambda given: "",
) -> Try:
    """One call on each queue, with a client and the queue's url; `notice` reads what it gave."""

    def ask(context: ProbeContext, row: Permission) -> str:
        if not context.settings.queues:
            raise CheckSkippedError("PIPELINE_QUEUES is not set: no queue, zones are listed")
        sqs = context.client("sqs")
        missing, wrong, noticed = [], [], []
        for pipeline, url in context.settings.queues.items():
            where = context.arn("sqs", url.rpartition("/")[2])
            try:
                response = context.ask(row, where, lambda url=url: call(sqs, url), *expected, *_NO_QUEUE)
            except PipelineError as error:
                wrong.append(error)
                continue
            if response.code in _NO_QUEUE:
                missing.append(f"There is no queue {url} ({pipeline}).")
            noticed.append(notice(response.given))
        if missing and row.action == "sqs:ReceiveMessage":
            remedy = "`pipeline-assets deploy aws` makes it; or correct PIPELINE_QUEUES, where others list."
            wrong.append(MissingError(" ".join(missing), remedy=remedy))
        if wrong:
            raise _together(wrong)
        if len(missing) == len(context.settings.queues):
            raise CheckSkippedError("there is no queue")
        if any(noticed):
            raise CheckWarningError(f"{', '.join(filter(None, noticed))}. What to do: docs/deploy.md, section 7.")
        return ", ".join(context.settings.queues)

    return ask


def _waiting(given: Mapping[str, Any]) -> str:
    return f"{given['messages']} messages wait in {given['queue']}" if given.get("messages") else ""


def _publish(context: ProbeContext, row: Permission) -> str:
    """A message for several kinds of receivers without the text that all of them may get, which SNS refuses."""
    topic = context.settings.alerts_topic_arn
    if not topic:
        raise CheckSkippedError("PIPELINE_ALERTS_TOPIC_ARN is not set: alerts go to the log and a file")
    message = {"TopicArn": topic, "MessageStructure": "json", "Message": '{"doctor": "nobody gets this"}'}
    publish = context.client("sns").publish
    refused, missing = ("InvalidParameter", "InvalidParameterException"), ("NotFound", "NotFoundException")
    response = context.ask(row, topic, lambda: publish(**message), *refused, *missing)
    if response.code in missing:
        raise MissingError(
            f"There is no topic {topic}.",
            remedy="`pipeline-assets deploy aws` makes it and prints PIPELINE_ALERTS_TOPIC_ARN.",
        )
    return topic


def _deliver(context: ProbeContext, row: Permission) -> str:
    """To a stream that is not there: the role may deliver to whatever is named after the stack."""
    stream, client = f"{context.settings.stack_name}-{context.nobody}", context.client("firehose")
    where = context.arn("firehose", f"deliverystream/{context.settings.stack_name}-*")
    put = {"DeliveryStreamName": stream, "Records": [{"Data": b"\n"}]}
    context.ask(row, where, lambda: client.put_record_batch(**put), "ResourceNotFoundException")
    return f"streams named {context.settings.stack_name}-…"


def _read_secret(context: ProbeContext, row: Permission) -> str:
    if not context.settings.secret_id:
        raise CheckSkippedError("PIPELINE_SECRET_ID is not set: every setting comes from the environment")
    taken = with_secret(context.settings).from_secret
    return f"{context.settings.secret_id}, {len(taken)} settings come from it"


def _row(action: str) -> Permission:
    return next(row for row in PERMISSIONS if row.role == "pipeline" and row.action == action)


PROBES: Mapping[tuple[str, str], Try] = {
    ("s3:ListBucket", "data buckets"): _list_buckets,
    ("s3:ListBucket", "artifacts bucket"): _list_buckets,
    **{("s3:GetObject", on): _in_each(_get) for on in ("data objects", "glue runs", "compute logs")},
    **{("s3:PutObject", on): _in_each(_put) for on in ("data objects", "glue runs", "compute logs")},
    **{("s3:DeleteObject", on): _in_each(_delete) for on in ("data objects", "glue runs", "compute logs")},
    ("s3:AbortMultipartUpload", "data objects"): _in_each(_abort),
    ("glue:StartJobRun", "glue job"): _start_run,
    ("glue:GetJobRun", "glue job"): _get_run,
    ("glue:GetJobRuns", "glue job"): _get_runs,
    ("glue:BatchStopJobRun", "glue job"): _stop_run,
    ("logs:DescribeLogStreams", "glue logs"): _find_log,
    ("logs:GetLogEvents", "glue logs"): _read_log,
    ("glue:GetTable", "lake catalog"): _get_table,
    ("glue:CreateDatabase", "lake catalog"): _create_database,
    ("glue:CreateTable", "lake catalog"): _create_table,
    ("glue:UpdateTable", "lake catalog"): _on_no_table("update_table", TableInput={"Name": "<table>"}),
    ("glue:BatchCreatePartition", "lake catalog"): _on_no_table(
        "batch_create_partition", TableName="<table>", PartitionInputList=[{"Values": ["1970-01-01"]}]
    ),
    ("glue:DeletePartition", "lake catalog"): _on_no_table(
        "delete_partition", TableName="<table>", PartitionValues=["1970-01-01"]
    ),
    ("glue:StartCrawler", "crawler"): _start_crawler,
    ("sns:Publish", "alerts topic"): _publish,
    ("sqs:ReceiveMessage", "queues"): _on_queues(
        lambda sqs, url: sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=0, WaitTimeSeconds=0
        )
    ),
    ("sqs:DeleteMessage", "queues"): _on_queues(
        lambda sqs, url: sqs.delete_message(QueueUrl=url, ReceiptHandle="none"),
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",
    ),
    ("sqs:GetQueueAttributes", "queues"): _on_queues(dead_letters, notice=_waiting),
    ("firehose:PutRecordBatch", "delivery streams"): _deliver,
    ("secretsmanager:GetSecretValue", "secret"): _read_secret,
}
