"""The client's address behind proxies: X-Forwarded-For is believed only as far as trusted proxies wrote it."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from collector.errors import ConfigError

Network = IPv4Network | IPv6Network
MAX_HOPS = 20  # own choice: longer chains are not looked at


class Proxies:
    """The trusted networks. Raises ConfigError for an entry that is neither address nor network."""

    def __init__(self, entries: Sequence[str]) -> None:
        mistakes: list[str] = []
        self.networks: list[Network] = []
        for entry in entries:
            try:
                self.networks.append(ip_network(entry, strict=False))
            except ValueError:
                mistakes.append(f"ingest.trusted_proxies: {entry!r} is neither an address nor a network")
        if mistakes:
            raise ConfigError(mistakes)
        self.trusts = lru_cache(maxsize=1024)(self._trusts)

    def _trusts(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self.networks)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address with or without port and brackets; a v4-mapped one as IPv4; None when it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def client_address(peer: str, forwarded: Sequence[bytes], proxies: Proxies) -> str:
    """The right-most address that no trusted proxy owns; `peer` when it is not trusted itself, or nothing is usable."""
    if not forwarded or not proxies.networks or not proxies.trusts(peer):
        return peer
    hops = b",".join(forwarded).decode("latin-1").split(",")[-MAX_HOPS:]
    found = peer
    for hop in reversed(hops):
        parsed = parse_address(hop)
        if parsed is None:
            break
        found = str(parsed)
        if not proxies.trusts(found):
            break
    return found
