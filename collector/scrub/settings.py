"""The settings of a project's scrubbing."""

from typing import Annotated, Any, Literal

from collector.model.settings import Help, Secret, Settings


class ScrubSettings(Settings):
    """What is taken out of events before they are stored; without any setting, Sentry's default scrubbing."""

    scrub_data: Annotated[bool, Help("false switches sensitive keys, cards and the like off")] = True
    scrub_defaults: Annotated[bool, Help("false keeps only `sensitive_fields` of the default scrubbing")] = True
    preset: Annotated[
        Literal["sentry", "strict"],
        Help("strict adds e-mail, Luhn-checked cards, pwd, ssn, access_key, complete IPv6, user paths, tags"),
    ] = "sentry"
    sensitive_fields: Annotated[list[str], Help("more words that make a key sensitive")] = []
    safe_fields: Annotated[list[str], Help('keys or selectors that are left alone: "order_id", "extra.url"')] = []
    scrub_ip_addresses: Annotated[bool, Help("remove IP addresses, and do not take them from the sender")] = False
    rules: Annotated[dict[str, dict[str, Any]], Help("advanced rules by name: {type, redaction, ...}")] = {}
    vars: Annotated[dict[str, Secret], Help("hash_key: the key of the methods hash and pseudonymise")] = {}
    applications: Annotated[dict[str, list[str]], Help('selectors and their rules: "$user.email" = ["@hash"]')] = {}
    attachments: Annotated[bool, Help("scrub text attachments too, line by line")] = False
