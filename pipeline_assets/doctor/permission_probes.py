"""A harmless call for each permission of the pipelines' role: what `doctor` tries of AWS.

One try for each row of the table in `permissions`, one finding for each try. What is tried is authorization, on the
very things that the settings name; what is missing (bucket, queue, topic, job, secret, credentials) is told apart from
what is forbidden, and found once: whatever needs it is then not tried.

The surprising part is how a call can be harmless and still tell. AWS looks a thing up, or at what is asked of it, only
for those who may ask, so calls go to keys, runs, tables, crawlers and streams that are not there, and where the policy
covers the real one alone they contradict themselves. AWS documents that order for no service; a call that it refuses
for its shape before anything else (ValidationException) therefore counts as not tried. Three tries leave a trace: an
empty object is written and deleted again, a key that never was gets a delete marker where versions are kept, and a
message that waits in a queue counts one more of the receives after which it goes to the dead letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_assets.deploy.aws.permissions import PERMISSIONS, Permission
from pipeline_assets.doctor.installation import Finding, NoticedError, NotTriedError, finding
from pipeline_assets.doctor.probe_context import MISSING, Bench, MissingError, elsewhere, identity
from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.lake.notifications import dead_letters
from pipeline_assets.settings import with_secret

if TYPE_CHECKING:
    from pipeline_assets.batch.report import Pipeline
    from pipeline_assets.settings import Settings

_NO_RUN = "jr_" + "0" * 64
_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")

Try = Callable[[Bench, Permission], str]


def examine_permissions(settings: Settings, pipelines: Sequence[Pipeline]) -> Iterator[Finding]:
    """Who we are to AWS, and each permission of the pipelines' role; one failure does not hide the next."""
    bench = Bench(settings, pipelines)
    who = identity(bench)
    yield who
    if who.passed is False:
        yield Finding("permissions", None, "nothing of AWS can be tried like that")
        return
    yield from elsewhere(bench)
    for row in PERMISSIONS:
        if row.role == "pipeline":
            yield finding(f"{row.action} on {row.on}", lambda row=row: TRIES[row.action, row.on](bench, row))


# --- S3 ------------------------------------------------------------------------------------------------------

_LISTS = {row.on: row for row in PERMISSIONS if row.role == "pipeline" and row.action == "s3:ListBucket"}


def _list_buckets(bench: Bench, row: Permission) -> str:
    buckets = [bucket for bucket, _ in bench.places(row.on)]
    if wrong := [error for bucket in buckets if (error := bench.listing(row, bucket))]:
        raise _together(wrong)
    return ", ".join(buckets)


def _in_each(attempt: Callable[[Bench, Permission, str, str], str]) -> Try:
    """A try on objects, in every bucket that is there."""

    def each(bench: Bench, row: Permission) -> str:
        lists = _LISTS["data buckets" if row.on == "data objects" else "artifacts bucket"]
        places = bench.places(row.on)
        there = [(b, p) for b, p in places if not isinstance(bench.listing(lists, b), MissingError)]
        if not there:
            raise NotTriedError("there is no bucket to try it in")
        wrong: list[PipelineError] = []
        done: list[str] = []
        for bucket, prefix in there:
            if row.action == "s3:GetObject" and bench.listing(lists, bucket):
                raise NotTriedError(f"who may not list {bucket} is told nothing about a key in it")
            try:
                done.append(attempt(bench, row, bucket, prefix + bench.nobody))
            except PipelineError as error:
                wrong.append(error)
        if wrong:
            raise _together(wrong)
        return ", ".join(done)

    return each


