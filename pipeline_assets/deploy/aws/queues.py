"""The queues of infra/template.yaml: for each pipeline a queue of S3 events, its dead-letter queue, and an alarm.

A message in a dead-letter queue is a lost event but never lost data, as zones are listed as well. It means that the
sender writes something unreadable, so a CloudWatch alarm notifies the topic of the alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline_assets.deploy.aws.roles import bucket_arn, camel, sub

# Receives of a message before SQS moves it to the dead-letter queue. A sensor receives it once in five minutes; each
# `doctor` counts as well, and running it for an afternoon before the sensors run should not raise the alarm.
_RECEIVES = 20
_FORTNIGHT = 14 * 24 * 3600  # seconds, the longest that SQS keeps a message
_PERIOD = 300  # seconds; SQS reports once a minute, late at times


def queues(pipeline: str, watched: Sequence[str]) -> dict[str, Any]:
    """The resources of one pipeline; `watched` are the buckets that notify its queue, without the prefix."""
    queue = f"{camel(pipeline)}Queue"
    common = {"MessageRetentionPeriod": _FORTNIGHT, "SqsManagedSseEnabled": True}
    return {
        f"{queue}DeadLetters": {
            "Type": "AWS::SQS::Queue",
            "Properties": {"QueueName": sub(f"${{AWS::StackName}}-{pipeline}-dead-letters"), **common},
        },
        f"{queue}DeadLettersAlarm": _alarm(pipeline, f"{queue}DeadLetters"),
        queue: {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": sub(f"${{AWS::StackName}}-{pipeline}"),
                "VisibilityTimeout": 300,
                "ReceiveMessageWaitTimeSeconds": 5,
                "RedrivePolicy": {
                    "deadLetterTargetArn": {"Fn::GetAtt": [f"{queue}DeadLetters", "Arn"]},
                    "maxReceiveCount": _RECEIVES,
                },
                **common,
            },
        },
        f"{queue}Policy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": queue}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "OnlyItsBuckets",
                            "Effect": "Allow",
                            "Principal": {"Service": "s3.amazonaws.com"},
                            "Action": "sqs:SendMessage",
                            "Resource": {"Fn::GetAtt": [queue, "Arn"]},
                            "Condition": {
                                "ArnEquals": {"aws:SourceArn": [bucket_arn(name) for name in watched]},
                                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
                            },
                        }
                    ],
                },
            },
        },
    }


def _alarm(pipeline: str, dead_letters: str) -> dict[str, Any]:
    name = f"${{AWS::StackName}}-{pipeline}-dead-letters"
    description = (
        f"Messages wait in {name} that no sensor of {pipeline} could read. What to do: docs/deploy.md, section 7."
    )
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": sub(name),
            "AlarmDescription": sub(description),
            "Namespace": "AWS/SQS",
            "MetricName": "ApproximateNumberOfMessagesVisible",
            "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": [dead_letters, "QueueName"]}}],
            "Statistic": "Maximum",
            "Period": _PERIOD,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            # SQS sends no metrics for a queue that was empty and idle for six hours.
            "TreatMissingData": "notBreaching",
            "AlarmActions": [{"Ref": "AlertsTopic"}],
        },
    }
