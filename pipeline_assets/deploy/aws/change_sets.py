"""CloudFormation through change sets: plan changes, execute them, wait for the end, report why they failed.

This module works for any template. Waits have a time limit and jitter; CloudFormation continues without us, so after an
interruption the next call waits for the operation in progress. A change set that would create a stack creates an empty
one in state REVIEW_IN_PROGRESS, which must be deleted if the change set is not executed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.errors import ConfigurationError, DeploymentError, PipelineError

_PAUSES = (0.2, 10.0)  # seconds between two polls: first and longest
_WITHOUT_CHANGES = ("didn't contain changes", "No updates are to be performed")
# States of a stack that no change set can end.
_CREATION_FAILED = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"}
_STUCK = {"UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"}
_BUCKET = "AWS::S3::Bucket"  # the only type of our templates that is imported if it exists
_COMPLETE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}


class _EarlyValidationError(DeploymentError):
    """CloudFormation's validation rejected resources before planning: `ids` of `types`."""

    def __init__(self, message: str, *, remedy: str, types: set[str], ids: set[str]) -> None:
        super().__init__(message, remedy=remedy)
        self.types, self.ids = types, ids


@dataclass(frozen=True)
class Change:
    """One resource that would change; `action` is Add, Modify, Remove or Import."""

    action: str
    logical_id: str
    resource_type: str
    replacement: bool

    def __str__(self) -> str:
        replaced = " (replaced by a new one)" if self.replacement else ""
        return f"{self.action.lower():<7} {self.logical_id} {self.resource_type}{replaced}"


