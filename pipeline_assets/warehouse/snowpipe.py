"""Loading by pipes: Snowflake's own machines copy the staged files, our warehouse only merges.

    insertFiles -> wait for insertReport -> one transaction: take the file's rows, merge, ledger, commit

A pipe commits by itself, so it must not fill the staging tables, which belong to the publishing transaction. It fills a
table of its own (`OPS.PIPED_…`: the staging table and `_FILE`, the file of each row), where batches lie side by side.
The transaction takes the rows of its own file, counts them against what was staged, and empties the rest. That is safe:
its first statement has claimed the publication, so whoever else has rows there died, or planned on the same state and
will fail its claim; a batch planned on our result asks its pipe only after our commit. Rows that a dead run's pipe
brings late lie there, seen by nobody, until the next publication. What was published is for the ledger to say: file
names are unique to a batch, so neither a load history that forgets nor a pipe made anew loads anything twice.

How the pipe is told: by Snowpipe's REST API, which names exactly our files. Event notifications (AUTO_INGEST) would
also load the files of batches that died, and need a queue of Snowflake's on each bucket; ALTER PIPE … REFRESH is, in
Snowflake's words, no regular use, and is DDL. The API is two calls with a token that the driver already signs, so the
`snowflake-ingest` package would add a dependency for less than this file. It acts as the user's default role, whatever
role a session has. Reports reach back ten minutes; we ask more often than that.

Only the rows of tables come this way: what the platform remembers of a batch is small, and its key look-ups are rolled
back, so both stay with COPY.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.errors import ConfigurationError, PipeTimeoutError, RowAccountingError, WarehouseError
from pipeline_assets.warehouse.connection import Loading, Transaction
from pipeline_assets.warehouse.keys import host, load_private_key

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

FILE_COLUMN = "_FILE"
ATTEMPTS = 6  # of one call, with jittered exponential waits between them: about half a minute
_POLL = (1.0, 15.0)  # seconds between two looks at the report, growing
_TRY_AGAIN = {408, 429, 500, 502, 503, 504}


def piped_table(stage: Table) -> Table:
    """Where a pipe puts what goes to a staging table: the rows of several batches, each with its file."""
    name = f"PIPED_{stage.name.removeprefix('STAGE_')}"
    columns = (*stage.columns, (FILE_COLUMN, "VARCHAR", False, "Staged file that the row comes from."))
    return Table(stage.schema, name, f"Rows that a pipe brought for {stage.name}.", columns)


def pipe_name(stage: Table) -> str:
    """The pipe that fills it."""
    return f"{stage.schema}.LOAD_{stage.name.removeprefix('STAGE_')}"


@dataclass(frozen=True)
class Endpoint:
    """Where pipes are told and asked; `token` makes a short-lived one for each call."""

    url: str
    token: Callable[[], str]
    timeout: float = 30


@dataclass
class Snowpipe(Loading):
    """Loads by pipes. `patience` is in seconds; time and chance come in from outside."""

    endpoint: Endpoint
    patience: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[float, float], float] = random.uniform

    @classmethod
    def of(cls, settings: Settings) -> Snowpipe:
        """Pipes of the account in the settings; nothing is opened yet."""
        default = 443 if settings.snowflake_protocol == "https" else 80
        port = "" if settings.snowflake_port == default else f":{settings.snowflake_port}"
        url = f"{settings.snowflake_protocol}://{host(settings)}{port}"
        return cls(Endpoint(url, _tokens(settings)), settings.snowflake_pipe_patience)

    def ahead(self, database: str, files: Sequence[tuple[Table, str, int]]) -> None:
        """Have the pipes load the files, and wait until each has said how that went.

        Raises:
            WarehouseError: a file was loaded in part or not at all.
            RowAccountingError: a pipe loaded another number of rows than were staged.
            PipeTimeoutError: the patience ran out first.
        """
        waiting = {f"{database}.{pipe_name(table)}": (key, rows) for table, key, rows in files if rows}
        for pipe, (key, _) in waiting.items():
            self._call(pipe, "insertFiles", {"files": [{"path": key}]})
        deadline, pause = self.clock() + self.patience, _POLL[0]
        marks: dict[str, str] = {}
        last = dict.fromkeys(waiting, "not seen")
        while waiting:
            for pipe, (key, rows) in list(waiting.items()):
                found = self._look(pipe, key, marks)
                if found is None:
                    continue
                last[pipe] = str(found.get("status"))
                if _is_loaded(pipe, key, rows, found):
                    del waiting[pipe]
            if not waiting:
                return
            left = deadline - self.clock()
            if left <= 0:
                unfinished = "; ".join(f"{pipe}: {key} {last[pipe]}" for pipe, (key, _) in waiting.items())
                raise PipeTimeoutError(
                    f"No end after {self.patience:g} seconds of {unfinished}; nothing was published.",
                    remedy="Run again, or raise PIPELINE_SNOWFLAKE_PIPE_PATIENCE; SELECT SYSTEM$PIPE_STATUS('<pipe>') "
                    "says whether the pipe is paused.",
                )
            self.sleep(min(left, self.chance(pause / 2, pause)))
            pause = min(pause * 1.5, _POLL[1])

    def fill(self, transaction: Transaction, table: Table, stage: str, key: str) -> int:
        """Take one file's rows; whatever else lies in the pipe's table can never be published any more."""
        piped, columns = piped_table(table).qualified, ", ".join(name for name, *_ in table.columns)
        taken = transaction.execute(
            f"INSERT INTO {table.qualified} ({columns}) SELECT {columns} FROM {piped} WHERE {FILE_COLUMN} = %s", (key,)
        )
        transaction.execute(f"DELETE FROM {piped}")
        return taken

    def _look(self, pipe: str, key: str, marks: dict[str, str]) -> Mapping[str, Any] | None:
        """What the pipe's report says of a file, if anything; `marks` say from where to go on reading."""
        mark = {"beginMark": marks[pipe]} if pipe in marks else {}
        report = self.report(pipe, mark)
        found = [entry for entry in report.get("files", []) if entry.get("path") == key]
        if not found and report.get("nextBeginMark"):
            marks[pipe] = report["nextBeginMark"]
        return found[-1] if found else None

    def report(self, pipe: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """What a pipe says of the files that it was told of lately; changes nothing.

        Raises:
            ConfigurationError: there is no such pipe, or its report may not be read.
            WarehouseError: it cannot be reached.
        """
        return self._call(pipe, "insertReport", query=query)

    def _call(
        self, pipe: str, what: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """One call of the API. Telling a pipe of a file again does nothing, so any call may be repeated."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        parameters = urlencode({"requestId": str(uuid.uuid4()), **(query or {})})
        url = f"{self.endpoint.url}/v1/data/pipes/{quote(pipe)}/{what}?{parameters}"
        retrying = Retrying(
            retry=retry_if_exception(_may_clear),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(self._send, url, body)
        except HTTPError as error:
            raise _refused(pipe, what, error.code) from None
        except (URLError, OSError) as error:
            said = getattr(error, "reason", None) or type(error).__name__
            raise WarehouseError(f"Pipe {pipe} cannot be reached: {said}.", remedy="Run again.") from None

    def _send(self, url: str, body: object) -> Mapping[str, Any]:
        headers = {
            "Authorization": f"Bearer {self.endpoint.token()}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "pipeline_assets",
        }
        data = None if body is None else json.dumps(body).encode()
        asked = request.Request(url, data=data, headers=headers)
        with request.urlopen(asked, timeout=self.endpoint.timeout) as answer:
            try:
                return json.loads(answer.read() or b"{}")
            except ValueError:
                raise WarehouseError(
                    f"{self.endpoint.url} answers, but not as Snowflake does.",
                    remedy="Correct PIPELINE_SNOWFLAKE_HOST.",
                ) from None


def _is_loaded(pipe: str, key: str, rows: int, found: Mapping[str, Any]) -> bool:
    status = found.get("status")
    if status in ("LOAD_FAILED", "PARTIALLY_LOADED"):
        said = " ".join(str(found.get("firstError") or found.get("systemError") or "no reason given").split())
        raise WarehouseError(
            f"{pipe}: {key} is {status} with {found.get('errorsSeen', 0)} bad rows: {said}; nothing was published.",
            remedy="Compare the staging table with the data contract; `pipeline-assets deploy snowflake` adds columns.",
        )
    if status != "LOADED":
        return False
    if found.get("rowsInserted") != rows:
        raise RowAccountingError(
            f"{pipe}: {rows} rows were written to {key} and {found.get('rowsInserted')} loaded; nothing was published.",
            remedy="Run again; if it persists, look at the staged file.",
        )
    return True


def _may_clear(error: BaseException) -> bool:
    if isinstance(error, HTTPError):
        return error.code in _TRY_AGAIN
    return isinstance(error, (URLError, OSError))


def _refused(pipe: str, what: str, code: int) -> Exception:
    privilege = "OPERATE" if what == "insertFiles" else "MONITOR"
    if code in (401, 403):
        return ConfigurationError(
            f"Snowflake does not let us use pipe {pipe} (HTTP {code}).",
            remedy=f"GRANT {privilege} ON PIPE {pipe} to the default role of the user (`pipeline-assets deploy "
            "snowflake` does); its key must be the right one.",
        )
    if code == 404:
        return ConfigurationError(
            f"There is no pipe {pipe}, or the user's default role may not use it.",
            remedy="Run `pipeline-assets deploy snowflake` with PIPELINE_SNOWFLAKE_LOAD=snowpipe.",
        )
    return WarehouseError(f"Pipe {pipe} refused {what} (HTTP {code}).", remedy="The state is intact; run again.")


def _tokens(settings: Settings) -> Callable[[], str]:
    """Makes tokens for one call each, signed as the driver signs its own; the key is read with the first one."""

    @cache
    def key() -> Any:
        if not settings.snowflake_private_key:
            raise ConfigurationError("Snowflake is not configured: PIPELINE_SNOWFLAKE_PRIVATE_KEY missing.")
        return load_private_key(settings.snowflake_private_key, settings.snowflake_private_key_password)

    def token() -> str:
        from snowflake.connector.auth import AuthByKeyPair

        account, user = str(settings.snowflake_account), str(settings.snowflake_user)
        return AuthByKeyPair(key()).prepare(account=account, user=user)

    return token
