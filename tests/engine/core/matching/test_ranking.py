"""Ranking: eligibility, order, and how a round of many jobs shares drivers."""

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.matching.ranking import (
    OFFER_DEPTH,
    RANKING_DEPTH,
    Matcher,
    Ranking,
    offerable,
)
from mallard_engine.core.model import Asked, Driver, Need, Waiting
from mallard_engine.core.pickup.store_tour import Call, best_tour
from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_protocol.lifecycle import NOT_ASKED_AGAIN, Outcome
from tests.engine.core.makers import (
    HOUR_MS,
    MALL,
    NOW_MS,
    POLICY,
    REFUSES_ALL,
    TRAVEL,
    driver,
    matcher,
    near,
    need,
    turn,
    vehicle,
    waiting,
)


def names(ranking: Ranking) -> list[str]:
    return [candidate.driver for candidate in ranking]


def why_not(who: Driver, what: Need, *asked: Asked) -> str | None:
    (candidate,) = matcher(near(who)).rank(what, asked)
    assert candidate.eligible == (candidate.why_not is None)
    assert (candidate.cost_s is None) == (not candidate.eligible)
    return candidate.why_not


@pytest.mark.parametrize(
    ("what", "carries", "expected"),
    [
        (need(weight_g=1_000), vehicle(max_weight_g=1_000), None),
        (need(weight_g=1_001), vehicle(max_weight_g=1_000), "too_heavy"),
        (need(volume_l=5.0), vehicle(max_volume_l=5.0), None),
        (need(volume_l=5.1), vehicle(max_volume_l=5.0), "too_big"),
        (need(requires=("cool_box",)), vehicle(), "lacks_equipment"),
        (need(requires=("cool_box",)), vehicle(equipment=("cool_box", "trolley")), None),
        (
            need(requires=("cool_box", "trolley")),
            vehicle(equipment=("trolley",)),
            "lacks_equipment",
        ),
        # A check at the door requires no equipment.
        (need(requires=("id_check",)), vehicle(), None),
        (need(requires=("id_check", "cool_box")), vehicle(), "lacks_equipment"),
    ],
)
def test_vehicle_must_fit(what: Need, carries: object, expected: str | None) -> None:
    assert why_not(driver("d", vehicle=carries), what) == expected


def test_block_must_leave_time_for_the_drop_off() -> None:
    (candidate,) = matcher(near("d")).rank(need())
    ends_ms = candidate.eta_dropoff_ms
    assert why_not(driver("d", until_ms=ends_ms), need()) is None
    assert why_not(driver("d", until_ms=ends_ms - 1), need()) == "block_ends_too_soon"


def test_block_margin_is_kept() -> None:
    (candidate,) = matcher(near("d")).rank(need())
    policy = replace(POLICY, block_margin_s=600.0)
    for early_ms, eligible in ((600_000, True), (599_999, False)):
        who = driver("d", until_ms=candidate.eta_dropoff_ms + early_ms)
        (found,) = Matcher(MALL, [near(who)], NOW_MS, policy, TRAVEL).rank(need())
        assert found.eligible is eligible


def test_waiting_for_the_parcel_counts_towards_the_block() -> None:
    late = need(ready_ms=NOW_MS + HOUR_MS)
    assert why_not(driver("d", until_ms=NOW_MS + HOUR_MS), late) == "block_ends_too_soon"


@pytest.mark.parametrize("outcome", sorted(NOT_ASKED_AGAIN))
def test_driver_who_gave_a_job_up_is_never_asked_again(outcome: Outcome) -> None:
    assert why_not(driver("d"), need(), turn("d", outcome, ago_ms=24 * HOUR_MS)) == "asked_before"


@pytest.mark.parametrize("outcome", [Outcome.WITHDRAWN, Outcome.ACCEPTED])
def test_driver_who_did_not_decline_may_be_asked_again(outcome: Outcome) -> None:
    assert why_not(driver("d"), need(), turn("d", outcome)) is None


def test_unacknowledged_driver_may_be_asked_after_a_minute() -> None:
    assert why_not(driver("d"), need(), turn("d", "unacknowledged", 59_999)) == "asked_before"
    assert why_not(driver("d"), need(), turn("d", "unacknowledged", 60_000)) is None


def test_one_drivers_decline_bars_no_other() -> None:
    ranking = matcher(near("a"), near("b")).rank(need(), (turn("a", "declined"),))
    assert [(c.driver, c.why_not) for c in ranking] == [("b", None), ("a", "asked_before")]


