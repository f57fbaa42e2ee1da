"""Proofs, codes and PINs, reported problems and given reasons of a job."""

import pytest

from mallard_engine.core.model import GivenReason
from mallard_engine.ports import Answered, JobRef, Refused
from mallard_protocol.codes import TERMINAL_KEPT_MS, UNUSED_PROOF_KEPT_MS, ErrorCode
from mallard_protocol.lifecycle import JobState, Outcome, Step
from mallard_protocol.messages import Proof
from tests.engine.storage.worlds import MALL, MARKET, World


async def step(
    world: World, ref: JobRef, step: Step, proof: Proof | None = None, at_ms: int | None = None
) -> Answered:
    return await world.store.jobs.progress(ref, "ann", 1, step, at_ms=at_ms, proof=proof, reason="")


async def refused(world: World, ref: JobRef, what: Step, proof: Proof | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await step(world, ref, what, proof)
    return caught.value


async def kept(world: World, ref: JobRef) -> list[tuple[str, str, str]]:
    return [(it.kind, it.value, it.step) for it in (await world.job(ref)).proofs]


@pytest.mark.finding("D6")
@pytest.mark.parametrize(
    ("what", "kind", "value"),
    [
        (Step.AT_MALL, "photo", "image"),
        (Step.PICKED_UP, "photo", "image"),
        (Step.DELIVERED, "photo", "image"),
        (Step.DELIVERED, "signature", "image"),
        (Step.DELIVERED, "age_checked", ""),
        (Step.DELIVERED, "code", "1234"),
        (Step.RETURNING, "photo", "image"),
    ],
)
async def test_accepted_proof_is_kept(world: World, what: Step, kind: str, value: str) -> None:
    await world.driver()
    value = await world.image() if value == "image" else value
    ref, _ = await world.assigned()
    if what in {Step.DELIVERED, Step.RETURNING}:
        await step(world, ref, Step.PICKED_UP)
    reported_ms = world.now - 5_000
    for _ in range(2):  # a repeat is one proof
        await step(world, ref, what, Proof(kind, value), at_ms=reported_ms)  # type: ignore[arg-type]
    (proof,) = (await world.job(ref)).proofs
    assert (proof.kind, proof.value, proof.step) == (kind, value, what)
    assert (proof.at_ms, proof.reported_ms, proof.driver) == (world.now, reported_ms, "ann")
    assert [event["what"] for event in await world.events("proof")] == [kind]


@pytest.mark.finding("D6")
async def test_proof_of_a_later_report_is_kept_too(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up()
    photo, signature = await world.photo(), await world.photo("signature")
    await step(world, ref, Step.DELIVERED, photo)
    await step(world, ref, Step.DELIVERED, signature)
    assert await kept(world, ref) == [
        ("photo", photo.value, "delivered"),
        ("signature", signature.value, "delivered"),
    ]


@pytest.mark.finding("D6")
async def test_proof_is_kept_while_another_kind_is_missing(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up(needs_age_check=True)
    refusal = await refused(world, ref, Step.DELIVERED, await world.photo())
    assert (refusal.code, refusal.missing) == (ErrorCode.PROOF_NEEDED, ("age_check",))
    await step(world, ref, Step.DELIVERED, Proof("age_checked"))
    assert [kind for kind, _, _ in await kept(world, ref)] == ["photo", "age_checked"]


@pytest.mark.finding("D6")
async def test_proof_with_a_claim_of_custody_is_kept(world: World) -> None:
    await world.driver()
    ref, attempt = await world.assigned()
    await world.store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "mistake")
    photo = await world.photo()
    await step(world, ref, Step.PICKED_UP, photo)
    assert await kept(world, ref) == [("photo", photo.value, "picked_up")]


@pytest.mark.finding("D6")
async def test_three_wrong_pins_lock_the_delivery(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up(pin="4711")
    without = await refused(world, ref, Step.DELIVERED)
    assert (without.code, without.missing) == (ErrorCode.PROOF_NEEDED, ("pin",))
    tries = [
        (await refused(world, ref, Step.DELIVERED, Proof("code", value))).tries_left
        for value in ("1", "1", "2", "3", "4", "4711")
    ]
    assert tries == [2, 2, 1, 0, 0, 0]
    assert [event["what"] for event in await world.events("alert")] == ["wrong_code"]
    assert await kept(world, ref) == []
    assert await world.state(ref) == "picked_up"
    await world.store.jobs.close(ref, JobState.DELIVERED, "operator", "seen")


@pytest.mark.finding("D6")
async def test_right_pin_delivers(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up(pin="4711", needs_age_check=True)
    wrong = await refused(world, ref, Step.DELIVERED, Proof("code", "4712"))
    assert (wrong.code, wrong.tries_left) == (ErrorCode.WRONG_CODE, 2)
    needs_more = await refused(world, ref, Step.DELIVERED, Proof("code", "4711"))
    assert needs_more.missing == ("age_check",)
    await step(world, ref, Step.DELIVERED, Proof("age_checked"))
    assert await world.state(ref) == "delivered"


@pytest.mark.parametrize(
    ("images", "missing"),
    [
        ((), []),
        (("photo",), ["photo"]),
        (("signature",), ["signature"]),
        (("photo", "signature"), ["photo", "signature"]),
    ],
)
@pytest.mark.parametrize("needs_age_check", [False, True])
@pytest.mark.parametrize("pin", ["", "4711"])
async def test_delivery_needs_each_kind_that_is_required(
    world: World, images: tuple[str, ...], missing: list[str], pin: str, *, needs_age_check: bool
) -> None:
    await world.driver()
    ref, _ = await world.picked_up(images_required=images, pin=pin, needs_age_check=needs_age_check)
    needed = ["pin"] * bool(pin) + missing + ["age_check"] * needs_age_check
    given = {
        "pin": Proof("code", pin),
        "photo": await world.photo(),
        "signature": await world.photo("signature"),
        "age_check": Proof("age_checked"),
    }
    report: Proof | None = None
    while needed:
        refusal = await refused(world, ref, Step.DELIVERED, report)
        assert (refusal.code, refusal.missing) == (ErrorCode.PROOF_NEEDED, tuple(needed))
        report = given[needed.pop()]
    await step(world, ref, Step.DELIVERED, report)
    assert await world.state(ref) == "delivered"


async def test_pin_is_stored_with_no_proof_and_no_event(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up(pin="471147")
    await step(world, ref, Step.DELIVERED, Proof("code", "471147"))
    await step(world, ref, Step.DELIVERED, Proof("code", "471147"))
    assert await kept(world, ref) == [("code", "", "delivered")]
    assert "471147" not in str(await world.events())


async def test_code_after_an_operators_close_is_no_proof(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up(pin="4711")
    await world.store.jobs.close(ref, JobState.DELIVERED, "operator", "seen")
    await step(world, ref, Step.DELIVERED, Proof("code", "1"))
    assert await kept(world, ref) == []


async def test_right_pin_stays_given_when_a_photo_follows(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up(pin="4711", images_required=("photo",))
    assert (await refused(world, ref, Step.DELIVERED, Proof("code", "4711"))).missing == ("photo",)
    assert (await refused(world, ref, Step.DELIVERED, Proof("code", "9"))).missing == ("photo",)
    await step(world, ref, Step.DELIVERED, await world.photo())
    assert await world.state(ref) == "delivered"


@pytest.mark.parametrize("given", ["4711", "47", "471100", "", "4710", "x711", "471\x00"])
async def test_only_the_whole_pin_is_right(world: World, given: str) -> None:
    await world.driver()
    ref, _ = await world.picked_up(pin="47110")
    refusal = await refused(world, ref, Step.DELIVERED, Proof("code", given))
    assert refusal.code is ErrorCode.WRONG_CODE


async def test_claimed_delivery_without_its_photo_is_on_board(world: World) -> None:
    await world.driver()
    ref, attempt = await world.picked_up(images_required=("photo",))
    await world.store.jobs.claim(MARKET, "ann", ref.job, attempt, "delivered", at_ms=None)
    assert await world.state(ref) == "picked_up"


@pytest.mark.finding("D6")
async def test_pickup_code_is_compared_at_the_pickup(world: World) -> None:
    await world.driver()
    ref, _ = await world.assigned(pickup_codes=("7731", "7732"))
    wrong = await refused(world, ref, Step.PICKED_UP, Proof("code", "0000"))
    assert (wrong.code, wrong.tries_left) == (ErrorCode.WRONG_CODE, None)
    assert await world.state(ref) == "assigned"
    await step(world, ref, Step.PICKED_UP, Proof("code", "7732"))
    assert await kept(world, ref) == [("code", "7732", "picked_up")]


@pytest.mark.finding("D6")
async def test_proofs_of_a_job_are_bounded(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up()
    await step(world, ref, Step.DELIVERED)
    for _ in range(16):
        await step(world, ref, Step.DELIVERED, await world.photo())
    refusal = await refused(world, ref, Step.DELIVERED, await world.photo())
    assert refusal.code is ErrorCode.BAD_FIELD
    assert len(await kept(world, ref)) == 16


async def report(world: World, kind: str, job: str = "", **more: object) -> Answered:
    fields = {"mall": MALL, "store": "", "until_ms": None, "text": ""} | more
    return await world.store.jobs.problem(MARKET, "ann", kind=kind, job=job, **fields)  # type: ignore[arg-type]


@pytest.mark.finding("D7")
async def test_problem_is_kept_with_its_job(world: World) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    first = await report(world, "unsafe", ref.job, text="dog\nin the yard", at_ms=world.now - 9)
    await report(world, "not_ready", ref.job, store="lego", until_ms=world.now + 5_000)
    assert first.is_new
    unsafe, not_ready = (await world.job(ref)).problems
    assert (unsafe.id, unsafe.kind, unsafe.text, unsafe.state) == (
        "p1", "unsafe", "dog\nin the yard", "open",
    )  # fmt: skip
    assert (unsafe.at_ms, unsafe.reported_ms) == (world.now, world.now - 9)
    assert (not_ready.id, not_ready.store) == ("p2", "lego")
    assert not_ready.until_ms == world.now + 5_000
    events = await world.events("alert") + await world.events("problem")
    assert [event["service"] for event in events] == ["toys", "toys", "toys"]


@pytest.mark.finding("D7")
async def test_repeated_problem_is_kept_once(world: World) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    await report(world, "not_ready", ref.job, store="lego", until_ms=world.now + 1_000)
    again = await report(world, "not_ready", ref.job, store="lego", until_ms=world.now + 9_000)
    other = await report(world, "not_ready", ref.job, store="gap", until_ms=world.now + 9_000)
    assert (again.is_new, other.is_new) == (False, True)
    problems = (await world.job(ref)).problems
    assert [(it.store, it.until_ms) for it in problems] == [
        ("lego", world.now + 9_000),
        ("gap", world.now + 9_000),
    ]
    assert len(await world.events("problem")) == 2


@pytest.mark.finding("D7")
async def test_problems_of_a_job_are_bounded(world: World) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    for number in range(40):
        await report(world, "missing", ref.job, store=f"store-{number}")
    problems = (await world.job(ref)).problems
    assert [it.id for it in problems] == [f"p{number}" for number in range(9, 41)]


@pytest.mark.finding("D7")
async def test_problem_of_another_attempt_is_refused(world: World) -> None:
    await world.driver()
    ref, attempt = await world.assigned()
    with pytest.raises(Refused) as caught:
        await report(world, "not_ready", ref.job, store="lego", attempt=attempt + 1)
    assert caught.value.code is ErrorCode.STALE_ATTEMPT
    assert await world.redis.hlen(world.keys.key("holds")) == 0
    await report(world, "not_ready", ref.job, store="lego", attempt=attempt)


@pytest.mark.finding("D7")
async def test_reasons_of_a_decline_and_a_give_up_are_kept(world: World) -> None:
    for driver in ("ann", "bob"):
        await world.driver(driver)
    ref, offer = await world.offered("ann")
    await world.store.offers.decline(MARKET, "ann", offer, "too far")
    await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    await world.store.jobs.progress(ref, "bob", 2, Step.GIVE_UP, at_ms=None, reason="flat tyre")
    assert (await world.job(ref)).reasons == (
        GivenReason("ann", 1, "too far"),
        GivenReason("bob", 2, "flat tyre"),
    )


async def test_collecting_resolves_the_problems_of_its_shop(world: World) -> None:
    await world.driver()
    ref, attempt = await world.assigned(stores=("lego", "gap"))
    for kind, store in (("not_ready", "lego"), ("not_ready", "gap"), ("unsafe", "")):
        await report(world, kind, ref.job, store=store)
    await world.collect(ref, attempt)
    assert [it.state for it in (await world.job(ref)).problems] == ["resolved", "open", "open"]
    events = await world.events("problem_resolved")
    assert [(it["what"], it["problem"], it["service"]) for it in events] == [
        ("not_ready", "p1", "toys")
    ]
    await world.collect(ref, attempt)
    assert len(await world.events("problem_resolved")) == 1


async def test_images_are_forgotten_with_their_job_and_when_unused(world: World) -> None:
    await world.driver()
    ref, _ = await world.picked_up()
    photo, unused = await world.photo(), await world.image()
    await step(world, ref, Step.DELIVERED, photo)
    forget, gone = world.store.deadlines.forget, world.store.proofs.gone
    await world.pass_ms(UNUSED_PROOF_KEPT_MS)
    await forget(MARKET)
    assert await gone(MARKET) == [unused]
    assert await world.store.proofs.images(MARKET, [unused]) == {}
    assert (await world.store.proofs.images(MARKET, [photo.value]))[photo.value].job == ref.job
    await world.store.proofs.removed(MARKET, [unused])
    for passed_ms in (TERMINAL_KEPT_MS, 3_600_000):
        await world.pass_ms(passed_ms)
        await forget(MARKET)
    assert await gone(MARKET) == [photo.value]
    await world.drop_what_has_a_ttl()


async def test_tracking_is_forgotten_with_its_job(world: World) -> None:
    ref = await world.submit(tracking="x" * 24)
    assert (await world.store.jobs.tracked("x" * 24)) == await world.job(ref)
    await world.store.jobs.cancel(ref, "toys", "customer")
    for passed_ms in (TERMINAL_KEPT_MS, 3_600_000):
        await world.pass_ms(passed_ms)
        await world.store.deadlines.forget(MARKET)
    assert await world.redis.hlen(world.keys.key("tracked")) == 0
    await world.drop_what_has_a_ttl()