@dataclass(frozen=True)
class Stack:
    """One stack by its name. `patience` is the time limit of one wait, in seconds."""

    aws: Aws
    name: str
    say: Callable[[str], None]
    patience: float = 3600
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def apply(
        self,
        template: str,
        parameters: Mapping[str, str | None],
        *,
        dry_run: bool,
        before_import: Callable[[Sequence[Change]], None] = lambda imports: None,
    ) -> list[Change]:
        """Change the stack to `template`; returns the changes, also of a dry run.

        A parameter that is None keeps its value in the stack, or has its default if the stack has none.
        `before_import` gets the resources that would be imported, and may raise.

        Raises:
            ConfigurationError: a permission is missing, or a person has to repair the stack.
            DeploymentError: a resource could not be created, and CloudFormation rolled back.
        """
        stack = self._ready(dry_run)
        exists = stack is not None and stack["StackStatus"] != "REVIEW_IN_PROGRESS"
        sent = _change_set_parameters(parameters, _parameters(stack) if stack and exists else {})
        rejected: _EarlyValidationError | None = None
        try:
            with self._planned(template, sent, exists, validated=True) as (name, changes):
                if not _imports(changes):
                    if changes and not dry_run:
                        self._execute(name)
                    return changes
        except _EarlyValidationError as error:
            if error.types - {_BUCKET}:
                raise
            rejected = error
        # The early validation also rejects the names of existing buckets that would be imported, so plan without it.
        with self._planned(template, sent, exists, validated=False) as (name, changes):
            imports = _imports(changes)
            if rejected and not rejected.ids <= {change.logical_id for change in imports}:
                raise rejected
            before_import(imports)
            if not dry_run:
                self._execute(name)
        return changes

    def outputs(self) -> dict[str, str]:
        """The outputs of the stack; empty if it does not exist."""
        stack = self._find() or {}
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}

    def arn(self, service: str) -> str:
        """The start of ARNs of a service in the stack's account and region; no account if there is no stack."""
        parts = (self._find() or {}).get("StackId", f"arn:aws:cloudformation:{self.aws.region}:").split(":")
        return ":".join([*parts[:2], service, *parts[3:5]])

    def parameters(self) -> dict[str, str]:
        """The parameters of the stack; empty if it does not exist."""
        return _parameters(self._find() or {})

    def delete(self) -> bool:
        """Delete the stack and wait; False if it does not exist. Resources with a retain policy stay."""
        stack = self._wait_until_idle()
        if stack is None:
            return False
        since = datetime.now(UTC)
        with self._errors("cloudformation:DeleteStack", "deleting"):
            self._client.delete_stack(StackName=stack["StackId"])
        ended = self._wait(stack["StackId"])
        if ended is not None and ended["StackStatus"] != "DELETE_COMPLETE":
            raise self._failure(ended, since, "was not deleted")
        return True

    def _ready(self, dry_run: bool) -> dict[str, Any] | None:
        """The stack in a state that accepts a change set, or None if it does not exist."""
        stack = self._wait_until_idle()
        if stack is None:
            return None
        state = stack["StackStatus"]
        if state in _STUCK:
            raise ConfigurationError(
                f"The stack {self.name} is in {state}: {stack.get('StackStatusReason', 'no reason given')}.",
                remedy="Clear what its events name, then continue the rollback (or the deletion) in CloudFormation.",
            )
        if state in _CREATION_FAILED:
            # Such a stack never worked and can only be deleted.
            self.say(f"The first deployment of {self.name} failed earlier ({state}); its remains are deleted.")
            if dry_run:
                raise ConfigurationError(
                    f"The remains of a failed first deployment are in the way of a dry run ({state}).",
                    remedy="Deploy without --dry-run, which deletes them first, or --delete.",
                )
            self.delete()
            return None
        return stack

    @contextmanager
    def _planned(
        self, template: str, parameters: Sequence[Mapping[str, Any]], exists: bool, *, validated: bool
    ) -> Iterator[tuple[str, list[Change]]]:
        """A change set (name, changes), deleted afterwards together with the empty stack that it created."""
        name = f"deploy-{datetime.now(UTC):%Y%m%dT%H%M%S}-{random.randrange(16**6):06x}"
        try:
            with self._errors("cloudformation:CreateChangeSet", "planning"):
                self._client.create_change_set(
                    StackName=self.name,
                    ChangeSetName=name,
                    ChangeSetType="UPDATE" if exists else "CREATE",
                    TemplateBody=template,
                    Parameters=parameters,
                    Capabilities=["CAPABILITY_IAM"],
                    # Buckets that outlived an earlier stack are imported with their objects.
                    ImportExistingResources=True,
                    DisableValidation=not validated,
                )
            yield name, self._changes(name)
        except BaseException:
            # Report the original error, not one of the cleanup.
            with suppress(PipelineError):
                self._discard(name, exists)
            raise
        self._discard(name, exists)

    def _changes(self, name: str) -> list[Change]:
        deadline, pause = self.clock() + self.patience, _PAUSES[0]
        while True:
            response = self._describe(name)
            state, reason = response["Status"], response.get("StatusReason", "")
            if state == "CREATE_COMPLETE":
                break
            if state == "FAILED":
                if any(text in reason for text in _WITHOUT_CHANGES):
                    return []
                if "EarlyValidation" in reason:
                    # The reason only names the check. Its events must be read before the change set is deleted.
                    events = self._validation_events(ChangeSetName=name, StackName=self.name)
                    raise self._early_validation_error(events, reason)
                raise DeploymentError(f"CloudFormation refused the changes to {self.name}: {reason}")
            pause = self._pause(pause, deadline, f"planning the changes ({state})")
        entries = list(response["Changes"])
        while response.get("NextToken"):
            response = self._describe(name, NextToken=response["NextToken"])
            entries += response["Changes"]
        return [_change(entry["ResourceChange"]) for entry in entries if "ResourceChange" in entry]

    def _describe(self, name: str, **more: str) -> dict[str, Any]:
        with self._errors("cloudformation:DescribeChangeSet", "planning"):
            return self._client.describe_change_set(StackName=self.name, ChangeSetName=name, **more)

    def _execute(self, name: str) -> None:
        since = datetime.now(UTC)
        with self._errors("cloudformation:ExecuteChangeSet", "changing"):
            self._client.execute_change_set(StackName=self.name, ChangeSetName=name)
        ended = self._wait(self.name)
        if ended is None or ended["StackStatus"] not in _COMPLETE:
            raise self._failure(ended or {"StackStatus": "DELETE_COMPLETE"}, since, "could not be deployed")

    def _discard(self, name: str, existed: bool) -> None:
        # Change set and empty stack do not exist if the change set was executed or could not be created.
        missing = ("ChangeSetNotFound", "ValidationError", "InvalidChangeSetStatus")
        with self._errors("cloudformation:DeleteChangeSet", "cleaning up", expected=missing):
            self._client.delete_change_set(StackName=self.name, ChangeSetName=name)
        stack = None if existed else self._find()
        if stack and stack["StackStatus"] == "REVIEW_IN_PROGRESS":
            with self._errors("cloudformation:DeleteStack", "cleaning up"):
                self._client.delete_stack(StackName=self.name)
            self._wait(stack["StackId"])  # the next change set may follow at once

    def _wait_until_idle(self) -> dict[str, Any] | None:
        """The stack, after waiting for the operation of another or an interrupted deployment; None if there is none."""
        stack = self._find()
        if stack and _under_way(stack):
            self.say(f"{stack['StackStatus']} is under way on {self.name}; waiting for its end.")
            stack = self._wait(stack["StackId"])
        return None if stack is None or stack["StackStatus"] == "DELETE_COMPLETE" else stack

    def _wait(self, name: str) -> dict[str, Any] | None:
        deadline, pause, reported = self.clock() + self.patience, _PAUSES[0], ""
        while True:
            stack = self._find(name)
            if stack is None or not _under_way(stack):
                return stack
            if stack["StackStatus"] != reported:
                reported = stack["StackStatus"]
                self.say(f"{self.name}: {reported}")
            pause = self._pause(pause, deadline, reported)

    def _pause(self, pause: float, deadline: float, waiting_for: str) -> float:
        if self.clock() > deadline:
            raise DeploymentError(
                f"After {self.patience / 60:g} minutes {self.name} has not ended {waiting_for}.",
                remedy="CloudFormation continues without us; run again to wait for its end.",
            )
        self.sleep(pause * random.uniform(0.7, 1.3))
        return min(pause * 1.5, _PAUSES[1])

    def _find(self, name: str | None = None) -> dict[str, Any] | None:
        # A missing stack is a ValidationError, like a wrong name; names are validated before.
        with self._errors("cloudformation:DescribeStacks", "reading", expected=("ValidationError",)):
            return self._client.describe_stacks(StackName=name or self.name)["Stacks"][0]
        return None

    def _failure(self, ended: Mapping[str, Any], since: datetime, outcome: str) -> DeploymentError:
        reasons = self._reasons(ended.get("StackId", self.name), since)
        reason = "; ".join(reasons) or ended.get("StackStatusReason", "no reason given")
        return DeploymentError(
            f"The stack {self.name} {outcome} ({ended['StackStatus']}): {reason}.",
            remedy="Clear that and run again; what CloudFormation had begun was rolled back.",
        )

    def _reasons(self, stack_id: str, since: datetime) -> list[str]:
        """The resources that failed by themselves, without those that CloudFormation cancelled because of them."""
        events, begun = [], since.replace(microsecond=0)
        with self._errors("cloudformation:DescribeStackEvents", "reading the events of", expected=("ValidationError",)):
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
                events += [event for event in page["StackEvents"] if event["Timestamp"] >= begun]
                if len(events) < len(page["StackEvents"]):
                    break
        reasons = [
            _reason(event["LogicalResourceId"], event["ResourceType"], event.get("ResourceStatusReason", ""))
            for event in reversed(events)
            if event["ResourceStatus"].endswith("_FAILED") and event["ResourceType"] != "AWS::CloudFormation::Stack"
        ]
        return [reason for reason in reasons if "cancelled" not in reason] or self._validation_reasons(stack_id)

    def _validation_reasons(self, stack_id: str) -> list[str]:
        """Why CloudFormation's validation failed before any resource; the stack's own events do not say why."""
        return [_invalid(event) for event in self._validation_events(StackName=stack_id)]

    def _early_validation_error(self, events: Sequence[Mapping[str, Any]], reason: str) -> _EarlyValidationError:
        reasons = "; ".join(_invalid(event) for event in events) or reason.rstrip(".")
        return _EarlyValidationError(
            f"CloudFormation refused the changes to {self.name}: {reasons}.",
            remedy="Clear that and run again; nothing was changed.",
            types={event.get("ResourceType", "") for event in events} or {""},
            ids={event.get("LogicalResourceId", "") for event in events},
        )

    def _validation_events(self, **operation: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        with self._errors("cloudformation:DescribeEvents", "reading the events of", expected=("ValidationError",)):
            for page in self._client.get_paginator("describe_events").paginate(**operation):
                events += page["OperationEvents"]
        return [
            event
            for event in events
            if event.get("ValidationStatusReason") and event.get("ValidationFailureMode") != "WARN"
        ]

    def _errors(self, action: str, doing: str, expected: tuple[str, ...] = ()) -> Any:
        return aws_errors(
            f"{doing} the stack {self.name} in {self.aws.region}",
            action,
            expected=expected,
            remedy=f"Grant {action} to the user who deploys, or check PIPELINE_AWS_REGION.",
        )

    @cached_property
    def _client(self) -> Any:
        return self.aws.client("cloudformation")


def _under_way(stack: Mapping[str, Any]) -> bool:
    state = stack["StackStatus"]
    return state.endswith("_IN_PROGRESS") and state != "REVIEW_IN_PROGRESS"


def _parameters(stack: Mapping[str, Any]) -> dict[str, str]:
    return {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", ())}


def _change_set_parameters(parameters: Mapping[str, str | None], present: Mapping[str, str]) -> list[dict[str, Any]]:
    """Parameters in the form of a change set. Only a parameter that the stack has may use its previous value."""
    return [
        {"ParameterKey": name, "UsePreviousValue": True}
        if value is None
        else {"ParameterKey": name, "ParameterValue": value}
        for name, value in parameters.items()
        if value is not None or name in present
    ]


def _change(entry: Mapping[str, Any]) -> Change:
    replaced = entry.get("Replacement") == "True"
    return Change(entry["Action"], entry["LogicalResourceId"], entry["ResourceType"], replaced)


def _imports(changes: Sequence[Change]) -> list[Change]:
    return [change for change in changes if change.action == "Import"]


def _invalid(event: Mapping[str, Any]) -> str:
    return _reason(event.get("LogicalResourceId", ""), event.get("ResourceType", ""), event["ValidationStatusReason"])


def _reason(logical_id: str, resource_type: str, reason: str) -> str:
    return f"{logical_id} ({resource_type}): {reason.rstrip('.')}"
