"""Every AWS permission that the platform needs: which role needs it, on which resource, and for what.

The roles in infra/template.yaml are made from this table, `doctor` probes its rows, and a test compares it with the
code: it fails on a call that no row allows and on a row that nothing uses. The permissions of the person who runs
`deploy aws` are not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["pipeline", "producer", "glue_job", "crawler", "firehose", "snowflake"]

ROLES: dict[Role, str] = {
    "pipeline": "The machines that run Dagster: daemon, code server and run workers",
    "producer": "The machines that run `pipeline-assets stream` or a Kinesis Agent",
    "glue_job": "The Spark job",
    "crawler": "The crawler of the lake tables, where one is asked for",
    "firehose": "The delivery streams",
    "snowflake": "Snowflake's storage integration, which reads staged files",
}

# The resources that an action is allowed on, as ARNs in CloudFormation's terms. `{bucket}` and the other placeholders
# are replaced by each of the buckets and prefixes of the registered pipelines (`deploy.aws.template`).
_BUCKET = "arn:${AWS::Partition}:s3:::${BucketPrefix}"
_ACCOUNT = "${AWS::Region}:${AWS::AccountId}"
_ARTIFACTS = f"{_BUCKET}pipeline-artifacts"
_CATALOG = f"arn:${{AWS::Partition}}:glue:{_ACCOUNT}"
_LOGS = f"arn:${{AWS::Partition}}:logs:{_ACCOUNT}:log-group:"
RESOURCES: dict[str, tuple[str, ...]] = {
    "data buckets": (f"{_BUCKET}{{bucket}}",),
    "data objects": (f"{_BUCKET}{{bucket}}/*",),
    "artifacts bucket": (_ARTIFACTS,),
    "glue runs": (f"{_ARTIFACTS}/runs/*",),
    "glue script": (f"{_ARTIFACTS}/glue/*",),
    "compute logs": (f"{_ARTIFACTS}/compute-logs/*",),
    "lake buckets": (f"{_BUCKET}{{lake_bucket}}",),
    "lake objects": (f"{_BUCKET}{{lake_prefix}}*",),
    "delivery buckets": (f"{_BUCKET}{{stream_bucket}}",),
    "delivered objects": (f"{_BUCKET}{{stream_prefix}}*",),
    "queues": (f"arn:${{AWS::Partition}}:sqs:{_ACCOUNT}:${{AWS::StackName}}-*",),
    "alerts topic": ("${AlertsTopic}",),
    "metrics": ("*",),
    "delivery streams": (f"arn:${{AWS::Partition}}:firehose:{_ACCOUNT}:deliverystream/${{AWS::StackName}}-*",),
    "producer streams": (f"arn:${{AWS::Partition}}:firehose:{_ACCOUNT}:deliverystream/${{AWS::StackName}}-{{stream}}",),
    "glue job": (f"{_CATALOG}:job/${{AWS::StackName}}",),
    "lake catalog": (
        f"{_CATALOG}:catalog",
        f"{_CATALOG}:database/${{GlueDatabaseName}}",
        f"{_CATALOG}:table/${{GlueDatabaseName}}/*",
    ),
    # `doctor` probes with the second name, which no crawler has: a real one would start.
    "crawler": (f"{_CATALOG}:crawler/${{AWS::StackName}}", f"{_CATALOG}:crawler/${{AWS::StackName}}-doctor-*"),
    "glue logs": (f"{_LOGS}/aws-glue/*",),
    "delivery logs": (f"{_LOGS}/aws/kinesisfirehose/${{AWS::StackName}}:*",),
    "secret": ("${PipelineSecret}",),
}

# Metrics have no ARN: a condition limits them to the namespace of the stack's name.
CONDITIONS = {"metrics": {"StringEquals": {"cloudwatch:namespace": "${AWS::StackName}"}}}


@dataclass(frozen=True)
class Permission:
    """`purpose` completes "the role may do this so that it …"; `on` is one of RESOURCES.

    `used_by` is a path below pipeline_assets/, which a test reads, or the documentation that requires the permission if
    the caller is a service of AWS, Snowflake or Dagster.
    """

    action: str
    role: Role
    on: str
    purpose: str
    used_by: str


_LAKE, _STORE, _CATALOG_CODE = "lake/s3.py", "lake/store.py", "lake/glue_catalog.py"
_JOB, _ENGINE, _OBJECT_IO = "engine/glue/job.py", "engine/glue/engine.py", "engine/distributed/object_io.py"
_NOTIFICATIONS = "lake/notifications.py"
_STREAM = "lake/firehose.py"
_COMPUTE_LOGS = "Dagster's S3ComputeLogManager (infra/dagster.yaml)"
_FIREHOSE = "Firehose developer guide: Grant Firehose access to an Amazon S3 destination"
_SNOWFLAKE = "Snowflake documentation: Configuring a storage integration to access Amazon S3"
_GLUE = "Glue developer guide: IAM role for AWS Glue"

PERMISSIONS: tuple[Permission, ...] = (
    Permission("s3:ListBucket", "pipeline", "data buckets", "lists what has landed", _STORE),
    Permission("s3:GetObject", "pipeline", "data objects", "reads landed objects and their versions", _STORE),
    Permission("s3:PutObject", "pipeline", "data objects", "writes the exports and staged files of a batch", _LAKE),
    Permission("s3:DeleteObject", "pipeline", "data objects", "deletes staged and moved objects", _LAKE),
    Permission("s3:AbortMultipartUpload", "pipeline", "data objects", "deletes the parts of a failed upload", _LAKE),
    Permission("s3:ListBucket", "pipeline", "artifacts bucket", "finds what a Glue run left", _ENGINE),
    Permission("s3:GetObject", "pipeline", "glue runs", "reads the results of a Glue run", _ENGINE),
    Permission("s3:PutObject", "pipeline", "glue runs", "writes the plan of a Glue run", _ENGINE),
    Permission("s3:DeleteObject", "pipeline", "glue runs", "clears what a Glue run left", _ENGINE),
    Permission("s3:GetObject", "pipeline", "compute logs", "shows the log of a step in the UI", _COMPUTE_LOGS),
    Permission("s3:PutObject", "pipeline", "compute logs", "keeps the log of a step", _COMPUTE_LOGS),
    Permission("s3:DeleteObject", "pipeline", "compute logs", "deletes the logs of a deleted run", _COMPUTE_LOGS),
    Permission("glue:StartJobRun", "pipeline", "glue job", "starts the Spark job", _JOB),
    Permission("glue:GetJobRun", "pipeline", "glue job", "waits for a run of it", _JOB),
    Permission("glue:GetJobRuns", "pipeline", "glue job", "finds the run of an attempt that died", _JOB),
    Permission("glue:BatchStopJobRun", "pipeline", "glue job", "stops a run that nobody waits for", _JOB),
    Permission("logs:DescribeLogStreams", "pipeline", "glue logs", "finds the log of a failed run", _JOB),
    Permission("logs:GetLogEvents", "pipeline", "glue logs", "shows the end of a failed run's log", _JOB),
    Permission("glue:GetTable", "pipeline", "lake catalog", "compares a lake table with its contract", _CATALOG_CODE),
    Permission("glue:CreateDatabase", "pipeline", "lake catalog", "makes the database when it is gone", _CATALOG_CODE),
    Permission("glue:CreateTable", "pipeline", "lake catalog", "registers a lake table", _CATALOG_CODE),
    Permission("glue:UpdateTable", "pipeline", "lake catalog", "gives a lake table new columns", _CATALOG_CODE),
    Permission("glue:BatchCreatePartition", "pipeline", "lake catalog", "registers partitions", _CATALOG_CODE),
    Permission("glue:DeletePartition", "pipeline", "lake catalog", "removes empty partitions", _CATALOG_CODE),
    Permission("glue:StartCrawler", "pipeline", "crawler", "starts the crawler, where one is set", _CATALOG_CODE),
    Permission("sns:Publish", "pipeline", "alerts topic", "sends alerts", "batch/alerts.py"),
    Permission("cloudwatch:PutMetricData", "pipeline", "metrics", "counts its batches", "batch/metrics.py"),
    Permission("sqs:ReceiveMessage", "pipeline", "queues", "receives events of new objects", _NOTIFICATIONS),
    Permission("sqs:DeleteMessage", "pipeline", "queues", "deletes received messages", _NOTIFICATIONS),
    Permission("sqs:GetQueueAttributes", "pipeline", "queues", "counts dead letters", _NOTIFICATIONS),
    Permission("firehose:PutRecordBatch", "pipeline", "delivery streams", "delivers, with --extract", _STREAM),
    Permission("secretsmanager:GetSecretValue", "pipeline", "secret", "reads keys and passwords", "secret.py"),
    Permission("firehose:PutRecordBatch", "producer", "producer streams", "delivers what it tails", _STREAM),
    Permission("s3:GetObject", "glue_job", "data objects", "reads landed objects", _OBJECT_IO),
    Permission("s3:ListBucket", "glue_job", "data buckets", "tells a deleted object from a forbidden one", _OBJECT_IO),
    Permission("s3:GetObject", "glue_job", "glue runs", "reads its plan and its own state", _OBJECT_IO),
    Permission("s3:PutObject", "glue_job", "glue runs", "writes state, results and response", _OBJECT_IO),
    Permission("s3:AbortMultipartUpload", "glue_job", "glue runs", "drops the parts of a failed upload", _OBJECT_IO),
    Permission("s3:DeleteObject", "glue_job", "glue runs", "clears what an attempt left half written", _GLUE),
    Permission("s3:ListBucket", "glue_job", "artifacts bucket", "lists its own state", _GLUE),
    Permission("s3:GetObject", "glue_job", "glue script", "loads the script and the package", _GLUE),
    Permission("logs:CreateLogGroup", "glue_job", "glue logs", "makes its log group", _GLUE),
    Permission("logs:CreateLogStream", "glue_job", "glue logs", "makes the log of a run", _GLUE),
    Permission("logs:PutLogEvents", "glue_job", "glue logs", "writes its log", _GLUE),
    Permission("s3:ListBucket", "crawler", "lake buckets", "finds partitions", _GLUE),
    Permission("s3:GetObject", "crawler", "lake objects", "reads the schema of Parquet files", _GLUE),
    Permission("glue:GetDatabase", "crawler", "lake catalog", "finds the database", _GLUE),
    Permission("glue:GetTable", "crawler", "lake catalog", "finds the table", _GLUE),
    Permission("glue:GetTables", "crawler", "lake catalog", "finds the tables", _GLUE),
    Permission("glue:CreateTable", "crawler", "lake catalog", "registers a table", _GLUE),
    Permission("glue:UpdateTable", "crawler", "lake catalog", "updates a table", _GLUE),
    Permission("glue:GetPartitions", "crawler", "lake catalog", "compares partitions", _GLUE),
    Permission("glue:BatchGetPartition", "crawler", "lake catalog", "compares partitions", _GLUE),
    Permission("glue:BatchCreatePartition", "crawler", "lake catalog", "registers partitions", _GLUE),
    Permission("glue:UpdatePartition", "crawler", "lake catalog", "updates partitions", _GLUE),
    Permission("logs:CreateLogGroup", "crawler", "glue logs", "makes its log group", _GLUE),
    Permission("logs:CreateLogStream", "crawler", "glue logs", "makes its log", _GLUE),
    Permission("logs:PutLogEvents", "crawler", "glue logs", "writes its log", _GLUE),
    Permission("s3:GetBucketLocation", "firehose", "delivery buckets", "finds the bucket", _FIREHOSE),
    Permission("s3:ListBucket", "firehose", "delivery buckets", "checks the bucket", _FIREHOSE),
    Permission("s3:ListBucketMultipartUploads", "firehose", "delivery buckets", "resumes uploads", _FIREHOSE),
    Permission("s3:AbortMultipartUpload", "firehose", "delivered objects", "drops failed uploads", _FIREHOSE),
    Permission("s3:GetObject", "firehose", "delivered objects", "checks what it delivered", _FIREHOSE),
    Permission("s3:PutObject", "firehose", "delivered objects", "delivers records", _FIREHOSE),
    Permission("logs:PutLogEvents", "firehose", "delivery logs", "says why a delivery failed", _FIREHOSE),
    Permission("s3:GetBucketLocation", "snowflake", "data buckets", "finds the buckets", _SNOWFLAKE),
    Permission("s3:ListBucket", "snowflake", "data buckets", "lists staged files", _SNOWFLAKE),
    Permission("s3:GetObject", "snowflake", "data objects", "loads staged files", _SNOWFLAKE),
    Permission("s3:GetObjectVersion", "snowflake", "data objects", "loads the version that it listed", _SNOWFLAKE),
)


def granted(role: Role) -> dict[str, list[str]]:
    """The actions of a role by resource, in the order of the table."""
    actions: dict[str, list[str]] = {}
    for permission in PERMISSIONS:
        if permission.role == role:
            actions.setdefault(permission.on, []).append(permission.action)
    return actions
