"""Each script follows the project's rules, and its header matches the typed calls."""

import asyncio
import re
from importlib import resources

import pytest

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.model import Device, Job, RoundRecord, Vehicle
from mallard_engine.core.operator_calls import OperatorCall
from mallard_engine.core.order_change import OrderChange
from mallard_engine.core.policy.override import PolicyOverride
from mallard_engine.core.vehicles import DriverClaims, DriverProfile, StatedVehicle
from mallard_engine.core.webhooks.endpoints import Disabled
from mallard_engine.ports import (
    ConfirmedOrder,
    DriverFix,
    DueEntry,
    DueKind,
    JobQuery,
    JobRef,
    LateJob,
    Look,
    NodeReport,
    OwnDriver,
    Refused,
    Stop,
    Storage,
)
from mallard_engine.storage.archive_queue import ArchiveLag, ArchiveQueue
from mallard_engine.storage.audit.mending import Mending
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.keys import place_of
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.storage.scripts import Script, all_scripts, script_files, script_when_full
from mallard_protocol.lifecycle import (
    BEFORE_PICKUP,
    NOT_ASKED_AGAIN,
    NOT_ASKED_FOR_A_WHILE,
    TERMINAL,
    JobState,
    Outcome,
    ShopState,
    Step,
    Wish,
)
from mallard_protocol.messages import Proof
from tests.engine.storage.script_calls import declared_arguments
from tests.engine.storage.transfers import begin_transfer
from tests.engine.storage.webhook_endpoints import endpoint
from tests.engine.storage.worlds import (
    HOUR_MS,
    LAT,
    LON,
    MALL,
    MARKET,
    NODE,
    TRANSITION_KEYS,
    World,
)

SCRIPTS = all_scripts()
# Without `allow-oom` a full server refuses a script: only these may be refused.
REFUSED_WHEN_FULL = {"hello", "submit"}
READ_ONLY = {
    "webhook_read",
    "around",
    "candidates",
    "look",
    "registered",
    "waiting_jobs",
    "waiting_malls",
    "waiting_that_fit",
    "wanted_jobs",
}
# One call for all markets of a server.
OF_A_SERVER = {"look"}
MOST_LINES = 120
# For the type checker: the storage implements its port.
KEEPS_ITS_PORT: type[Storage] = RedisStorage


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_script_has_the_expected_flags(script: Script) -> None:
    expected = {"no-writes"} if script.name in READ_ONLY else {"allow-oom"}
    expected |= {"allow-cross-slot-keys"} if script.name in OF_A_SERVER else set()
    assert script.flags == (set() if script.name in REFUSED_WHEN_FULL else expected)


@pytest.mark.finding("B6")
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_full_store_refuses_only_new_work(script: Script, redis_url: str) -> None:
    """Runs against a full server: wrong arguments raise some error, which must not be `OOM`."""
    link = Link(redis_url)
    await link.connect()
    await link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        codes = {}
        for each in (script, *([script_when_full(script.name)] if not script.flags else [])):
            with pytest.raises(LinkReplyError) as caught:
                await each.run(link, ["{m}:k"], ["", b"\xc1", b"\xc1"])
            codes[each.sha] = caught.value.code
        assert ("OOM" in codes.values()) == (script.name in REFUSED_WHEN_FULL)
        assert list(codes.values()).count("OOM") <= 1
    finally:
        await link.call("CONFIG", "SET", "maxmemory", 0)
        await link.close()


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_header_declares_all_keys_and_arguments(script: Script) -> None:
    source = script.source.decode()
    body = re.sub(r"^--.*$", "", source, flags=re.MULTILINE)
    declared = declared_arguments(script.args)
    assert set(re.findall(r"\barg\.(\w+)", body)) == declared.required | declared.optional
    assert max(map(int, re.findall(r"\bKEYS\[(\d+)\]", body)), default=0) <= len(script.keys)
    assert max(map(int, re.findall(r"\bARGV\[(\d+)\]", body))) <= (
        len(declared.before) + 1 + len(declared.blobs)
    )
    assert script.replies