def test_travel_goes_to_the_gate_with_the_shorter_walk() -> None:
    lego = MALL.gates[MALL.stores["lego"].gate]
    macys = MALL.gates[MALL.stores["macys"].gate]
    assert lego != macys
    best = best_tour(
        MALL.walks, [lego.id, macys.id], [Call("lego", 0, 0), Call("macys", 0, 0)], NOW_MS
    )
    for stores, gate in (
        (("lego",), lego),
        (("macys",), macys),
        (("lego", "macys"), MALL.gates[best.gate]),
        (("macys", "lego"), MALL.gates[best.gate]),
    ):
        who = near("d")
        (candidate,) = matcher(who).rank(need(stores=stores))
        way_s = TRAVEL.seconds(who.position.lat, who.position.lon, gate.lat, gate.lon, NOW_MS)
        assert candidate.gate == gate.id
        assert candidate.eta_s == round(way_s)
        assert candidate.terms[0] == ("travel", way_s)


def test_times_add_up_from_travel_to_drop_off() -> None:
    policy = MarketPolicy(store_dwell_s=100, dropoff_dwell_s=50)
    stores = ("lego", "macys")
    (candidate,) = matcher(near("d"), policy=policy).rank(need(stores=stores))
    gate = MALL.gates[candidate.gate]
    way_s = candidate.terms[0].seconds
    calls = [Call(store, 0, 100_000) for store in stores]
    tour = best_tour(MALL.walks, [MALL.stores[store].gate for store in stores], calls, NOW_MS)
    haul_s = TRAVEL.seconds(gate.lat, gate.lon, need().lat, need().lon, NOW_MS) + 50
    haul_s += tour.back_ms / 1000
    assert candidate.eta_pickup_ms == NOW_MS + int(way_s * 1000 + tour.collect_ms)
    assert candidate.eta_dropoff_ms == candidate.eta_pickup_ms + int(haul_s * 1000)


def test_single_store_is_walked_to_and_back() -> None:
    policy = MarketPolicy(store_dwell_s=100, dropoff_dwell_s=50)
    (candidate,) = matcher(near("d"), policy=policy).rank(need(stores=("lego",)))
    gate, walk_s = MALL.gates[candidate.gate], MALL.stores["lego"].walk_s
    way_s = candidate.terms[0].seconds
    haul_s = TRAVEL.seconds(gate.lat, gate.lon, need().lat, need().lon, NOW_MS) + 50
    assert candidate.eta_pickup_ms == NOW_MS + int((way_s + walk_s + 100) * 1000)
    assert candidate.eta_dropoff_ms == candidate.eta_pickup_ms + int((walk_s + haul_s) * 1000)


def test_late_store_is_collected_last() -> None:
    policy = MarketPolicy(store_dwell_s=60)
    late_ms = NOW_MS + 2 * HOUR_MS
    for ready_ms in ((NOW_MS, late_ms), (late_ms, NOW_MS)):
        asked = need(stores=("lego", "macys"), ready_ms=late_ms, store_ready_ms=ready_ms)
        (candidate,) = matcher(near("d"), policy=policy).rank(asked)
        # The late store is visited last, so nothing is left to do after it.
        assert candidate.eta_pickup_ms == late_ms


def test_driver_whose_own_tour_ends_after_expiry_is_too_late() -> None:
    """The far store is late only for the near driver, who therefore visits it last."""
    stores, ready_ms = ("pandora", "build-a-bear-workshop"), NOW_MS + 600_000
    asked = need(stores=stores, ready_ms=ready_ms, store_ready_ms=(ready_ms, NOW_MS))
    drivers = (near("first"), near("later", 8_000.0))
    last = matcher(*drivers).rank(asked)[1]
    own = matcher(drivers[1]).rank(asked)[0]
    assert own.eta_pickup_ms > last.eta_pickup_ms
    for expires_ms, why_not in (
        (own.eta_pickup_ms - 1_000, "too_late_for_pickup"),
        (own.eta_pickup_ms, None),
    ):
        first, later = matcher(*drivers).rank(replace(asked, expires_ms=expires_ms))
        assert (first.driver, first.eligible) == ("first", True)
        assert (later.driver, later.why_not) == ("later", why_not)


