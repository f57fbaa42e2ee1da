"""Shops in the model: what each hands over, and which jobs wait for one."""

from collections.abc import Sequence

from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.codes import CUSTOMER_PROBLEMS
from mallard_protocol.lifecycle import BEFORE_PICKUP
from tests.properties.models.records import REFUSED, Job, Shop
from tests.properties.models.staggered import StaggeredModel

# Each shop of an order has so many parcels.
PARCELS = 2
_WHY = {"missing": "missing", "partial": "short", "store_closed": "store_closed"}
_STATES = {"missing": "missing", "partial": "short", "store_closed": "closed"}


class ShopModel(StaggeredModel):
    """A market whose shops may be short, or closed by their own word."""

    def __init__(self, policy: MarketPolicy, now: int) -> None:
        super().__init__(policy, now)
        self.words: dict[tuple[str, str], int] = {}  # until when, by mall and store

    # -- what a shop says of its hours

    def own_word(self, mall: str, store: str) -> int:
        """Until when a shop has said that it is closed; 0: it is open."""
        till = self.words.get((mall, store), 0)
        return till if till > self.now else 0

    def shop_changes(self, name: str, store: str) -> None:
        """What a shop has said of its hours is applied to a job."""
        job = self.jobs[name]
        shop = job.shops.get(store)
        if shop is None:
            return
        till = self.own_word(job.mall, store)
        if job.is_held:
            if job.held[:2] == ("store_closed", store):
                self._follow_the_word(job, shop, till)
        elif shop.got or not shop.is_open:
            return
        elif job.state == "offered" and till:
            self._end_offer(job.offer, "withdrawn", job)
        elif job.state in {"assigned", "at_mall"} and till and not self._opens_in_time(job, till):
            self._apply_rule(job, shop, "store_closed", till, by_driver=False)

    def _follow_the_word(self, job: Job, shop: Shop, till: int) -> None:
        if till:
            at = max(min(till, job.expires), self.now)
            job.held, job.release = (*job.held[:2], at), at
        else:
            self._no_longer_closed(job, shop)

    def _no_longer_closed(self, job: Job, shop: Shop) -> None:
        """The job is searched a driver for, unless another shop lacks parcels."""
        if shop.state == "closed":
            shop.state = "waiting"
        other = self._unanswered(job)
        if other is None:
            job.state, job.held = "queued", ("", "", 0)
        else:
            self._wait_for(job, other)

    def _wait_for(self, job: Job, shop: Shop) -> None:
        """A held job waits for another shop, no longer than for missing parcels before."""
        why, _, at = job.held
        if why not in {"missing", "short"}:
            at = max(min(self.now + job.hold_ms, job.expires), self.now)
        (store,) = [name for name, each in job.shops.items() if each is shop]
        job.held, job.release = (shop.state, store, at), at

    def _opens_in_time(self, job: Job, till: int) -> bool:
        return job.state == "assigned" and job.eta is not None and till <= job.eta[0]

    # -- what a driver or a shop reports

    def collect(self, name: str, driver: str, attempt: int, store: str, parcels: int | None) -> str:
        job = self.jobs[name]
        if job.carries:  # two drivers meet: no shop
            return "wrong_state"
        shop = job.shops.get(store)
        is_holder = self._is_holder(job, driver, attempt)
        was_holder = (driver, attempt) in job.former
        if (is_holder or was_holder) and (shop is None or (parcels or 0) > PARCELS):
            return "bad_field"
        if not is_holder and parcels == 0:
            if any(turn[:3] == (driver, attempt, "held") for turn in job.asked):
                return "ok"
            return REFUSED
        if not is_holder:
            was = job.state
            verdict = self._claim(job, name, driver, attempt, "picked_up")
            if verdict == "ok" and was in BEFORE_PICKUP and shop is not None:
                self._hand_out(job, name, shop, parcels)
            return verdict
        return self._hand_out(job, name, shop or Shop(), parcels)

    def _hand_out(self, job: Job, name: str, shop: Shop, parcels: int | None) -> str:
        if parcels is None:
            parcels = PARCELS if shop.there is None else shop.there
        done = shop.got == parcels and not shop.is_open and shop.state != "closed"
        if done and job.state != "lost":
            return "ok"
        if job.state not in {"assigned", "at_mall", "picked_up"}:
            return "wrong_state"
        if job.state != "picked_up" and parcels:
            super().progress(name, job.holder, job.attempt, "picked_up", checked=True)
        _note(job, shop, parcels)
        if parcels < PARCELS:
            self._apply_rule(job, shop, "short" if parcels else "missing", None, by_driver=True)
        return "ok"

    def show_code(self, name: str, attempt: int | None, store: str) -> str:
        """A shop hands over against the code of an attempt; None: a wrong code."""
        job = self.jobs[name]
        if not job.holder and not job.former:
            return "wrong_state"
        holders = [job.holder] if job.holder and attempt == job.attempt else []
        holders += [driver for driver, was in sorted(job.former) if was == attempt]
        if not holders or attempt is None:
            return "wrong_code"
        if not self._is_holder(job, holders[0], attempt) and (
            self._claim(job, name, holders[0], attempt, "picked_up") != "ok"
        ):
            return "wrong_state"
        shop = job.shops[store]
        return self._hand_out(job, name, shop, shop.there or PARCELS)

    def problem(
        self, name: str, driver: str, attempt: int, kind: str, store: str, until: int
    ) -> str:
        job = self.jobs[name]
        if driver not in self.drivers:
            return "not_yours"
        if name not in self.drivers[driver].jobs:
            repeats = kind in _WHY and any(
                turn[:3] == (driver, attempt, "held") for turn in job.asked
            )
            return "ok" if repeats else "not_yours"
        if not self._is_holder(job, driver, attempt):
            return "stale_attempt"
        self._keep_trouble(job, kind, store)
        shop = job.shops.get(store)
        may = job.state in {"assigned", "at_mall", "picked_up"}
        if shop is None or shop.got or not may:
            return "ok"
        if kind == "not_ready":
            shop.state, shop.wait = "waiting", (until, job.attempt)
            return "ok"
        why = _WHY[kind]
        if why != "short" or self._rule(job, shop, why)[0] != "deliver":
            shop.state = _STATES[kind]
        till = max(until, self.own_word(job.mall, store)) if kind == "store_closed" else None
        self._apply_rule(job, shop, why, till, by_driver=True)
        return "ok"

    def shop_says(self, name: str, store: str, state: str, parcels: int | None) -> str:
        job = self.jobs[name]
        shop = job.shops.get(store)
        there = 0 if state == "missing" else parcels
        is_right = there is not None and there < PARCELS and (there == 0) == (state == "missing")
        if shop is None or not is_right:
            return "bad_field"
        if (shop.state, shop.there) == (state, there) and not shop.got:
            return "ok"
        if (job.state not in BEFORE_PICKUP and job.state != "picked_up") or shop.got:
            return "wrong_state"
        shop.state, shop.there, shop.wait = state, there, None
        rule, _ = self._rule(job, shop, state)
        if rule == "deliver" and job.is_held and job.held[1] == store:
            job.state = "queued"
        elif rule in {"fail", "return"} or (rule == "hold" and not job.is_held):
            self._apply_rule(job, shop, state, None, by_driver=False)
        return "ok"

    # -- what follows

    def _rule(self, job: Job, shop: Shop, why: str) -> tuple[str, str]:
        if job.state == "picked_up" or any(each.got for each in job.shops.values()):
            return ("return" if job.on_short == "fail" else "deliver"), "short"
        others = any(each.is_open for each in job.shops.values() if each is not shop)
        if why == "short" or others:
            return job.on_short, "short" if why == "missing" else why
        return job.on_missing, why

    def _apply_rule(
        self, job: Job, shop: Shop, why: str, until: int | None, *, by_driver: bool
    ) -> None:
        rule, because = self._rule(job, shop, why)
        if rule == "hold":
            self._hold(job, shop, because, until, by_driver=by_driver)
        elif rule == "fail":
            self._take_off(job, "failed")
        elif rule == "return" and job.state == "picked_up":
            job.state = "returning"

    def _hold(
        self,
        job: Job,
        shop: Shop,
        why: str,
        until: int | None,
        *,
        by_driver: bool,
        gave_up: bool = False,
    ) -> None:
        shop.holds += by_driver
        if by_driver and shop.holds > 1:
            self._take_off(job, "failed", gave_up=gave_up)
            return
        at = self.now + job.hold_ms if until is None else until
        at = max(min(at, job.expires), self.now)
        self._take_off(job, "scheduled", gave_up=gave_up)
        (store,) = [name for name, each in job.shops.items() if each is shop]
        job.held, job.release = (why, store, at), at

    def _take_off(self, job: Job, state: str, *, gave_up: bool = False) -> None:
        holder = job.holder
        self._take_away(job, "withdrawn", "held" if holder else None)
        if gave_up:
            job.former = {turn for turn in job.former if turn[0] != holder}
        job.state, job.holder = state, ""
        job.attempt += 1

    def _unanswered(self, job: Job) -> Shop | None:
        lacking = [shop for shop in job.shops.values() if shop.lacks]
        has_open = any(s.is_open or s.state == "closed" for s in job.shops.values())
        return lacking[-1] if lacking and (job.on_short == "hold" or not has_open) else None

    # -- what the other transitions do with shops

    def progress(self, name: str, driver: str, attempt: int, step: str, *, checked: bool) -> str:
        job = self.jobs[name]
        was = job.state
        verdict = super().progress(name, driver, attempt, step, checked=checked)
        is_new = verdict == "ok" and job.state != was
        if is_new and step in {"picked_up", "delivered"}:
            self._collect_the_rest(job)
        return verdict

    def claim(self, name: str, driver: str, attempt: int, state: str) -> str:
        job = self.jobs[name]
        was = job.state
        verdict = super().claim(name, driver, attempt, state)
        is_new = was in BEFORE_PICKUP and job.state not in BEFORE_PICKUP
        if is_new or (job.state == "delivered" and was != "delivered"):
            self._collect_the_rest(job)
        return verdict

    def _collect_the_rest(self, job: Job) -> None:
        for shop in job.shops.values():
            if shop.is_open:
                _note(job, shop, PARCELS if shop.there is None else shop.there)
        if not any(shop.got for shop in job.shops.values()):
            for shop in job.shops.values():
                _note(job, shop, PARCELS)

    def give_up(self, name: str, driver: str, attempt: int) -> str:
        job = self.jobs[name]
        if not self._is_holder(job, driver, attempt):
            if any(turn[:3] == (driver, attempt, "held") for turn in job.asked):
                return "ok"
            return super().give_up(name, driver, attempt)
        if job.state in {"assigned", "at_mall"} and job.attempt == attempt:
            for shop in job.shops.values():
                if shop.wait and shop.wait[1] == attempt and shop.is_open:
                    until, _ = shop.wait
                    if until > self.now:
                        self._hold(job, shop, "not_ready", until, by_driver=True, gave_up=True)
                        return "ok"
        return super().give_up(name, driver, attempt)

    def _revoke(self, job: Job, outcome: str) -> None:
        shop = self._unanswered(job)
        if shop is None:
            super()._revoke(job, outcome)
        else:
            gave_up = outcome == "gave_up"
            self._hold(job, shop, shop.state, None, by_driver=False, gave_up=gave_up)

    def hand_over(
        self, offer: str, name: str, attempt: int, holder: str, lost: int, plan: Sequence[str]
    ) -> tuple[str, str | None]:
        job = self.jobs[name]
        if job.state == "assigned" and self._unanswered(job):
            return "gone", None
        return super().hand_over(offer, name, attempt, holder, lost, plan)

    def queue(self, name: str) -> None:
        job = self.jobs[name]
        if job.state != "scheduled" or self.now < job.release:
            return
        if not job.is_held:
            super().queue(name)
            return
        why, store, _ = job.held
        if why in {"missing", "short"} or self.now >= job.expires:
            self._take_off(job, "failed")
            return
        self._no_longer_closed(job, job.shops[store])

    def ready_said(self, name: str, release: int, store: str, *, is_ready: bool) -> str:
        """The shop or the order service says when a shop's parcels are ready."""
        job = self.jobs[name]
        shop = job.shops[store]
        if (job.state not in BEFORE_PICKUP and job.state != "picked_up") or shop.got:
            return "wrong_state"
        state = "ready" if is_ready else "waiting"
        ends_hold = job.is_held and job.held[1] == store
        is_known = not ends_hold and (job.release == release or job.is_held)
        if (shop.state, shop.there) == (state, None) and is_known:
            return "ok"  # a repeat
        shop.state, shop.there, shop.wait = state, None, None
        for trouble in job.troubles.values():
            if trouble.store == store:
                trouble.state = "resolved"
        if ends_hold:
            other = self._unanswered(job)
            if other is None:
                job.held = ("", "", 0)
            else:
                self._wait_for(job, other)
        if not job.is_held:
            job.release = release
            if job.state == "scheduled" and release <= self.now:
                job.state = "queued"
        return "ok"


def _note(job: Job, shop: Shop, parcels: int) -> None:
    shop.got, shop.wait = parcels, None
    shop.state = "collected" if parcels == PARCELS else "short" if parcels else "missing"
    for trouble in job.troubles.values():
        is_here = job.shops.get(trouble.store) is shop and trouble.kind not in CUSTOMER_PROBLEMS
        if parcels and is_here and (parcels == PARCELS or trouble.kind != "partial"):
            trouble.state = "resolved"
