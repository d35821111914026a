"""query: the read side. Documented views, ad-hoc SQL in a locked-down process, named queries for pages.

Promises
- A view's columns, their types and meanings are documented data (collector.query.views) and only ever grow.
- Ad-hoc SQL reads and nothing else: own process, read-only files, no files of the machine, no network, no settings;
  it stops at its time, memory and row limits with a sentence, and nothing else notices.
- What was committed before the query began is in its answer.
"""
