"""The checks of AWS in `doctor`: a harmless call, the probe, for each permission of the pipelines' role.

A probe checks authorization on the resources in the settings. A missing resource (bucket, queue, topic, job, secret,
credentials) is reported once, apart from missing permissions; the probes that need it are skipped. Three probes leave a
trace: an empty object is written and deleted, a missing key gets a delete marker in a bucket with versions, and a
message in a queue counts one more receive towards the dead-letter queue.
"""
# Probes call keys, runs, tables, crawlers and streams that do not exist, or pass contradictory arguments where a policy
# covers only the real resource: AWS looks up a resource and its arguments only after authorization. AWS documents this
# order for no service, so a call that is rejected for its arguments first (ValidationException) counts as not tried.

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline_assets.deploy.aws.permissions import PERMISSIONS, Permission
from pipeline_assets.doctor.installation import CheckResult, CheckSkippedError, CheckWarningError, check_result
from pipeline_assets.doctor.probe_context import (
    MISSING,
    MissingError,
    ProbeContext,
    identity,
    other_accounts_and_regions,
)
from pipeline_assets.errors import ConfigurationError, PipelineError, masked
from pipeline_assets.lake.notifications import dead_letters
from pipeline_assets.settings import with_secret

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings

_NO_RUN = "jr_" + "0" * 64
_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")

Probe = Callable[[ProbeContext, Permission], str]


