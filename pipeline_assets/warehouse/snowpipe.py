"""Loading by pipes: Snowflake's serverless compute copies the staged files, our warehouse only publishes them.

    insertFiles -> wait for insertReport -> one transaction: take the file's rows, replace, ledger, commit

A pipe commits by itself, so it fills its own table (`OPS.PIPED_…`: the staging table and `_FILE`, the file of each
row) and not a staging table, which belongs to the publishing transaction. That transaction takes the rows of its file,
compares their number with the staged rows, and deletes the rest (see `Snowpipe.fill`). Only the rows of contracts'
tables are loaded so: the platform's own tables are small, and key look-ups are rolled back, so both use COPY.
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
from pipeline_assets.contracts.names import bindable, sql_names
from pipeline_assets.errors import ConfigurationError, PipeTimeoutError, RowAccountingError, WarehouseError, one_line
from pipeline_assets.warehouse.connection import Loading
from pipeline_assets.warehouse.keys import host, load_private_key
from pipeline_assets.warehouse.transaction import Transaction

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

# Snowpipe's REST API loads exactly the files of a batch. Event notifications (AUTO_INGEST) would also load the files of
# failed batches and need a queue of Snowflake on each bucket; ALTER PIPE … REFRESH is not for regular use, in
# Snowflake's words, and is DDL. The API is two calls with a token that the driver signs, so the package
# `snowflake-ingest` is not needed. It acts as the user's default role, whatever role a session has. A report covers the
# last ten minutes, and `_POLL` is much shorter.
FILE_COLUMN = "_FILE"
ATTEMPTS = 6  # of one call, with exponential backoff and jitter: about half a minute
_POLL = (1.0, 15.0)  # seconds between two polls of the report: first and longest
_TRANSIENT_CODES = {408, 429, 500, 502, 503, 504}


def piped_table(stage: Table) -> Table:
    """The table that a pipe fills for a staging table: rows of several batches, each with its file."""
    name = f"PIPED_{stage.name.removeprefix('STAGE_')}"
    columns = (*stage.columns, (FILE_COLUMN, "VARCHAR", False, "Staged file that the row comes from."))
    return Table(stage.schema, name, f"Rows that a pipe loaded for {stage.name}.", columns)


def pipe_name(stage: Table) -> str:
    """The pipe that fills the `piped_table` of a staging table."""
    return f"{stage.schema}.LOAD_{stage.name.removeprefix('STAGE_')}"


@dataclass(frozen=True)
class Endpoint:
    """The REST API of an account; `token` makes a short-lived token for each call."""

    url: str
    token: Callable[[], str]
    timeout: float = 30


@dataclass
class Snowpipe(Loading):
    """Loads by pipes, with at most `patience` seconds for each batch."""

    endpoint: Endpoint
    patience: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[float, float], float] = random.uniform

    @classmethod
    def of(cls, settings: Settings) -> Snowpipe:
        """The pipes of the account in the settings; opens no connection."""
        default = 443 if settings.snowflake_protocol == "https" else 80
        port = "" if settings.snowflake_port == default else f":{settings.snowflake_port}"
        url = f"{settings.snowflake_protocol}://{host(settings)}{port}"
        return cls(Endpoint(url, _tokens(settings)), settings.snowflake_pipe_patience)

    def preload(self, database: str, files: Sequence[tuple[Table, str, int]]) -> None:
        """Request the load of each file and wait until it is loaded.

        Raises:
            WarehouseError: a file was loaded in part or not at all.
            RowAccountingError: a pipe loaded another number of rows than were staged.
            PipeTimeoutError: the files were not loaded within `patience`.
        """
        waiting = {f"{database}.{pipe_name(table)}": (key, rows) for table, key, rows in files if rows}
        for pipe, (key, _) in waiting.items():
            self._call(pipe, "insertFiles", {"files": [{"path": key}]})
        deadline, pause = self.clock() + self.patience, _POLL[0]
        marks: dict[str, str] = {}
        status = dict.fromkeys(waiting, "not reported")
        while waiting:
            for pipe, (key, rows) in list(waiting.items()):
                entry = self._find(pipe, key, marks)
                if entry is None:
                    continue
                status[pipe] = str(entry.get("status"))
                if _is_loaded(pipe, key, rows, entry):
                    del waiting[pipe]
            if not waiting:
                return
            remaining = deadline - self.clock()
            if remaining <= 0:
                unfinished = "; ".join(f"{pipe}: {key} {status[pipe]}" for pipe, (key, _) in waiting.items())
                raise PipeTimeoutError(
                    f"Not loaded after {self.patience:g} seconds: {unfinished}; nothing was published.",
                    remedy="Run again, or raise PIPELINE_SNOWFLAKE_PIPE_PATIENCE; SELECT SYSTEM$PIPE_STATUS('<pipe>') "
                    "says whether the pipe is paused.",
                )
            self.sleep(min(remaining, self.chance(pause / 2, pause)))
            pause = min(pause * 1.5, _POLL[1])

    def fill(self, transaction: Transaction, table: Table, stage: str, key: str) -> int:
        """Take one file's rows from the pipe's table and delete all others there.

        The others can never be published: the transaction has claimed the publication, so their run has died, or it
        planned on the same state and its claim will fail; a batch planned on our result calls its pipe only after our
        commit. Rows that a pipe loads late for a dead run stay until the next publication. File names are unique to a
        batch, so nothing is loaded twice, even if the load history is lost or the pipe is replaced.
        """
        piped, columns = piped_table(table).qualified, bindable(sql_names(name for name, *_ in table.columns))
        taken = transaction.execute(
            f"INSERT INTO {table.qualified} ({columns}) SELECT {columns} FROM {piped} WHERE {FILE_COLUMN} = %s", (key,)
        )
        transaction.execute(f"DELETE FROM {piped}")
        return taken

    def _find(self, pipe: str, key: str, marks: dict[str, str]) -> Mapping[str, Any] | None:
        """The entry of a file in the pipe's report, if there is one; `marks` holds where to continue reading."""
        mark = {"beginMark": marks[pipe]} if pipe in marks else {}
        report = self.report(pipe, mark)
        entries = [entry for entry in report.get("files", []) if entry.get("path") == key]
        if not entries and report.get("nextBeginMark"):
            marks[pipe] = report["nextBeginMark"]
        return entries[-1] if entries else None

    def report(self, pipe: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """A pipe's report on the files of the last minutes; changes nothing.

        Raises:
            ConfigurationError: the pipe does not exist, or its report may not be read.
            WarehouseError: it cannot be reached.
        """
        return self._call(pipe, "insertReport", query=query)

    def _call(
        self, pipe: str, endpoint: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """One call of the API. It may be repeated: a second insertFiles with the same file does nothing."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        parameters = urlencode({"requestId": str(uuid.uuid4()), **(query or {})})
        url = f"{self.endpoint.url}/v1/data/pipes/{quote(pipe)}/{endpoint}?{parameters}"
        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(self._send, url, body)
        except HTTPError as error:
            raise _http_error(pipe, endpoint, error.code) from None
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise WarehouseError(f"Pipe {pipe} cannot be reached: {reason}.", remedy="Run again.") from None

    def _send(self, url: str, body: object) -> Mapping[str, Any]:
        headers = {
            "Authorization": f"Bearer {self.endpoint.token()}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "pipeline_assets",
        }
        data = None if body is None else json.dumps(body).encode()
        call = request.Request(url, data=data, headers=headers)
        with request.urlopen(call, timeout=self.endpoint.timeout) as response:
            try:
                return json.loads(response.read() or b"{}")
            except ValueError:
                raise WarehouseError(
                    f"{self.endpoint.url} answers, but not as Snowflake does.",
                    remedy="Correct PIPELINE_SNOWFLAKE_HOST.",
                ) from None


def _is_loaded(pipe: str, key: str, rows: int, entry: Mapping[str, Any]) -> bool:
    status = entry.get("status")
    if status in ("LOAD_FAILED", "PARTIALLY_LOADED"):
        reason = one_line(entry.get("firstError") or entry.get("systemError") or "no reason given")
        raise WarehouseError(
            f"{pipe}: {key} is {status} with {entry.get('errorsSeen', 0)} bad rows: {reason}; nothing was published.",
            remedy="Compare the staging table with the data contract; `pipeline-assets deploy snowflake` adds columns.",
        )
    if status != "LOADED":
        return False
    if entry.get("rowsInserted") != rows:
        raise RowAccountingError(
            f"{pipe}: {rows} rows were written to {key} and {entry.get('rowsInserted')} loaded; nothing was published.",
            remedy="Run again; if it persists, inspect the staged file.",
        )
    return True


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, HTTPError):
        return error.code in _TRANSIENT_CODES
    return isinstance(error, (URLError, OSError))


def _http_error(pipe: str, endpoint: str, code: int) -> Exception:
    privilege = "OPERATE" if endpoint == "insertFiles" else "MONITOR"
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
    return WarehouseError(f"Pipe {pipe} refused {endpoint} (HTTP {code}).", remedy="The state is intact; run again.")


def _tokens(settings: Settings) -> Callable[[], str]:
    """A function that makes a token for one call, signed by the driver; it reads the key at the first call."""

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
