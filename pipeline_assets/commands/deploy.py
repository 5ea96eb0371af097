"""`deploy aws` and `deploy snowflake`: create or change what the aws profile needs."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline_assets.commands.shared import registered_pipelines
from pipeline_assets.errors import ConfigurationError

app = typer.Typer(help="Create or change what the aws profile needs; repeatable.", no_args_is_help=True)


@app.command("aws")
def deploy_aws(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the stack; buckets with objects stay.")] = False,
) -> None:
    """Deploy the stack in infra/: buckets, queues, topic, streams, Glue and roles. Prints the environment."""
    from pipeline_assets.deploy.aws.stack import deploy, remove
    from pipeline_assets.settings import load_settings

    if delete and dry_run:
        raise ConfigurationError("--delete and --dry-run exclude each other.", remedy="Leave one out.")
    settings = load_settings(secret=False)  # the secret belongs to the stack and may not exist
    if delete:
        remove(settings, say=print)
    else:
        deploy(settings, dry_run=dry_run, say=print)


@app.command("snowflake")
def deploy_snowflake(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; nothing is run.")] = False,
) -> None:
    """Deploy roles, warehouse, schemas, stages, pipes and masking policies: the files in sql/platform/."""
    from pipeline_assets.deploy.snowflake.apply import deploy
    from pipeline_assets.settings import load_settings

    deploy(load_settings(), list(registered_pipelines().values()), dry_run=dry_run, say=print)