@pytest.mark.parametrize(
    ("script", "name", "table"),
    [
        ("accept", "TERMINAL", TERMINAL),
        ("pack", "TERMINAL", TERMINAL),
        ("accept", "BEFORE_PICKUP", BEFORE_PICKUP),
        ("offer", "FOREVER", NOT_ASKED_AGAIN),
        ("offer", "LONGEST_BARS_MS", NOT_ASKED_FOR_A_WHILE),
    ],
)
def test_lifecycle_tables_in_lua_equal_the_contract(
    script: str, name: str, table: frozenset[str]
) -> None:
    """Lua cannot import the tables, so the scripts contain copies."""
    found = re.search(
        rf"^local {name} = \{{(.*?)\}}", SCRIPTS[script].source.decode(), re.MULTILINE | re.DOTALL
    )
    assert found
    assert set(re.findall(r"(\w+) = (?:true|policy)", found[1])) == {str(each) for each in table}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_header_declares_all_verdicts(script: Script) -> None:
    written = set(re.findall(r"reply\('(\w+)'", script.source.decode()))
    declared = {
        verdict
        for alternative in " | ".join(script.replies).split(" | ")
        for verdict in alternative.split()[:1]
    }
    assert written <= declared


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_keys_of_a_transition_start_with_the_markets_keys(script: Script) -> None:
    if b"lib/base" in script.source or "policy" in declared_arguments(script.args).before:
        names = tuple(key.rpartition(":")[2] for key in TRANSITION_KEYS)
        assert script.keys[: len(names)] == names


def test_lua_files_are_short_and_start_with_a_shebang() -> None:
    library = resources.files("mallard_engine.storage") / "lua" / "lib"
    scripts = list(script_files().values())
    for file in [*scripts, *library.iterdir()]:
        lines = file.read_text().splitlines()
        assert len(lines) <= MOST_LINES, file.name
        for line in lines:
            assert len(line) <= (120 if line.startswith("--") else 100), (file.name, line)
        if file in scripts:
            assert re.match(r"#!lua( flags=[a-z,-]+)?$", lines[0]), file.name


