"""A process that runs one SELECT through connectorx, and writes each batch of rows to a file of its own.

connectorx keeps the interpreter's lock while it waits for rows, keeps what it has read without a limit until somebody
takes it, and panics on errors with values in its messages. In a process of its own none of this reaches the caller.
Imports nothing of the package, as it starts for each extract.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(request: dict[str, Any]) -> None:
    """Print the number of each batch whose file `<number>.arrow` is written, then `end`, or `error` with a message."""
    sys.modules["numpy"] = None  # type: ignore[assignment]  # pyarrow works without it, and starts in half the time
    import connectorx
    import pyarrow as pa

    try:
        rows = connectorx.read_sql(
            request["url"],
            request["query"],
            return_type="arrow_stream",
            batch_size=request["batch_rows"],
            pre_execution_query=request["before"],
        )
        for number, batch in enumerate(rows):
            path = str(Path(request["folder"]) / f"{number}.arrow")
            with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
                writer.write_batch(batch)
            print(number, flush=True)
    except BaseException as error:  # noqa: BLE001 - a panic of Rust is no Exception
        print("error", json.dumps(f"{type(error).__name__}: {error}"), flush=True)
    else:
        print("end", flush=True)


if __name__ == "__main__":
    main(json.load(sys.stdin))