def test_pickup_is_not_before_the_parcel_is_ready() -> None:
    ready_ms = NOW_MS + 2 * HOUR_MS
    (candidate,) = matcher(near("d")).rank(need(ready_ms=ready_ms))
    assert candidate.eta_pickup_ms == ready_ms


def test_cost_is_the_sum_of_its_weighted_terms() -> None:
    weights = CostWeights(
        idle=0.5, idle_limit_s=100, recent_decline_s=7, slack=2, slack_s=10 * 3600, acceptance=1
    )
    who = driver("d", free_since_ms=NOW_MS - 60_000, declines=3, declines_ms=NOW_MS)
    (candidate,) = matcher(near(who), policy=MarketPolicy(weights=weights)).rank(need())
    terms = {term.name: term.seconds for term in candidate.terms}
    slack_s = (need().deadline_ms - candidate.eta_dropoff_ms) / 1000
    assert list(terms) == ["travel", "idle", "declines", "acceptance", "slack"]
    assert terms["idle"] == -30
    assert terms["declines"] == 21
    assert terms["slack"] == pytest.approx(2 * (36_000 - slack_s))
    assert candidate.cost_s == pytest.approx(sum(terms.values()))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (near("a", 1_000), near("b", 2_000)),
        (near(driver("a", free_since_ms=NOW_MS - HOUR_MS), 1_200), near("b", 1_000)),
        (near("a", 1_200), near(driver("b", declines=2, declines_ms=NOW_MS), 1_000)),
        (near("a", 1_050), near(driver("b", history=REFUSES_ALL), 1_000)),
    ],
    ids=["nearer", "longer without a job", "fewer declines", "refuses less"],
)
def test_cheaper_driver_comes_first(better: object, worse: object) -> None:
    assert names(matcher(worse, better).rank(need())) == ["a", "b"]  # type: ignore[arg-type]


def test_ineligible_drivers_come_last_with_reasons() -> None:
    weak = vehicle(max_weight_g=10)
    ranking = matcher(
        near(driver("far", vehicle=weak), 3_000),
        near(driver("close", vehicle=weak), 100),
        near("fits", 9_000),
    ).rank(need())
    assert names(ranking) == ["fits", "close", "far"]
    assert [c.why_not for c in ranking] == [None, "too_heavy", "too_heavy"]
    assert [c.distance_m for c in ranking] == [9_000, 100, 3_000]


def test_ranking_and_offer_are_bounded() -> None:
    crowd = [near(f"d{i:03}", 100 + 10 * i) for i in range(RANKING_DEPTH + 50)]
    ranking = matcher(*reversed(crowd)).rank(need())
    assert names(ranking) == [f"d{i:03}" for i in range(RANKING_DEPTH)]
    assert names(offerable(ranking)) == names(ranking)[:OFFER_DEPTH]


def test_offer_has_eligible_drivers_only() -> None:
    ranking = matcher(near("a"), near(driver("b", vehicle=vehicle(max_weight_g=1)))).rank(need())
    assert names(offerable(ranking)) == ["a"]
    assert offerable(()) == ()


def test_unknown_store_raises_for_its_job_only() -> None:
    matching = matcher(near("a"), near("b"))
    with pytest.raises(KeyError):
        matching.plan(waiting("bad", need=need(stores=("no-such-store",))))
    assert names(matching.plan(waiting("good"))) == ["a", "b"]


def test_round_asks_each_driver_once_before_any_twice() -> None:
    matching = matcher(near("a", 1_000), near("b", 2_000), near("c", 3_000))
    firsts = [matching.plan(waiting(f"job{i}"))[0].driver for i in range(4)]
    assert firsts == ["a", "b", "c", "a"]


def test_reserved_drivers_rank_between_free_and_ineligible() -> None:
    weak = driver("weak", vehicle=vehicle(max_weight_g=10))
    matching = matcher(near("a", 1_000), near("b", 2_000), near(weak, 10))
    matching.plan(waiting("first"))
    assert names(matching.plan(waiting("second"))) == ["b", "a", "weak"]


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[Driver], list[int], list[Waiting]]:
    """A few drivers, some weak, at random distances, and a few jobs, some heavy, some asked."""
    fleet = [
        driver(f"d{i}", vehicle=vehicle(max_weight_g=draw(st.sampled_from([500, 5_000]))))
        for i in range(draw(st.integers(0, 5)))
    ]
    away_m = [draw(st.integers(10, 20_000)) for _ in fleet]
    jobs = []
    for i in range(draw(st.integers(1, 5))):
        barred = draw(st.sets(st.sampled_from([who.id for who in fleet]))) if fleet else set()
        what = need(weight_g=draw(st.sampled_from([100, 1_000])))
        asked = tuple(turn(who, "declined") for who in sorted(barred))
        jobs.append(waiting(f"job{i}", need=what, asked=asked))
    return fleet, away_m, jobs