async def test_every_script_has_a_typed_call(  # noqa: PLR0915 - one call a script
    world: World,
) -> None:
    """Make every call of the storage once; the link checks each against its script's header."""
    store = world.store
    await store.drivers.hello(MARKET, "bob", node=NODE, vehicle=Vehicle(max_jobs=2), fix=None)
    await world.driver("ann")
    await store.drivers.record_positions(MARKET, [DriverFix("ann", world.now + 1, LAT, LON, 5.0)])
    await asyncio.gather(
        store.drivers.seen(MARKET, "ann"),
        store.drivers.push_state(MARKET, "ann", "bad_field"),
        store.drivers.alive(MARKET, "ann"),
    )
    await store.drivers.status(MARKET, "ann", Wish.AVAILABLE, world.now + 10_000_000)
    await store.drivers.suspend(MARKET, "ann", "complaint")
    await store.drivers.resume(MARKET, "ann")
    claims = DriverClaims(alias="Ann", vehicle=StatedVehicle(kind="van"))
    await store.drivers.set_claims(MARKET, "ann", 1, claims)
    profile = DriverProfile(alias="A", vehicle=StatedVehicle(max_jobs=2), qualifications=("id",))
    await store.register.put(MARKET, "ann", profile, suspended=False, actor="operator")
    await store.register.read(MARKET, "ann")
    await store.register.aliases(MARKET, "toys", {"ann": "x", "bob": "y"})
    await store.revocations.revoke("shop", "orders", "")
    await store.policies.put(MARKET, PolicyOverride(preset="express", actor="operator"), 0)
    await store.audit_log.note(
        OperatorCall("call_1", world.now, "operator", "pauseMarket", "POST", "/v1")
    )
    for paused in (True, False):
        await store.controls.set_pause(
            MARKET, MALL, "", paused=paused, actor="operator", reason="flood"
        )
    await store.drivers.near(MARKET, LAT, LON, 1_000, 10)
    await store.drivers.set_device(MARKET, "ann", 1, Device("fcm", "wake-me"))

    ref, offer = await world.offered()
    queued = JobQuery(states=frozenset({"queued"}))
    await store.jobs.page(MARKET, queued, service=None, limit=1, cursor=None)
    await store.offers.record_round(MARKET, RoundRecord(ref.job, 1, world.now, 1_000, False))
    assert await store.offers.last_round(ref.job)
    await store.offers.candidates(
        MARKET, MALL, LAT, LON, radius_m=500, max_radius_m=5_000, drivers=4, jobs=4
    )
    await world.redis.zadd(world.keys.wait(MALL), {place_of("toys", 0, 1, "job_phoenix.x", ""): 0})
    await store.offers.waiting_that_fit(MARKET, MALL, [Vehicle()], "-", "+")
    await asyncio.gather(
        store.offers.queue_of(MARKET, 10), store.jobs.waiting(MARKET, [f"m{n}" for n in range(40)])
    )
    await store.offers.free_around(
        MARKET, [(LAT, LON)], radius_m=500, max_radius_m=5_000, drivers=4, most=8
    )
    await store.offers.ack(MARKET, "ann", offer)
    await store.deadlines.lapse(await world.entry(ref))
    await store.offers.withdraw(ref, offer, "operator")
    await store.deadlines.retry_later(ref, 1, world.now + 5_000)
    offer = await world.offer(ref, "ann")
    await store.offers.decline(MARKET, "ann", offer, "too far")
    await store.jobs.assign(ref, "ann", "operator")
    await store.jobs.release(ref, 3, Outcome.UNASSIGNED, "operator", "mistake")
    await store.jobs.assign(ref, "ann", "operator")
    await store.deadlines.silence(await world.entry(ref))
    await store.jobs.update_etas(MARKET, "ann", [Stop(ref.job, 4, world.now + 1, world.now + 2)])
    await store.jobs.arrive(ref, "ann", 4)
    job = await world.job(ref)
    await store.jobs.ready(
        ref, was=job, body=b"{}", card=job.card, need=job.need, release_ms=world.now, actor="toys"
    )
    await store.changes.change(ref, await world.job(ref), _order_change(job), actor="toys")
    await store.jobs.progress(
        ref,
        "ann",
        job.attempt,
        Step.PICKED_UP,
        at_ms=world.now,
        proof=Proof("code", "1"),
        reason="",
    )
    await store.jobs.problem(
        MARKET, "ann", kind="not_ready", mall=MALL, job=ref.job, store="lego",
        until_ms=world.now + 1, text="",
    )  # fmt: skip
    await store.shops.pickups(MARKET, MALL, "lego", since_ms=0, limit=10, cursor=None)
    await store.shops.set_hours(MARKET, MALL, "lego", world.now + 1, "store/lego")
    await store.shops.apply_hours(ref, "lego", "store/lego")
    await _transferred(world, ref)
    await _undeliverable(world, ref, job.attempt)
    await store.jobs.close(ref, JobState.RETURNED, "operator", "")
    await store.jobs.shop_says(await world.submit(), "lego", ShopState.SHORT, "lego", 1)
    accepted, offer = await world.offered("bob") if await world.driver("bob") else (ref, "")
    await store.offers.accept(MARKET, "bob", offer)
    with pytest.raises(Refused):
        await store.shops.hand_over(accepted, "lego", "wrong", None, "store/lego")
    await store.jobs.cancel(accepted, "toys", "")
    cancelled = await world.job(accepted)
    await store.changes.erase(cancelled, body=b"{}", need=job.need, ref="cust", actor="toys")
    await store.deadlines.expire(await world.submit(), "nobody_in_reach", 0)
    await store.dead_letters.bury(await world.submit(), 0, 5, "KeyError")
    (letter,) = await store.dead_letters.list(MARKET)
    await store.dead_letters.retry(MARKET, letter.id, "operator")
    (alert, *_) = await store.alerts.list(MARKET, "open")
    await store.alerts.acknowledge(MARKET, alert, "operator")
    await store.alerts.forget(MARKET)
    await _scheduled(world)
    await store.deadlines.due(MARKET, 10)
    await store.deadlines.driver_due(MARKET, "ann")
    await store.deadlines.look_at_risk(ref.job)
    await store.deadlines.offer_more(
        DueEntry("more/m/job_phoenix.x", DueKind.MORE, "job_phoenix.x", mall="m")
    )
    await store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    late = LateJob(MALL, ref.job, "ann", 1, world.now)
    await store.offers.reassign(late, world.plan(ref, 1, "bob"))
    with pytest.raises(Refused):
        await store.jobs.claim(MARKET, "ann", "job_phoenix.x", 1, "picked_up", at_ms=1)
    await store.drivers.take_back(MARKET, NODE, [OwnDriver("ann", 1, Wish.PAUSED)], rewound=False)
    await store.leases.reap(MARKET, "dead", 10)
    await _mended(world)
    await store.leases.leave(MARKET, NODE)
    await store.leases.meet((MARKET,), NODE)
    await store.deadlines.look([MARKET], [Look.DUE])
    await store.nodes.announce(NodeReport(NODE, "", "1", world.now, {}, is_leaving=False))
    await store.nodes.ask_drain(NODE, "operator")
    await store.leases.hold_role(MARKET, "robots", NODE, 1)
    await store.deadlines.forget(MARKET)
    queue = ArchiveQueue(store.runner)
    await queue.register(MARKET, 1_000)
    await queue.alert(MARKET, ArchiveLag(1, 1, 1_000, 1_000, 0))
    await queue.remove(MARKET)
    await _webhooks(world)
    order = ConfirmedOrder(f"job_{MARKET}.gone", "toys", "", world.now)
    await store.jobs.report_lost(MARKET, [order])
    await _packed(world)

    assert {name for name, _ in world.link.verdicts} == set(SCRIPTS)


def _order_change(job: Job) -> OrderChange:
    """Return a change with every optional argument."""
    return OrderChange(
        fields=("/pay",),
        until=None,
        stores=(),
        body=b'{"priority": 1}',
        card=job.card,
        need=job.need,
        release_ms=job.release_ms,
        pay_minor=1,
        shop_codes=("1",),
        on_undeliverable="hold",
    )


