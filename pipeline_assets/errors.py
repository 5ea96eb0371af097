"""The errors people see. Each says what happened and what to do about it.

`transient` tells the retry policies apart: a permanent error forbids a retry, a transient one says that
retrying may clear it. Nothing here may carry a secret: messages are shown, logged and stored.
"""


class PipelineError(Exception):
    """Something a person has to know, with the remedy beside it."""

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
    """An object lies in a storage class that is not read until somebody has it restored."""

    def __init__(self, doing: str) -> None:
        super().__init__(
            f"Failed {doing}: it is archived (InvalidObjectState).",
            remedy="Restore it (`aws s3api restore-object`, hours in Glacier) and run again, or move it away.",
        )


class ContractError(ConfigurationError):
    """A data contract cannot be read or asks for something the platform cannot keep."""


class RejectedObjectError(PipelineError):
    """A landed object as a whole breaks its contract; `code` is one of the quarantine reason codes."""

    def __init__(self, message: str, *, code: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class InterruptedRunError(PipelineError):
    """Somebody stopped the run with Ctrl-C or SIGTERM; its transaction was rolled back."""


class ObjectChangedError(PipelineError):
    """An object was overwritten between listing and reading it; the next listing shows the new version."""

    transient = True

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri} was overwritten while it was read.", remedy="The next run takes it again.")
        self.uri = uri


class LakeError(PipelineError):
    """The object store refused or lost a request."""

    transient = True


class EngineError(PipelineError):
    """The engine could not go on, for want of memory or disk; nothing was published."""


class WarehouseError(PipelineError):
    """The warehouse refused a statement; its transaction was rolled back."""


class WarehouseBusyError(WarehouseError):
    """Another process kept the embedded warehouse locked for longer than the configured patience."""

    transient = True


class PipeTimeoutError(WarehouseError):
    """A pipe did not load the files of a batch in time; nothing was published."""

    transient = True


class PublicationConflictError(WarehouseError):
    """Another run published for the same pipeline first; planning again over its result clears this."""

    transient = True


class RowAccountingError(WarehouseError):
    """Rows read, loaded, superseded and quarantined do not add up; nothing was published."""


class LostRowsError(RowAccountingError):
    """A SELECT yields fewer or more rows than the records that it was given; nothing was published."""


class DeploymentError(PipelineError):
    """What `deploy` wanted could not be made; it was rolled back or goes on without us, as the message says."""
