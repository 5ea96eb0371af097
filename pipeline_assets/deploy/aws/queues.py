"""The queues of infra/template.yaml: S3's events for a pipeline, those that nobody could read, and the alarm over them.

A message in a dead-letter queue is lost news and never lost data, as zones are listed as well. Yet nobody would ever
look there, and something is wrong with what writes to the queue: so CloudWatch tells the topic of the alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline_assets.deploy.aws.roles import bucket_arn, camel, sub

# Times that a message is taken before it goes to the dead letters, one each five minutes by a sensor; each `doctor`
# counts as well, and somebody who is at it for an afternoon before the sensors run should set off no alarm.
_RECEIVES = 20
_FORTNIGHT = 14 * 24 * 3600  # seconds, the longest that SQS keeps a message
_PERIOD = 300  # seconds; SQS reports once a minute, late at times


def queues(pipeline: str, watched: Sequence[str]) -> dict[str, Any]:
    """The resources of one pipeline; `watched` are the names of the buckets that ring it, without prefix."""
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
    told = f"Messages wait in {name} that no sensor of {pipeline} could read. What to do: docs/deploy.md, section 7."
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": sub(name),
            "AlarmDescription": sub(told),
            "Namespace": "AWS/SQS",
            "MetricName": "ApproximateNumberOfMessagesVisible",
            "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": [dead_letters, "QueueName"]}}],
            "Statistic": "Maximum",
            "Period": _PERIOD,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            # SQS says nothing of a queue that was empty and idle for six hours.
            "TreatMissingData": "notBreaching",
            "AlarmActions": [{"Ref": "AlertsTopic"}],
        },
    }