def probe_permissions(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> Iterator[CheckResult]:
    """Check the credentials and each permission of the pipelines' role; a failure does not stop the next probe."""
    context = ProbeContext(settings, pipelines)
    who = identity(context)
    yield who
    if who.passed is False:
        yield CheckResult("permissions", None, "cannot be checked without credentials")
        return
    yield from other_accounts_and_regions(context)
    for row in PERMISSIONS:
        if row.role == "pipeline":
            yield check_result(f"{row.action} on {row.on}", partial(PROBES[row.action, row.on], context, row))


# --- S3 ------------------------------------------------------------------------------------------------------

_LISTS = {row.on: row for row in PERMISSIONS if row.role == "pipeline" and row.action == "s3:ListBucket"}


def _list_buckets(context: ProbeContext, row: Permission) -> str:
    buckets = [bucket for bucket, _ in context.bucket_prefixes(row.on)]
    if errors := [error for bucket in buckets if (error := context.listing(row, bucket))]:
        raise _combined(errors)
    return ", ".join(buckets)


def _in_each(attempt: Callable[[ProbeContext, Permission, str, str], str]) -> Probe:
    """A probe of objects, in every bucket that exists."""

    def each(context: ProbeContext, row: Permission) -> str:
        lists = _LISTS["data buckets" if row.on == "data objects" else "artifacts bucket"]
        prefixes = context.bucket_prefixes(row.on)
        existing = [(b, p) for b, p in prefixes if not isinstance(context.listing(lists, b), MissingError)]
        if not existing:
            raise CheckSkippedError("there is no bucket to try it in")
        errors: list[PipelineError] = []
        passed: list[str] = []
        for bucket, prefix in existing:
            if row.action == "s3:GetObject" and context.listing(lists, bucket):
                raise CheckSkippedError(f"without listing {bucket} a missing key cannot be told from a forbidden one")
            try:
                passed.append(attempt(context, row, bucket, prefix + context.unused_name))
            except PipelineError as error:
                errors.append(error)
        if errors:
            raise _combined(errors)
        return ", ".join(passed)

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
        return context.client("s3").abort_multipart_upload(Bucket=bucket, Key=key, UploadId=context.unused_name)

    context.ask(row, _objects(context, bucket, key), abort, "NoSuchUpload")
    return bucket


def _objects(context: ProbeContext, bucket: str, key: str) -> str:
    return f"arn:{context.partition}:s3:::{bucket}/{key.rpartition('/')[0]}/*"


def _combined(errors: Sequence[PipelineError]) -> PipelineError:
    """One error with the messages of all and the remedy of the first."""
    return ConfigurationError(" ".join(error.message for error in errors), remedy=errors[0].remedy)


# --- Glue ----------------------------------------------------------------------------------------------------


def _start_run(context: ProbeContext, row: Permission) -> str:
    """Retry a run that does not exist, with two sizes that exclude each other and a minute's limit: it cannot start."""

    def start() -> Any:
        return context.client("glue").start_job_run(
            JobName=context.job, JobRunId=_NO_RUN, WorkerType="G.1X", NumberOfWorkers=2, MaxCapacity=1.0, Timeout=1
        )

    response = context.ask(
        row, context.job_arn, start, MISSING, "InvalidInputException", "ConcurrentRunsExceededException"
    )
    if response.code == MISSING and re.search(r"missing metadata|\bJob \S+ not found", response.message):
        raise MissingError(
            f"There is no Glue job {context.job}.",
            remedy="`pipeline-assets deploy aws` creates it; PIPELINE_GLUE_JOB names it.",
        )
    if run := response.result.get("JobRunId"):  # only from an emulator of Glue
        context.client("glue").batch_stop_job_run(JobName=context.job, JobRunIds=[run])
        return f"{context.job}; a run started nevertheless and was stopped"
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
    arn = context.arn("logs", f"log-group:{group}") if context.job else ""
    find = {"logGroupName": group, "logStreamNamePrefix": context.unused_name, "limit": 1}
    context.ask(row, arn, lambda: logs.describe_log_streams(**find), "ResourceNotFoundException")
    return group


def _read_log(context: ProbeContext, row: Permission) -> str:
    group, logs = "/aws-glue/jobs/output", context.client("logs")
    arn = context.arn("logs", f"log-group:{group}:*") if context.job else ""
    read = {"logGroupName": group, "logStreamName": context.unused_name, "limit": 1}
    context.ask(row, arn, lambda: logs.get_log_events(**read), "ResourceNotFoundException")
    return group


def _get_table(context: ProbeContext, row: Permission) -> str:
    responses = {table: context.get_catalog_table(row, table) for table in context.lake_tables or [context.unused_name]}
    return ", ".join(
        f"{table} ({'is created by the first batch' if response.code else 'exists'})"
        for table, response in responses.items()
    )


def _create_database(context: ProbeContext, row: Permission) -> str:
    """Create one that exists already: Glue does not change it."""
    database, glue = context.settings.glue_database, context.client("glue")
    try:
        response = context.get_catalog_table(_row("glue:GetTable"), (context.lake_tables or [context.unused_name])[0])
    except PipelineError:
        raise CheckSkippedError(f"whether {database} exists is unknown, and the probe might create it") from None
    if response.code and re.search(r"\bdatabase\b", response.message, re.IGNORECASE):
        raise CheckSkippedError(f"there is no database {database}; the probe would create it, as the first batch does")
    arn = context.arn("glue", f"database/{database}")
    context.ask(row, arn, lambda: glue.create_database(DatabaseInput={"Name": database}), "AlreadyExistsException")
    return database


def _create_table(context: ProbeContext, row: Permission) -> str:
    """Create one that exists already: Glue does not change it."""
    database, glue = context.settings.glue_database, context.client("glue")
    for table in context.lake_tables:
        try:
            is_there = not context.get_catalog_table(_row("glue:GetTable"), table).code
        except PipelineError:
            break
        if is_there:
            create = {"DatabaseName": database, "TableInput": {"Name": table}}
            context.ask(row, context.table_arn(table), partial(glue.create_table, **create), *_EXISTS)
            return f"{table} (exists and is not changed)"
    raise CheckSkippedError("no table of the lake is known to exist yet, and the probe would create one")


_EXISTS = ("AlreadyExistsException", "InvalidInputException")


def _on_no_table(operation: str, **arguments: object) -> Probe:
    """A probe that changes a table that does not exist."""

    def change(context: ProbeContext, row: Permission) -> str:
        table = context.unused_name.replace("-", "_")
        filled = json.loads(json.dumps(arguments).replace("<table>", table)) | {
            "DatabaseName": context.settings.glue_database
        }
        call = getattr(context.client("glue"), operation)
        context.ask(row, context.table_arn("*"), lambda: call(**filled), MISSING)
        return f"tables of {context.settings.glue_database}"

    return change


def _start_crawler(context: ProbeContext, row: Permission) -> str:
    """Start a crawler that does not exist, under a name that the role covers: a start of the real one costs money."""
    crawler, glue = context.settings.glue_crawler, context.client("glue")
    if not crawler:
        raise CheckSkippedError("PIPELINE_GLUE_CRAWLER is not set: batches register partitions themselves")
    name = f"{crawler}-{context.unused_name}"
    context.ask(row, context.arn("glue", f"crawler/{name}"), lambda: glue.start_crawler(Name=name), MISSING)
    return f"{crawler}, checked by {crawler}-doctor-…, which does not exist; whether {crawler} exists was not checked"


# --- queues, topic, streams, secret ------------------------------------------------------------------------


def _on_queues(
    call: Callable[[Any, str], Mapping[str, Any]],
    *expected: str,
    notice: Callable[[Mapping[str, Any]], str] = lambda result: "",
) -> Probe:
    """A probe that makes one call for each queue (client, url); `notice` makes a warning of the result, or no text."""

    def ask(context: ProbeContext, row: Permission) -> str:
        if not context.settings.queues:
            raise CheckSkippedError("PIPELINE_QUEUES is not set: no queue, zones are listed")
        sqs = context.client("sqs")
        missing, errors, notices = [], [], []
        for pipeline, url in context.settings.queues.items():
            arn = context.arn("sqs", url.rpartition("/")[2])
            try:
                response = context.ask(row, arn, partial(call, sqs, url), *expected, *_NO_QUEUE)
            except PipelineError as error:
                errors.append(error)
                continue
            if response.code in _NO_QUEUE:
                missing.append(f"There is no queue {masked(url)} ({pipeline}).")
            notices.append(notice(response.result))
        if missing and row.action == "sqs:ReceiveMessage":
            remedy = "`pipeline-assets deploy aws` creates it; or remove it from PIPELINE_QUEUES: zones are listed."
            errors.append(MissingError(" ".join(missing), remedy=remedy))
        if errors:
            raise _combined(errors)
        if len(missing) == len(context.settings.queues):
            raise CheckSkippedError("there is no queue")
        if any(notices):
            raise CheckWarningError(f"{', '.join(filter(None, notices))}. What to do: docs/deploy.md, section 7.")
        return ", ".join(context.settings.queues)

    return ask


def _waiting(counted: Mapping[str, Any]) -> str:
    return f"{counted['messages']} messages wait in {counted['queue']}" if counted.get("messages") else ""


def _publish(context: ProbeContext, row: Permission) -> str:
    """Publish a message as JSON without its mandatory member `default`, which SNS rejects."""
    topic = context.settings.alerts_topic_arn
    if not topic:
        raise CheckSkippedError("PIPELINE_ALERTS_TOPIC_ARN is not set: alerts go to the log and a file")
    message = {"TopicArn": topic, "MessageStructure": "json", "Message": '{"doctor": "nobody gets this"}'}
    publish = context.client("sns").publish
    rejected, missing = ("InvalidParameter", "InvalidParameterException"), ("NotFound", "NotFoundException")
    response = context.ask(row, topic, lambda: publish(**message), *rejected, *missing)
    if response.code in missing:
        raise MissingError(
            f"There is no topic {topic}.",
            remedy="`pipeline-assets deploy aws` creates it and prints PIPELINE_ALERTS_TOPIC_ARN.",
        )
    return topic


def _put_metric(context: ProbeContext, row: Permission) -> str:
    """Put a value of long ago: CloudWatch rejects what is older than two weeks."""
    settings = context.settings
    if not settings.cloudwatch_metrics:
        raise CheckSkippedError("PIPELINE_CLOUDWATCH_METRICS is not set: runs put no metrics")
    data = [{"MetricName": "Doctor", "Value": 0, "Timestamp": datetime(2000, 1, 1, tzinfo=UTC)}]
    put = {"Namespace": settings.stack_name, "MetricData": data}
    call = context.client("cloudwatch").put_metric_data
    context.ask(row, "*", lambda: call(**put), "InvalidParameterValue", "InvalidParameterValueException")
    return f"the namespace {settings.stack_name}"


def _deliver(context: ProbeContext, row: Permission) -> str:
    """Deliver to a stream that does not exist: the role may deliver to any whose name starts with the stack's."""
    stream, client = f"{context.settings.stack_name}-{context.unused_name}", context.client("firehose")
    arn = context.arn("firehose", f"deliverystream/{context.settings.stack_name}-*")
    put = {"DeliveryStreamName": stream, "Records": [{"Data": b"\n"}]}
    context.ask(row, arn, lambda: client.put_record_batch(**put), "ResourceNotFoundException")
    return f"streams named {context.settings.stack_name}-…"


def _read_secret(context: ProbeContext, row: Permission) -> str:
    if not context.settings.secret_id:
        raise CheckSkippedError("PIPELINE_SECRET_ID is not set: every setting comes from the environment")
    from_secret = with_secret(context.settings).from_secret
    return f"{context.settings.secret_id}, {len(from_secret)} settings come from it"


def _row(action: str) -> Permission:
    return next(row for row in PERMISSIONS if row.role == "pipeline" and row.action == action)


PROBES: Mapping[tuple[str, str], Probe] = {
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
    ("cloudwatch:PutMetricData", "metrics"): _put_metric,
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
