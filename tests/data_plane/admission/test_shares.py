"""What each principal has had."""

from data_plane.admission.shares import MOST_KNOWN, Shares


def test_whoever_is_new_comes_in_with_what_those_have_had_that_wait() -> None:
    shares = Shares()
    shares.charge("busy", 500.0)
    shares.waits("busy")
    shares.waits("new")
    assert shares.had("new") == 500.0


def test_nobody_saves_up_while_it_asks_for_nothing() -> None:
    shares = Shares()
    shares.charge("idle", 10.0)
    shares.charge("busy", 500.0)
    shares.waits("busy")
    shares.served("busy")
    shares.waits_no_more("busy")
    shares.waits("idle")
    assert shares.had("idle") == 500.0


def test_who_has_had_more_than_others_keeps_that() -> None:
    shares = Shares()
    shares.charge("hog", 900.0)
    shares.charge("busy", 500.0)
    shares.waits("busy")
    shares.waits("hog")
    assert shares.had("hog") == 900.0


def test_what_was_not_had_after_all_is_given_back() -> None:
    shares = Shares()
    shares.charge("one", 300.0)
    shares.charge("one", -300.0)
    assert shares.had("one") == 0.0
    shares.charge("one", -300.0)
    assert shares.had("one") == 0.0


def test_a_flood_of_principals_is_forgotten_but_for_those_that_wait() -> None:
    shares = Shares()
    shares.charge("waiting", 5_000.0)
    shares.waits("waiting")
    for number in range(3 * MOST_KNOWN):
        shares.charge(f"once-{number}", 10.0)
    assert len(shares._had) <= MOST_KNOWN
    assert shares.had("waiting") == 5_000.0