def _put(bench: Bench, row: Permission, bucket: str, key: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = bench.client("s3")
    bench.ask(row, _objects(bench, bucket, key), lambda: s3.put_object(Bucket=bucket, Key=key, Body=b""))
    try:
        s3.delete_object(Bucket=bucket, Key=key)
    except (ClientError, BotoCoreError):
        return f"{bucket} (the empty {key} stays there, as it could not be deleted)"
    return bucket


def _get(bench: Bench, row: Permission, bucket: str, key: str) -> str:
    s3 = bench.client("s3")
    bench.ask(row, _objects(bench, bucket, key), lambda: s3.get_object(Bucket=bucket, Key=key), "NoSuchKey")
    return bucket


def _delete(bench: Bench, row: Permission, bucket: str, key: str) -> str:
    s3 = bench.client("s3")
    bench.ask(row, _objects(bench, bucket, key), lambda: s3.delete_object(Bucket=bucket, Key=key))
    return bucket


def _abort(bench: Bench, row: Permission, bucket: str, key: str) -> str:
    def abort() -> Any:
        return bench.client("s3").abort_multipart_upload(Bucket=bucket, Key=key, UploadId=bench.nobody)

    bench.ask(row, _objects(bench, bucket, key), abort, "NoSuchUpload")
    return bucket


def _objects(bench: Bench, bucket: str, key: str) -> str:
    return f"arn:{bench.partition}:s3:::{bucket}/{key.rpartition('/')[0]}/*"


def _together(wrong: Sequence[PipelineError]) -> PipelineError:
    """The first of several, and how many more there are like it."""
    more = [error.message for error in wrong[1:]]
    return ConfigurationError(" ".join([wrong[0].message, *more]), remedy=wrong[0].remedy)


# --- Glue ----------------------------------------------------------------------------------------------------


def _start_run(bench: Bench, row: Permission) -> str:
    """A retry of a run that never was, with two sizes that exclude each other, of a minute: nothing of it can start."""

    def start() -> Any:
        return bench.client("glue").start_job_run(
            JobName=bench.job, JobRunId=_NO_RUN, WorkerType="G.1X", NumberOfWorkers=2, MaxCapacity=1.0, Timeout=1
        )

    answer = bench.ask(row, bench.job_arn, start, MISSING, "InvalidInputException", "ConcurrentRunsExceededException")
    if answer.code == MISSING and re.search(r"missing metadata|\bJob \S+ not found", answer.said):
        raise MissingError(
            f"There is no Glue job {bench.job}.",
            remedy="`pipeline-assets deploy aws` makes it; PIPELINE_GLUE_JOB names it.",
        )
    if run := answer.given.get("JobRunId"):  # not of Glue itself
        bench.client("glue").batch_stop_job_run(JobName=bench.job, JobRunIds=[run])
        return f"{bench.job}; a run started all the same and was told to stop"
    return bench.job


def _get_run(bench: Bench, row: Permission) -> str:
    glue = bench.client("glue")
    bench.ask(row, bench.job_arn, lambda: glue.get_job_run(JobName=bench.job, RunId=_NO_RUN), MISSING)
    return bench.job


def _get_runs(bench: Bench, row: Permission) -> str:
    glue = bench.client("glue")
    answer = bench.ask(row, bench.job_arn, lambda: glue.get_job_runs(JobName=bench.job, MaxResults=1), MISSING)
    if answer.code:
        raise NotTriedError(f"there is no Glue job {bench.job}")
    return bench.job


def _stop_run(bench: Bench, row: Permission) -> str:
    glue = bench.client("glue")
    stop = {"JobName": bench.job, "JobRunIds": [_NO_RUN]}
    bench.ask(row, bench.job_arn, lambda: glue.batch_stop_job_run(**stop), MISSING)
    return bench.job


def _find_log(bench: Bench, row: Permission) -> str:
    group, logs = "/aws-glue/jobs/output", bench.client("logs")
    where = bench.arn("logs", f"log-group:{group}") if bench.job else ""
    find = {"logGroupName": group, "logStreamNamePrefix": bench.nobody, "limit": 1}
    bench.ask(row, where, lambda: logs.describe_log_streams(**find), "ResourceNotFoundException")
    return group


def _read_log(bench: Bench, row: Permission) -> str:
    group, logs = "/aws-glue/jobs/output", bench.client("logs")
    where = bench.arn("logs", f"log-group:{group}:*") if bench.job else ""
    read = {"logGroupName": group, "logStreamName": bench.nobody, "limit": 1}
    bench.ask(row, where, lambda: logs.get_log_events(**read), "ResourceNotFoundException")
    return group


def _get_table(bench: Bench, row: Permission) -> str:
    found = {table: bench.look_up(row, table) for table in bench.lake_tables or [bench.nobody]}
    return ", ".join(
        f"{table} ({'is made by the first batch' if answer.code else 'is there'})" for table, answer in found.items()
    )


def _create_database(bench: Bench, row: Permission) -> str:
    """Over one that is there: Glue keeps it as it is."""
    database, glue = bench.settings.glue_database, bench.client("glue")
    try:
        answer = bench.look_up(_row("glue:GetTable"), (bench.lake_tables or [bench.nobody])[0])
    except PipelineError:
        raise NotTriedError(f"whether {database} is there could not be told, and the try might make it") from None
    if answer.code and re.search(r"\bdatabase\b", answer.said, re.IGNORECASE):
        raise NotTriedError(f"there is no database {database}, and the try would make it, as the first batch does")
    where = bench.arn("glue", f"database/{database}")
    bench.ask(row, where, lambda: glue.create_database(DatabaseInput={"Name": database}), "AlreadyExistsException")
    return database


def _create_table(bench: Bench, row: Permission) -> str:
    """Over one that is there: Glue keeps it as it is."""
    database, glue = bench.settings.glue_database, bench.client("glue")
    for table in bench.lake_tables:
        try:
            is_there = not bench.look_up(_row("glue:GetTable"), table).code
        except PipelineError:
            break
        if is_there:
            create = {"DatabaseName": database, "TableInput": {"Name": table}}
            bench.ask(row, bench.table_arn(table), lambda create=create: glue.create_table(**create), *_THERE)
            return f"{table} (is there and stays as it is)"
    raise NotTriedError("no table of the lake is known to be there yet, and the try would make one")


_THERE = ("AlreadyExistsException", "InvalidInputException")


def _on_no_table(operation: str, **arguments: object) -> Try:
    """A change to a table that is not there."""

    def change(bench: Bench, row: Permission) -> str:
        table = bench.nobody.replace("-", "_")
        given = json.loads(json.dumps(arguments).replace("<table>", table)) | {
            "DatabaseName": bench.settings.glue_database
        }
        call = getattr(bench.client("glue"), operation)
        bench.ask(row, bench.table_arn("*"), lambda: call(**given), MISSING)
        return f"tables of {bench.settings.glue_database}"

    return change


def _start_crawler(bench: Bench, row: Permission) -> str:
    """One that is not there, of a name that the role covers: a start of the real one would be paid for."""
    crawler, glue = bench.settings.glue_crawler, bench.client("glue")
    if not crawler:
        raise NotTriedError("PIPELINE_GLUE_CRAWLER is not set: batches register partitions themselves")
    name = f"{crawler}-{bench.nobody}"
    bench.ask(row, bench.arn("glue", f"crawler/{name}"), lambda: glue.start_crawler(Name=name), MISSING)
    return f"{crawler}, by way of {crawler}-doctor-…, which is not there; whether {crawler} is was not asked"


# --- queues, topic, streams, secret ------------------------------------------------------------------------


def _on_queues(
    call: Callable[[Any, str], Mapping[str, Any]],
    *expected: str,
    notice: Callable[[Mapping[str, Any]], str] = lambda given: "",
) -> Try:
    """One call on each queue, with a client and the queue's url; `notice` reads what it gave."""

    def ask(bench: Bench, row: Permission) -> str:
        if not bench.settings.queues:
            raise NotTriedError("PIPELINE_QUEUES is not set: no queue, zones are listed")
        sqs = bench.client("sqs")
        missing, wrong, noticed = [], [], []
        for pipeline, url in bench.settings.queues.items():
            where = bench.arn("sqs", url.rpartition("/")[2])
            try:
                answer = bench.ask(row, where, lambda url=url: call(sqs, url), *expected, *_NO_QUEUE)
            except PipelineError as error:
                wrong.append(error)
                continue
            if answer.code in _NO_QUEUE:
                missing.append(f"There is no queue {url} ({pipeline}).")
            noticed.append(notice(answer.given))
        if missing and row.action == "sqs:ReceiveMessage":
            remedy = "`pipeline-assets deploy aws` makes it; or correct PIPELINE_QUEUES, where others list."
            wrong.append(MissingError(" ".join(missing), remedy=remedy))
        if wrong:
            raise _together(wrong)
        if len(missing) == len(bench.settings.queues):
            raise NotTriedError("there is no queue")
        if any(noticed):
            raise NoticedError(f"{', '.join(filter(None, noticed))}. What to do: docs/deploy.md, section 7.")
        return ", ".join(bench.settings.queues)

    return ask


def _waiting(given: Mapping[str, Any]) -> str:
    return f"{given['messages']} messages wait in {given['queue']}" if given.get("messages") else ""


def _publish(bench: Bench, row: Permission) -> str:
    """A message for several kinds of receivers without the text that all of them may get, which SNS refuses."""
    topic = bench.settings.alerts_topic_arn
    if not topic:
        raise NotTriedError("PIPELINE_ALERTS_TOPIC_ARN is not set: alerts go to the log and a file")
    message = {"TopicArn": topic, "MessageStructure": "json", "Message": '{"doctor": "nobody gets this"}'}
    publish = bench.client("sns").publish
    refused, missing = ("InvalidParameter", "InvalidParameterException"), ("NotFound", "NotFoundException")
    answer = bench.ask(row, topic, lambda: publish(**message), *refused, *missing)
    if answer.code in missing:
        raise MissingError(
            f"There is no topic {topic}.",
            remedy="`pipeline-assets deploy aws` makes it and prints PIPELINE_ALERTS_TOPIC_ARN.",
        )
    return topic


def _deliver(bench: Bench, row: Permission) -> str:
    """To a stream that is not there: the role may deliver to whatever is named after the stack."""
    stream, client = f"{bench.settings.stack_name}-{bench.nobody}", bench.client("firehose")
    where = bench.arn("firehose", f"deliverystream/{bench.settings.stack_name}-*")
    put = {"DeliveryStreamName": stream, "Records": [{"Data": b"\n"}]}
    bench.ask(row, where, lambda: client.put_record_batch(**put), "ResourceNotFoundException")
    return f"streams named {bench.settings.stack_name}-…"


def _read_secret(bench: Bench, row: Permission) -> str:
    if not bench.settings.secret_id:
        raise NotTriedError("PIPELINE_SECRET_ID is not set: every setting comes from the environment")
    taken = with_secret(bench.settings).from_secret
    return f"{bench.settings.secret_id}, {len(taken)} settings come from it"


def _row(action: str) -> Permission:
    return next(row for row in PERMISSIONS if row.role == "pipeline" and row.action == action)


TRIES: Mapping[tuple[str, str], Try] = {
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
