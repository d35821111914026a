"""May it come in: origins, rates, quotas, spikes and pressure -> Verdict.

Promise: pure but for a Clock; one check costs at most 15 µs; a refusal always names its reason and how long it lasts.
"""
