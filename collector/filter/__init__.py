"""Inbound filters: which events, sessions, spans and logs a project does not want.

Promise: pure. `Filters(settings).match(event, client_ip)` gives the reason of the first filter that matches, in the
order generic rules, csp, client IP, release, error message, localhost, browser extensions, legacy browsers, web
crawlers, transactions, or None. It never raises on any JSON value; what is wrong in the settings is a ValueError at
construction. All patterns run in a linear-time engine. Source: reference page on the protocol, section D.
"""
