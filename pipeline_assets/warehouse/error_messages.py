"""What Snowflake's refusals mean: the thing that is missing, and the statement that would grant it.

Snowflake says "does not exist or not authorized" for both, and wraps what it says at sign-in into a sentence about
databases; the driver adds request ids and links. People get one line. A message is never passed on from sign-in, as it
may repeat what was sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline_assets.errors import ConfigurationError, PipelineError, WarehouseError


@dataclass(frozen=True)
class SignIn:
    """Who signs in where, as far as it may be shown; `settings` is how the settings of that user begin."""

    account: str
    host: str
    user: str
    role: str
    warehouse: str
    database: str
    settings: str = "PIPELINE_SNOWFLAKE_"


_UNREACHABLE = "{host} cannot be reached."
_DEPLOY = "`pipeline-assets deploy snowflake` makes it."
# (what Snowflake or the driver says, what that means, the remedy), the first that matches; `{…}` are those of SignIn.
_AT_SIGN_IN = (
    (
        r"390144|JWT token is invalid",
        # Of a user that does not exist Snowflake says the same: it does not tell strangers who exists.
        "Snowflake does not accept the key of user {user}, or there is no such user in account {account}.",
        "{settings}USER must be the user's login name, {settings}PRIVATE_KEY belong to its RSA_PUBLIC_KEY (DESC USER "
        "{user} shows the fingerprint; ALTER USER {user} SET RSA_PUBLIC_KEY = … changes it), and this machine's clock "
        "be right.",
    ),
    (
        r"390100|Incorrect username",
        "Snowflake knows no user {user} with that key in account {account}.",
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
        "Correct PIPELINE_SNOWFLAKE_ACCOUNT or PIPELINE_SNOWFLAKE_HOST, or let this machine out to it.",
    ),
)
_BY_A_STATEMENT = (
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


def refused_sign_in(error: Exception, who: SignIn) -> PipelineError:
    """Why Snowflake did not let us in, in our words; nothing has been started."""
    said = " ".join(str(error).split())
    for pattern, means, remedy in _AT_SIGN_IN:
        if re.search(pattern, said, re.IGNORECASE):
            kind = WarehouseError if means == _UNREACHABLE else ConfigurationError  # a network comes back by itself
            return kind(means.format(**vars(who)), remedy=remedy.format(**vars(who)))
    number = getattr(error, "errno", None)
    return WarehouseError(
        f"{who.host} does not let user {who.user} in{f' (error {number})' if number else ''}.",
        remedy="`pipeline-assets doctor` tries the connection alone.",
    )


def remedy_for(error: Exception) -> str:
    """What would clear a statement's refusal, if it is for want of a privilege; else nothing."""
    said = " ".join(str(error).split())
    for pattern, remedy in _BY_A_STATEMENT:
        if found := re.search(pattern, said, re.IGNORECASE):
            named = found.groupdict()
            return remedy.format(**named | {"what": named.get("what", "").lower()})
    return ""
