"""query: the read side. Documented views, ad-hoc SQL in a locked-down process (command, shell, HTTP), named queries for
pages, one event or issue by any name.

Promises
- A view's columns, their types and meanings are documented data (collector.query.views) and only ever grow.
- Ad-hoc SQL reads and nothing else: own process, read-only files, no files of the machine, no network, no settings;
  it stops at its time, memory and row limits with a sentence, and nothing else notices.
- What was committed before the query began is in its answer.
- A segment outside the time that is asked for is not opened; one that cannot hold an id is not looked into.
- Asking costs neither acknowledgements nor digest: lowest priority, no lock, nothing of it in the front's process.
"""
