"""CloudFormation through change sets: what would change, doing it, waiting for its end, saying why it failed.

Knows nothing of what is in a stack. Waiting is bounded and jittered; CloudFormation goes on without us, so whoever is
interrupted runs again and waits for what is under way. The surprising state is REVIEW_IN_PROGRESS: a change set that
would create a stack makes an empty one to hang on, which has to go again when the change set is not executed.
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

_PAUSES = (0.2, 10.0)  # seconds: first and longest pause between two looks
_WITHOUT_CHANGES = ("didn't contain changes", "No updates are to be performed")
# States of a stack that a change set cannot get out of.
_DEAD_AT_BIRTH = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"}
_STUCK = {"UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"}
_BUCKET = "AWS::S3::Bucket"  # of what a template here may make, the one type that is taken over
_SETTLED_WELL = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}


class _RefusedEarlyError(DeploymentError):
    """CloudFormation looked before it planned, and found fault with resources: `ids`, `of` types."""

    def __init__(self, message: str, *, remedy: str, of: set[str], ids: set[str]) -> None:
        super().__init__(message, remedy=remedy)
        self.of, self.ids = of, ids


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
    """One stack by its name. `patience` is in seconds, for one wait."""

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
        """Bring the stack to `template`; returns what changed, or would.

        A parameter that is None keeps the value that the stack has, and is left to its default where it has none.
        `before_import` hears of what would be taken over, and may refuse.

        Raises:
            ConfigurationError: a permission is missing, or the stack is in a state that a person has to end.
            DeploymentError: a resource could not be made, and CloudFormation rolled back.
        """
        found = self._ready(dry_run)
        exists = found is not None and found["StackStatus"] != "REVIEW_IN_PROGRESS"
        sent = _sent(parameters, _parameters(found) if found and exists else {})
        taken: _RefusedEarlyError | None = None
        try:
            with self._planned(template, sent, exists, validated=True) as (name, changes):
                if not _imports(changes):
                    if changes and not dry_run:
                        self._execute(name)
                    return changes
        except _RefusedEarlyError as error:
            if error.of - {_BUCKET}:
                raise
            taken = error
        # The check for names that are taken does not leave out those that are taken over.
        with self._planned(template, sent, exists, validated=False) as (name, changes):
            imports = _imports(changes)
            if taken and not taken.ids <= {change.logical_id for change in imports}:
                raise taken
            before_import(imports)
            if not dry_run:
                self._execute(name)
        return changes

    def outputs(self) -> dict[str, str]:
        """What the stack says of itself."""
        found = self._find() or {}
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())}

    def arn(self, service: str) -> str:
        """How ARNs of a service begin where the stack is; without an account as long as it is not there."""
        parts = (self._find() or {}).get("StackId", f"arn:aws:cloudformation:{self.aws.region}:").split(":")
        return ":".join([*parts[:2], service, *parts[3:5]])

    def parameters(self) -> dict[str, str]:
        """What the stack was given."""
        return _parameters(self._find() or {})

    def delete(self) -> bool:
        """Delete the stack and wait; False when there is none. Resources with a policy to be retained stay."""
        found = self._settled()
        if found is None:
            return False
        since = datetime.now(UTC)
        with self._asking("cloudformation:DeleteStack", "deleting"):
            self._client.delete_stack(StackName=found["StackId"])
        ended = self._wait(found["StackId"])
        if ended is not None and ended["StackStatus"] != "DELETE_COMPLETE":
            raise self._failure(ended, since, "was not deleted")
        return True

    def _ready(self, dry_run: bool) -> dict[str, Any] | None:
        """The stack in a state that takes a change set, or None when there is none."""
        found = self._settled()
        if found is None:
            return None
        state = found["StackStatus"]
        if state in _STUCK:
            raise ConfigurationError(
                f"The stack {self.name} is in {state}: {found.get('StackStatusReason', 'no reason given')}.",
                remedy="Clear what its events name, then continue the rollback (or the deletion) in CloudFormation.",
            )
        if state in _DEAD_AT_BIRTH:
            # Such a stack never worked and takes nothing but its deletion.
            self.say(f"The first deployment of {self.name} failed earlier ({state}); its remains are deleted.")
            if dry_run:
                raise ConfigurationError(
                    f"The remains of a failed first deployment are in the way of a dry run ({state}).",
                    remedy="Deploy without --dry-run, which deletes them first, or --delete.",
                )
            self.delete()
            return None
        return found

    @contextmanager
    def _planned(
        self, template: str, parameters: Sequence[Mapping[str, Any]], exists: bool, *, validated: bool
    ) -> Iterator[tuple[str, list[Change]]]:
        """A change set that is gone afterwards, and the empty stack that hangs on it too; its name and its changes."""
        name = f"deploy-{datetime.now(UTC):%Y%m%dT%H%M%S}-{random.randrange(16**6):06x}"
        try:
            with self._asking("cloudformation:CreateChangeSet", "planning"):
                self._client.create_change_set(
                    StackName=self.name,
                    ChangeSetName=name,
                    ChangeSetType="UPDATE" if exists else "CREATE",
                    TemplateBody=template,
                    Parameters=parameters,
                    Capabilities=["CAPABILITY_IAM"],
                    # Buckets that outlived an earlier stack are taken over, with all they hold.
                    ImportExistingResources=True,
                    DisableValidation=not validated,
                )
            yield name, self._changes(name)
        except BaseException:
            # What went wrong is what people need to hear of, not that cleaning up after it went wrong too.
            with suppress(PipelineError):
                self._discard(name, exists)
            raise
        self._discard(name, exists)

    def _changes(self, name: str) -> list[Change]:
        deadline, pause = self.clock() + self.patience, _PAUSES[0]
        while True:
            answer = self._described(name)
            state, reason = answer["Status"], answer.get("StatusReason", "")
            if state == "CREATE_COMPLETE":
                break
            if state == "FAILED":
                if any(text in reason for text in _WITHOUT_CHANGES):
                    return []
                if "EarlyValidation" in reason:
                    # The reason names the check only; asked for once the change set is gone, nothing is known of it.
                    raise self._refused_early(self._validation_events(ChangeSetName=name, StackName=self.name), reason)
                raise DeploymentError(f"CloudFormation refused the changes to {self.name}: {reason}")
            pause = self._pause(pause, deadline, f"planning the changes ({state})")
        found = list(answer["Changes"])
        while answer.get("NextToken"):
            answer = self._described(name, NextToken=answer["NextToken"])
            found += answer["Changes"]
        return [_change(entry["ResourceChange"]) for entry in found if "ResourceChange" in entry]

    def _described(self, name: str, **more: str) -> dict[str, Any]:
        with self._asking("cloudformation:DescribeChangeSet", "planning"):
            return self._client.describe_change_set(StackName=self.name, ChangeSetName=name, **more)

    def _execute(self, name: str) -> None:
        since = datetime.now(UTC)
        with self._asking("cloudformation:ExecuteChangeSet", "changing"):
            self._client.execute_change_set(StackName=self.name, ChangeSetName=name)
        ended = self._wait(self.name)
        if ended is None or ended["StackStatus"] not in _SETTLED_WELL:
            raise self._failure(ended or {"StackStatus": "DELETE_COMPLETE"}, since, "could not be deployed")

    def _discard(self, name: str, existed: bool) -> None:
        # Neither is there any more when the change set was executed, or could not be made.
        gone = ("ChangeSetNotFound", "ValidationError", "InvalidChangeSetStatus")
        with self._asking("cloudformation:DeleteChangeSet", "cleaning up", expected=gone):
            self._client.delete_change_set(StackName=self.name, ChangeSetName=name)
        found = None if existed else self._find()
        if found and found["StackStatus"] == "REVIEW_IN_PROGRESS":
            with self._asking("cloudformation:DeleteStack", "cleaning up"):
                self._client.delete_stack(StackName=self.name)
            self._wait(found["StackId"])  # the next plan may follow at once

    def _settled(self) -> dict[str, Any] | None:
        """The stack once nothing is under way: another deployment, or one that was interrupted, is waited for."""
        found = self._find()
        if found and _under_way(found):
            self.say(f"{found['StackStatus']} is under way on {self.name}; waiting for its end.")
            found = self._wait(found["StackId"])
        return None if found is None or found["StackStatus"] == "DELETE_COMPLETE" else found

    def _wait(self, name: str) -> dict[str, Any] | None:
        deadline, pause, told = self.clock() + self.patience, _PAUSES[0], ""
        while True:
            found = self._find(name)
            if found is None or not _under_way(found):
                return found
            if found["StackStatus"] != told:
                told = found["StackStatus"]
                self.say(f"{self.name}: {told}")
            pause = self._pause(pause, deadline, told)

    def _pause(self, pause: float, deadline: float, waiting_for: str) -> float:
        if self.clock() > deadline:
            raise DeploymentError(
                f"After {self.patience / 60:g} minutes {self.name} has not ended {waiting_for}.",
                remedy="CloudFormation goes on without us; run again to wait for its end.",
            )
        self.sleep(pause * random.uniform(0.7, 1.3))
        return min(pause * 1.5, _PAUSES[1])

    def _find(self, name: str | None = None) -> dict[str, Any] | None:
        # That there is no such stack is a ValidationError, like a wrong name; names are checked before.
        with self._asking("cloudformation:DescribeStacks", "looking at", expected=("ValidationError",)):
            return self._client.describe_stacks(StackName=name or self.name)["Stacks"][0]
        return None

    def _failure(self, ended: Mapping[str, Any], since: datetime, what: str) -> DeploymentError:
        reasons = self._reasons(ended.get("StackId", self.name), since)
        said = "; ".join(reasons) or ended.get("StackStatusReason", "no reason given")
        return DeploymentError(
            f"The stack {self.name} {what} ({ended['StackStatus']}): {said}.",
            remedy="Clear that and run again; what CloudFormation had begun was rolled back.",
        )

    def _reasons(self, stack_id: str, since: datetime) -> list[str]:
        """Which resources failed by themselves; those that CloudFormation gave up because of them say nothing."""
        found, begun = [], since.replace(microsecond=0)
        with self._asking("cloudformation:DescribeStackEvents", "asking why", expected=("ValidationError",)):
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
                found += [event for event in page["StackEvents"] if event["Timestamp"] >= begun]
                if len(found) < len(page["StackEvents"]):
                    break
        reasons = [
            _reason(event["LogicalResourceId"], event["ResourceType"], event.get("ResourceStatusReason", ""))
            for event in reversed(found)
            if event["ResourceStatus"].endswith("_FAILED") and event["ResourceType"] != "AWS::CloudFormation::Stack"
        ]
        return [reason for reason in reasons if "cancelled" not in reason] or self._refused_before(stack_id)

    def _refused_before(self, stack_id: str) -> list[str]:
        """What CloudFormation found wrong before it touched a resource; the events of the stack only point there."""
        return [_invalid(event) for event in self._validation_events(StackName=stack_id)]

    def _refused_early(self, events: Sequence[Mapping[str, Any]], reason: str) -> _RefusedEarlyError:
        said = "; ".join(_invalid(event) for event in events) or reason.rstrip(".")
        return _RefusedEarlyError(
            f"CloudFormation refused the changes to {self.name}: {said}.",
            remedy="Clear that and run again; nothing was changed.",
            of={event.get("ResourceType", "") for event in events} or {""},
            ids={event.get("LogicalResourceId", "") for event in events},
        )

    def _validation_events(self, **where: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        with self._asking("cloudformation:DescribeEvents", "asking why", expected=("ValidationError",)):
            for page in self._client.get_paginator("describe_events").paginate(**where):
                events += page["OperationEvents"]
        return [
            event
            for event in events
            if event.get("ValidationStatusReason") and event.get("ValidationFailureMode") != "WARN"
        ]

    def _asking(self, action: str, doing: str, expected: tuple[str, ...] = ()) -> Any:
        return aws_errors(
            f"{doing} the stack {self.name} in {self.aws.region}",
            action,
            expected=expected,
            remedy=f"Grant {action} to whoever deploys, or check PIPELINE_AWS_REGION.",
        )

    @cached_property
    def _client(self) -> Any:
        return self.aws.client("cloudformation")


def _under_way(found: Mapping[str, Any]) -> bool:
    state = found["StackStatus"]
    return state.endswith("_IN_PROGRESS") and state != "REVIEW_IN_PROGRESS"


def _parameters(found: Mapping[str, Any]) -> dict[str, str]:
    return {entry["ParameterKey"]: entry["ParameterValue"] for entry in found.get("Parameters", ())}


def _sent(parameters: Mapping[str, str | None], had: Mapping[str, str]) -> list[dict[str, Any]]:
    """Parameters as a change set takes them. A previous value may be asked for only where there is one."""
    return [
        {"ParameterKey": name, "UsePreviousValue": True}
        if value is None
        else {"ParameterKey": name, "ParameterValue": value}
        for name, value in parameters.items()
        if value is not None or name in had
    ]


def _change(entry: Mapping[str, Any]) -> Change:
    replaced = entry.get("Replacement") == "True"
    return Change(entry["Action"], entry["LogicalResourceId"], entry["ResourceType"], replaced)


def _imports(changes: Sequence[Change]) -> list[Change]:
    return [change for change in changes if change.action == "Import"]


def _invalid(event: Mapping[str, Any]) -> str:
    return _reason(event.get("LogicalResourceId", ""), event.get("ResourceType", ""), event["ValidationStatusReason"])


def _reason(logical_id: str, resource_type: str, said: str) -> str:
    return f"{logical_id} ({resource_type}): {said.rstrip('.')}"