async def _packed(world: World) -> None:
    ref, _ = await world.in_state(JobState.CANCELLED)
    await world.pass_ms(HOUR_MS)
    assert (await world.store.deadlines.pack(MARKET)).jobs
    await world.store.jobs.end_tracking(ref.job)


async def _mended(world: World) -> None:
    """Make the calls of a repair; none of them has anything to mend."""
    mending, ref = Mending(world.store.runner), await world.submit()
    await mending.job(ref, "queued", 0, [])
    await mending.driver(MARKET, "ann", node=NODE, jobs=[ref.job], malls=[MALL])
    await mending.offer(MARKET, "none", [ref.job])
    await mending.lost(MARKET, ref.job, service="toys", external="", named_by=[])
    await mending.entry(MARKET, "due", "retry/m/none", job=ref.job, state="lost")
    await mending.counts(MARKET, "0-0", {"queued": 1})


async def _webhooks(world: World) -> None:
    """Make the calls of an endpoint of webhooks."""
    webhooks = world.store.webhooks
    made = await webhooks.create(endpoint("wh_1"))
    await webhooks.beat(NODE, [MARKET])
    event = MarketEvent(MARKET, Place(world.now, 1), world.now, "job", fields={"kind": "job"})
    place = event.place
    known = await webhooks.all()
    await webhooks.queue(MARKET, (None, place), [event], {made.id: [0]}, known.version)
    await webhooks.begin_replay(made.id, MARKET, Place(0, 0), place)
    await webhooks.replay(made.id, MARKET, (Place(0, 0), place), place, [event])
    await webhooks.catch_up(made.id, MARKET, (Place(0, 0), place), [event])
    (due,) = await webhooks.take({made.id: 1}, 1, 1_000)
    await webhooks.settle(due, None, is_gone=False)
    await webhooks.disable(made.id, "owner")
    await webhooks.announce_disabled(MARKET, made, Disabled(world.now, "owner"))
    await webhooks.delete(made)


async def _transferred(world: World, ref: JobRef) -> None:
    """Make the calls of a transfer of this job to another driver, who is not there."""
    store = world.store
    transfer = await begin_transfer(world, "ann")
    with pytest.raises(Refused):
        await store.transfers.take_over(
            transfer, "bob", 1, at_ms=1, proof=Proof("code", "1"), jobs=[ref.job]
        )
    member = f"transfer/{transfer.mall}/{transfer.job}"
    await store.transfers.settle(
        DueEntry(member, DueKind.TRANSFER, transfer.job, mall=transfer.mall)
    )


async def _undeliverable(world: World, ref: JobRef, attempt: int) -> None:
    """Make the calls of a job whose parcels nobody takes."""
    store, plan = world.store, world.way_back()
    await store.returns.undelivered(
        ref, "ann", kind="customer_unreachable", store="", until_ms=None, text="",
        attempt=attempt, at_ms=world.now, plan=plan,
    )  # fmt: skip
    await store.returns.answer(ref, "p2", action="wait", text="", actor="toys", plan=plan)
    door, back = (
        DueEntry(f"{kind}/{ref.mall}/{ref.job}", kind, ref.job, mall=ref.mall)
        for kind in (DueKind.DOOR, DueKind.RETURN)
    )
    await store.returns.act_at_door(door, attempt, plan)
    await store.returns.set_place(back, attempt, plan)
    await store.returns.note_at_place(await world.job(ref), MALL)
    await store.proofs.add(MARKET, "ann", "proof_phoenix.x", media_type="image/png", size=1)
    await store.proofs.erase(ref.job)
    await store.jobs.end_tracking(ref.job)
    await store.returns.show_codes(MARKET, MALL, "lego", [ref.job])
    with pytest.raises(Refused):
        await world.returned(ref, attempt)


async def _scheduled(world: World) -> None:
    """Make the calls of a scheduled job."""
    ref, _ = await world.in_state(JobState.SCHEDULED)
    await world.store.deadlines.queue(ref)
    await world.store.jobs.lift_hold(MARKET, MALL, "lego", world.now)
    need = (await world.job(ref)).need
    await world.store.deadlines.next_opening(ref, 0, was=need, need=need, release_ms=world.now + 1)


async def test_due_entry_of_an_unknown_kind_is_returned(world: World) -> None:
    await world.redis.zadd(world.keys.key("due"), {"odd/mall/job": world.now})
    (entry,) = await world.store.deadlines.due(MARKET, 10)
    assert entry == DueEntry("odd/mall/job", DueKind.UNKNOWN, "job", mall="mall")
    await world.redis.zrem(world.keys.key("due"), entry.member)
