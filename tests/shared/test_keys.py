"""Keys in Redis: one prefix, no two alike, lifetimes that make sense together."""

from shared import keys


def test_every_key_bears_the_prefix_and_is_its_own() -> None:
    names = [
        keys.SNAPSHOT, keys.HINTS, keys.INSTANCES, keys.LATENCIES, keys.SWEEP_FINISHED_AT,
        keys.STALE_INVENTORY,
        keys.REDBEAT_PREFIX, keys.report("a"), keys.claim("a"),
    ]  # fmt: skip
    assert all(name.startswith(keys.PREFIX) for name in names)
    assert len(set(names)) == len(names)


def test_a_silent_instance_stays_visible_longer_than_its_report() -> None:
    assert keys.INSTANCE_FORGET_S > keys.REPORT_TTL_S
