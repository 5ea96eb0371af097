"""The errors that people see. Each says what happened and what to do about it.

`transient` decides about retries: a permanent error forbids them, a transient one may clear on a retry. Messages are
shown, logged and stored, so none may contain a secret.
"""

from __future__ import annotations

import re


class PipelineError(Exception):
    """The base of all errors of the platform: a message and a remedy."""

    transient = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class ConfigurationError(PipelineError):
    """A setting or an argument is wrong; nothing was started (exit code 2)."""


class ArchivedObjectError(ConfigurationError):
    """An object is in an archive storage class and must be restored before it can be read."""

    def __init__(self, doing: str) -> None:
        super().__init__(
            f"Failed {doing}: it is archived (InvalidObjectState).",
            remedy="Restore it (`aws s3api restore-object`, hours in Glacier) and run again, or move it away.",
        )


class ContractError(ConfigurationError):
    """A data contract cannot be read, or requires something that the platform does not support."""


class RejectedObjectError(PipelineError):
    """A landed object as a whole violates its contract; `code` is one of the quarantine reason codes.

    `rows` is the number of its records, 0 if they cannot be counted.
    """

    def __init__(self, message: str, *, code: str, remedy: str = "", rows: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.rows = rows


class InterruptedRunError(PipelineError):
    """Somebody stopped the run with Ctrl-C or SIGTERM; its transaction was rolled back."""


class ObjectChangedError(PipelineError):
    """An object was overwritten between listing and reading it; the next listing shows the new version."""

    transient = True

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri} was overwritten while it was read.", remedy="The next run takes it again.")
        self.uri = uri


class LakeError(PipelineError):
    """A request to the object store failed."""

    transient = True


class PermanentLakeError(LakeError):
    """A request to the object store failed, and a retry would fail too."""

    transient = False


class SourceError(PipelineError):
    """A database or an API that a pipeline extracts from failed; nothing of the extract landed."""

    transient = True


class EngineError(PipelineError):
    """The engine ran out of memory or disk; nothing was published."""


class WarehouseError(PipelineError):
    """A statement failed in the warehouse; its transaction was rolled back."""


class WarehouseBusyError(WarehouseError):
    """Another process kept the embedded warehouse locked for longer than PIPELINE_WAREHOUSE_PATIENCE."""

    transient = True


class PipeTimeoutError(WarehouseError):
    """A pipe did not load the files of a batch in time; nothing was published."""

    transient = True


class PublicationConflictError(WarehouseError):
    """Another run published for the same pipeline first; a new run plans over its result."""

    transient = True


class RowAccountingError(WarehouseError):
    """Rows read, loaded, superseded and quarantined do not add up; nothing was published."""


class LostRowsError(RowAccountingError):
    """A SELECT yields fewer or more rows than it had records; nothing was published."""


class FailedTablesError(PipelineError):
    """Some tables of a run failed, each with a line in the message; the others are published."""


class TransientFailedTablesError(FailedTablesError):
    """The same, and at least one of them may succeed on a retry."""

    transient = True


class DeploymentError(PipelineError):
    """A deployment failed; it was rolled back or continues without us, as the message says."""


def one_line(text: object) -> str:
    """A text, or the message of an error, with single blanks in place of line ends and other white space."""
    return " ".join(str(text).split())


def masked(text: str) -> str:
    """A text without what may be secret in its URLs: user and password, and all after a question mark or number sign.

    A password may contain an unescaped @, so everything up to the last @ is masked. An @ behind a question mark may
    belong to the password or to a token, so all of that URL is masked.
    """
    text = re.sub(r"(?<=://)[^\s?#]*[?#]\S*@\S*", "********", text)
    text = re.sub(r"(?<=://)\S*@", "********@", text)
    return re.sub(r"(://[^\s?#]*[?#])\S+", r"\1********", text)
