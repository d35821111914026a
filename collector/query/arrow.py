"""Arrow answers: the IPC stream format, record batches of BATCH_ROWS rows.

DuckDB hands its vectors out through Arrow's C interface; nanoarrow writes them down (1.2 MB, neither numpy nor
pyarrow; DuckDB's own `arrow` extension would have to be downloaded). nanoarrow writes no dictionaries, so an ENUM
column goes out as the text it stands for.
"""

from typing import Any, BinaryIO

import duckdb
from duckdb import _seam  # the only way to batches smaller than 131,072 rows, which payloads would make 2 GB of

from collector.errors import ProtocolError
from collector.query.guard import refuse

BATCH_ROWS = 2048


def write_stream(
    connection: duckdb.DuckDBPyConnection, sql: str, max_rows: int, max_bytes: int, out: BinaryIO
) -> tuple[int, str]:
    """Writes the answer to `sql`, which has passed the guard. (rows, the limit that cut it or ""). Raises
    ProtocolError for a type that Arrow's stream cannot hold here, duckdb.Error."""
    import nanoarrow
    from nanoarrow.ipc import StreamWriter

    counted = _Counted(out)
    rows, cut_by = 0, ""
    result: Any = _seam.submit(connection, _without_enums(connection, sql), None, "stream", BATCH_ROWS)
    stream = nanoarrow.c_array_stream(result.arrow_capsule())
    try:
        with StreamWriter.from_writable(counted) as writer:
            writer.write_stream(nanoarrow.c_array_stream([], stream.get_schema()), write_schema=True)
            for batch in stream:
                room = max_rows - rows
                if counted.bytes > max_bytes:
                    cut_by = "max_result_bytes"
                elif batch.length > room:
                    cut_by, batch = "max_rows", batch[0:room]
                if batch.length and cut_by != "max_result_bytes":
                    writer.write_array(batch)
                    rows += batch.length
                if cut_by:
                    break
    except nanoarrow._utils.NanoarrowException as error:
        raise _explained(error) from error
    out.flush()
    return rows, cut_by


class _Counted:
    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.bytes = 0

    def write(self, data: Any) -> int:
        self.bytes += len(data)
        return self._out.write(data)


def _without_enums(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    described = connection.execute(f"DESCRIBE ({sql}\n)").fetchall()
    casts = [
        f'"{name.replace(chr(34), chr(34) * 2)}"'
        for name, kind, *_ in described
        if kind.startswith("ENUM(") and kind.endswith(")")
    ]
    if not casts:
        return sql
    replaced = ", ".join(f"{name}::VARCHAR AS {name}" for name in casts)
    return f"SELECT * REPLACE ({replaced}) FROM ({sql}\n)"  # noqa: S608 - passed the guard


def _explained(error: Exception) -> ProtocolError | duckdb.Error:
    text = str(error)
    for sign, kind in (("out of memory", duckdb.OutOfMemoryException), ("INTERRUPT", duckdb.InterruptException)):
        if sign.lower() in text.lower():
            return kind(text)
    if "Cannot encode" in text:
        return refuse(f"this answer has a type that an Arrow stream cannot hold here ({text.split(': ')[-1]});"
                      " cast it, or ask for parquet")  # fmt: skip
    return duckdb.Error(text)
