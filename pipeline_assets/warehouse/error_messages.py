"""Errors of Snowflake in our words: what is missing, and the statement that grants it.

Snowflake says "does not exist or not authorized" without saying which, and describes a failed sign-in as a database
error; the driver adds request ids and links. People get one line. The driver's message for a failed sign-in is never
passed on, as it may repeat a secret that was sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline_assets.errors import ConfigurationError, PipelineError, WarehouseError, one_line


@dataclass(frozen=True)
class SignIn:
    """Who signs in where, without secrets; `settings` is the prefix of that user's settings."""

    account: str
    host: str
    user: str
    role: str
    warehouse: str
    database: str
    settings: str = "PIPELINE_SNOWFLAKE_"


_UNREACHABLE = "{host} cannot be reached."
_DEPLOY = "`pipeline-assets deploy snowflake` creates it."
# (pattern of the message, meaning, remedy); the first match counts. `{…}` are fields of SignIn.
_SIGN_IN_ERRORS = (
    (
        r"390144|JWT token is invalid",
        # Snowflake gives the same message for a user that does not exist, so as not to reveal who does.
        "Snowflake does not accept the key of user {user}, or there is no such user in account {account}.",
        "{settings}USER must be the user's login name, {settings}PRIVATE_KEY must match its RSA_PUBLIC_KEY (DESC USER "
        "{user} shows the fingerprint; ALTER USER {user} SET RSA_PUBLIC_KEY = … changes it), and this machine's clock "
        "must be right.",
    ),
    (
        r"390100|Incorrect username",
        "Account {account} has no user {user} with that key.",
        f"Correct {{settings}}USER, or create the user: {_DEPLOY}",
    ),
    (
        r"390101|390102|user access disabled|temporarily locked",
        "User {user} is disabled or locked.",
        "ALTER USER {user} SET DISABLED = FALSE, MINS_TO_UNLOCK = 0.",
    ),
    (
        r"390420|390422|is not allowed to access Snowflake",
        "A network policy of account {account} does not let this machine in.",
        "Allow its address in the policy of the account or of user {user}.",
    ),
    (
        r"390189|\brole\b.*(does not exist|not authorized)",
        "Role {role} does not exist, or user {user} does not have it.",
        f"GRANT ROLE {{role}} TO USER {{user}}; {_DEPLOY}",
    ),
    (
        r"\bwarehouse\b.*(does not exist|not authorized)",
        "Warehouse {warehouse} does not exist, or role {role} may not use it.",
        f"GRANT USAGE ON WAREHOUSE {{warehouse}} TO ROLE {{role}}; {_DEPLOY}",
    ),
    (
        r"\bschema\b.*(does not exist|not authorized)",
        "Schema {database}.OPS does not exist, or role {role} may not use it.",
        f"GRANT USAGE ON SCHEMA {{database}}.OPS TO ROLE {{role}}; {_DEPLOY}",
    ),
    (
        r"\bdatabase '?\w*'? *(does not exist|.*not authorized)|requested database",
        "Database {database} does not exist, or role {role} may not use it.",
        f"GRANT USAGE ON DATABASE {{database}} TO ROLE {{role}}; {_DEPLOY}",
    ),
    (
        r"290404|290403|\b40[34] (Forbidden|Not Found)|HTTP 40[34]",
        "There is no Snowflake account {account} at {host}.",
        "Correct PIPELINE_SNOWFLAKE_ACCOUNT (<organization>-<account>) or PIPELINE_SNOWFLAKE_HOST.",
    ),
    (
        r"25000[1-9]|25001\d|Could not connect|refused|resolve|timed? ?out",
        _UNREACHABLE,
        "Correct PIPELINE_SNOWFLAKE_ACCOUNT or PIPELINE_SNOWFLAKE_HOST, or allow this machine to connect to it.",
    ),
)
_STATEMENT_REMEDIES = (
    (
        r"not a valid DuckDB database file|Corrupt(ed)? .*(file|block|checksum)|checksum .*does not match",
        "The warehouse file is damaged, so running again does not help: restore it from a backup, or move it away and "
        "load all that has landed by `pipeline-assets run PIPELINE --reprocess`.",
    ),
    (r"No space left on device", "The disk is full: free disk space and run again."),
    (
        r"Insufficient privileges to operate on (?P<what>[\w ]+?) '(?P<name>[^']+)'",
        "The role lacks a privilege on {what} {name}: grant it, or run `pipeline-assets deploy snowflake`.",
    ),
    (
        r"(?P<what>Role|Integration|Stage|Warehouse|Database|Schema|Pipe|Table|Object) '?(?P<name>[\w.\"]+)'? does not "
        r"exist,? or not authorized",
        "If {name} exists, the role may not use it: grant it, or run `pipeline-assets deploy snowflake`.",
    ),
    (
        r"No active warehouse",
        "GRANT USAGE ON WAREHOUSE … TO ROLE …, and correct PIPELINE_SNOWFLAKE_WAREHOUSE.",
    ),
    (
        r"already been suspended|quota .*exceeded|exceeded its quota",
        "The month's credits are used up: raise PIPELINE_SNOWFLAKE_MONTHLY_CREDITS and run "
        "`pipeline-assets deploy snowflake`.",
    ),
)


def sign_in_error(error: Exception, who: SignIn) -> PipelineError:
    """The error for a failed sign-in, with its remedy; nothing has been started."""
    message = one_line(error)
    for pattern, meaning, remedy in _SIGN_IN_ERRORS:
        if re.search(pattern, message, re.IGNORECASE):
            # A retry may clear a network error.
            kind = WarehouseError if meaning == _UNREACHABLE else ConfigurationError
            return kind(meaning.format(**vars(who)), remedy=remedy.format(**vars(who)))
    number = getattr(error, "errno", None)
    return WarehouseError(
        f"{who.host} does not let user {who.user} in{f' (error {number})' if number else ''}.",
        remedy="`pipeline-assets doctor` tries the connection alone.",
    )


def remedy_for(error: Exception) -> str:
    """The remedy for a failed statement or connection; an empty text if none is known."""
    message = one_line(error)
    for pattern, remedy in _STATEMENT_REMEDIES:
        if match := re.search(pattern, message, re.IGNORECASE):
            names = match.groupdict()
            return remedy.format(**names | {"what": names.get("what", "").lower()})
    return ""
