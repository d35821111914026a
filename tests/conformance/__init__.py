"""Conformance: black-box cases of the protocol, run against the real command. Start it with scripts/conformance."""
