"""Second line of defence for ad-hoc SQL: one statement, and only reading in it.

The first line is the locked-down instance of collector.query.sandbox. This one walks DuckDB's own parse tree
(`json_serialize_sql`): 2.0 counts `WITH x AS (COPY … TO 'file') SELECT …` as a SELECT, only the tree shows the COPY.
"""

import json
from typing import Any

import duckdb

from collector.errors import ProtocolError
from collector.query.job import MAX_SQL_CHARS, REASON

QUERY_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
TABLE_FUNCTIONS = {
    "range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row", "regexp_split_to_table",
    "summary", "duckdb_columns", "duckdb_views", "duckdb_functions", "duckdb_keywords", "duckdb_types",
    "pragma_table_info",
}  # fmt: skip
# They tell where files lie and what is set; DuckDB's own views read the refused table functions.
PATH_TELLERS = {"duckdb_databases", "duckdb_settings", "duckdb_logs", "pragma_database_list", "pg_settings"}
SETTING_FUNCTIONS = {"current_setting", "write_log"}


def refuse(sentence: str) -> ProtocolError:
    """The answer to a statement that is not run."""
    return ProtocolError(400, sentence, REASON)


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises ProtocolError unless `sql` is exactly one reading statement."""
    if len(sql) > MAX_SQL_CHARS:
        raise refuse(f"the statement has {len(sql)} characters; at most {MAX_SQL_CHARS} are read")
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise refuse(f"write exactly one statement; these are {len(statements)}")
    try:
        kind = statements[0].type.name
    except ValueError:  # a kind that this DuckDB's own enum does not know (UPDATE EXTENSIONS)
        kind = "another kind"
    if kind != "SELECT":
        raise refuse(f"only SELECT statements are run here; this is {kind}")
    try:
        tree = json.loads(connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0][0])
    except RecursionError:
        raise refuse("the statement is nested too deeply") from None
    if tree.get("error"):
        raise refuse(f"this form of statement is not run here: {tree.get('error_message')}")
    _walk(tree["statements"])


def _walk(start: Any) -> None:
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            _look(node)
            waiting.extend(node.values())


def _look(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in QUERY_NODES and "cte_map" in node:
        raise refuse(f"only reading is done here; a part of the statement is {kind.removesuffix('_QUERY_NODE')}")
    if isinstance(kind, str) and kind.endswith("_QUERY_NODE"):
        raise refuse(f"only reading is done here; a part of the statement is {kind.removesuffix('_QUERY_NODE')}")
    if kind == "TABLE_FUNCTION":
        function = node.get("function") or {}
        name = str(function.get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise refuse(f"the table function {name!r} is not available here")
    if kind == "BASE_TABLE" and str(node.get("table_name", "")).lower() in PATH_TELLERS:
        raise refuse(f"the table {node['table_name']!r} is not available here")
    if kind == "FUNCTION" and str(node.get("function_name", "")).lower() in SETTING_FUNCTIONS:
        raise refuse(f"the function {node['function_name']!r} is not available here")
