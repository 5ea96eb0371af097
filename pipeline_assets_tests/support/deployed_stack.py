"""Our stack on the emulator, for tests: deploy it, look at it, be in its way."""

from __future__ import annotations

from typing import Any

from pipeline_assets.deploy.aws.stack import deploy
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets_tests.support.ministack import REGION, MiniStack


def configured(aws: MiniStack, **more: object) -> Settings:
    found = {"aws_endpoint_url": aws.url, "s3_endpoint_url": aws.url, "aws_region": REGION, "bucket_prefix": "acme-"}
    return load_settings(**found | more)


def deployed(settings: Settings, *, dry_run: bool = False) -> list[str]:
    said: list[str] = []
    deploy(settings, dry_run=dry_run, say=said.append)
    return said


def buckets_of(aws: MiniStack) -> set[str]:
    return {bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]}


def occupy_job(aws: MiniStack, name: str) -> None:
    command = {"Name": "glueetl", "ScriptLocation": "s3://a/b.py"}
    aws.client("glue").create_job(Name=name, Role="arn:aws:iam::000000000000:role/x", Command=command)


def stack_of(aws: MiniStack) -> dict[str, Any]:
    return aws.client("cloudformation").describe_stacks(StackName="pipeline-assets")["Stacks"][0]