@given(rounds())
def test_plan_spreads_first_choices_in_queue_order(
    case: tuple[list[Driver], list[int], list[Waiting]],
) -> None:
    """By brute force over all ways to serve the jobs: each in its order gets the cheapest driver
    who fits and is not yet spoken for, the first of all the cheapest there is."""
    fleet, away_m, jobs = case
    nearby = [near(who, m) for who, m in zip(fleet, away_m, strict=True)]
    matching = matcher(*nearby)
    plans = [matching.plan(job) for job in jobs]

    costs = [
        {
            c.driver: c.cost_s
            for c in matcher(*nearby).rank(job.need, job.asked)
            if c.cost_s is not None
        }
        for job in jobs
    ]
    given: list[str] = []
    for cost, plan in zip(costs, plans, strict=True):
        assert {c.driver for c in plan} == {who.id for who in fleet}
        assert {c.driver for c in plan if c.eligible} == set(cost)
        free = {who: c for who, c in cost.items() if who not in given}
        first = plan[0].driver if cost else None
        if free:
            assert cost[str(first)] == min(free.values())
            given.append(str(first))
        elif cost:
            assert cost[str(first)] == min(cost.values())
    assert len(set(given)) == len(given)

    # Serving in queue order serves at least half as many jobs as the best assignment.
    ids = [who.id for who in fleet] + ["none"] * len(jobs)
    best = max(
        sum(who in cost for who, cost in zip(way, costs, strict=True))
        for way in set(permutations(ids, len(jobs)))
    )
    assert 2 * len(given) >= best


@given(rounds())
def test_ranking_has_every_driver_once_in_order(
    case: tuple[list[Driver], list[int], list[Waiting]],
) -> None:
    fleet, away_m, jobs = case
    nearby = [near(who, m) for who, m in zip(fleet, away_m, strict=True)]
    for job in jobs:
        ranking = matcher(*nearby).rank(job.need, job.asked)
        assert sorted(names(ranking)) == sorted(who.id for who in fleet)
        eligible = [c.cost_s for c in ranking if c.cost_s is not None]
        assert eligible == sorted(eligible)
        assert [c.eligible for c in ranking] == sorted((c.eligible for c in ranking), reverse=True)


def test_unreachable_time_follows_the_policy() -> None:
    policy = MarketPolicy(unreachable_s=5)
    asked = (turn("d", "unacknowledged", 5_000),)
    assert matcher(near("d"), policy=policy).rank(need(), asked)[0].eligible
    assert not matcher(near("d"), policy=POLICY).rank(need(), asked)[0].eligible


@pytest.mark.parametrize("seed", range(20))
def test_pruned_ranking_equals_the_full_ranking(seed: int) -> None:
    drawn = Random(seed)
    crowd = [
        near(
            driver(
                f"d{i:02}",
                vehicle=vehicle(max_weight_g=drawn.choice([500, 5_000, 5_000])),
                free_since_ms=NOW_MS - drawn.randrange(HOUR_MS),
                declines=drawn.choice([0.0, 0.0, 2.0]),
                declines_ms=NOW_MS - drawn.randrange(HOUR_MS),
            ),
            drawn.randrange(10, 20_000),
        )
        for i in range(drawn.choice([5, RANKING_DEPTH, 80]))
    ]
    crowd.sort(key=lambda it: it.distance_m)
    matching = matcher(*crowd)
    spoken_for: set[str] = set()
    for number in range(10):
        # Some jobs are late with every driver, at a different cost each.
        what = need(weight_g=1_000, deadline_ms=NOW_MS + drawn.randrange(2 * HOUR_MS))
        alone = [matcher(it).rank(what)[0] for it in crowd]
        expected = sorted(
            alone,
            key=lambda it: (
                not it.eligible,
                it.eligible and it.driver in spoken_for,
                it.distance_m if it.cost_s is None else it.cost_s,
            ),
        )[:RANKING_DEPTH]
        assert list(matching.plan(waiting(f"job{number}", need=what))) == expected
        spoken_for.add(expected[0].driver)
