"""Rules: operators pause and resume matching; nothing is offered where it is paused."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties.machine import DRIVERS, How, how_often, some_driver, some_node
from tests.properties.rules.jobs.change import ChangeRules
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MALLS, MARKET

PLACES = (
    ("", ""),
    *((mall, "") for mall in MALLS),
    *((mall, store) for mall in MALLS for store in ("lego", "gap")),
)


class PauseRules(ChangeRules):
    """Rules for pauses. Most are short: a paused market hides what the other rules would find."""

    @rule(
        place=st.sampled_from(PLACES),
        paused=st.booleans(),
        node=some_node,
        how=how_often,
    )
    def operator_pauses(
        self, place: tuple[str, str], node: str = "n1", how: How = "once", *, paused: bool
    ) -> None:
        """Pause or resume a place, whatever it was."""
        mall, store = place
        changed = self.model.pause(mall, store, paused=paused)
        self.call(
            f"{'pause' if paused else 'resume'} {place}",
            changed,
            lambda store_: store_.controls.set_pause(
                MARKET, mall, store, paused=paused, actor="boss", reason="flood"
            ),
            node=node,
            how=how,
            read=lambda outcome: "changed" if outcome.changed else "same",
            again="same",
        )

    @precondition(lambda self: self.model.jobs)
    @rule(place=st.sampled_from(PLACES), back=st.integers(0, 5), how=how_often)
    def a_short_pause(self, place: tuple[str, str], back: int, how: How) -> None:
        """Plans of other nodes arrive during a pause, and again after it."""
        name = self.job_at(back, {"queued"})
        self.operator_pauses(place, paused=True)
        self.offer(name, self.model.jobs[name].attempt, DRIVERS, how)
        self.operator_pauses(place, paused=False)
        self.offer(name, self.model.jobs[name].attempt, DRIVERS, how)

    @rule(
        place=st.sampled_from(PLACES),
        ends=st.sampled_from(("asks the next", "asks the next", "declined")),
        how=how_often,
    )
    def a_pause_begins_during_a_round(self, place: tuple[str, str], ends: str, how: How) -> None:
        """A staggered round has asked its first driver, and waits for the moment of the next."""
        for driver in DRIVERS:
            self.comes_to_work(driver, "n1")
        self.submit(Order(mall=place[0] or MALLS[0]))
        name = self.job_at(0)
        offer = f"o{len(self.offers)}"
        self.begin_round(name, 0, DRIVERS, 3)
        if offer not in self.model.live() or name not in self.model.rounds:
            return
        driver = self.model.offers[offer].driver
        self.offer_ack(offer, driver)
        self.operator_pauses(place, paused=True)
        if ends == "declined":
            self.decline(offer, driver, how=how)
        else:
            self.time_to(self.model.rounds[name].next)
            self.offer_more(name, how)
        self.operator_pauses(place, paused=False)

    @rule(driver=some_driver, place=st.sampled_from(PLACES[:2]), how=how_often)
    def a_late_job_is_at_a_paused_mall(self, driver: str, place: tuple[str, str], how: How) -> None:
        """Its holder is silent for too long; nobody else is to be sent during the pause."""
        name = self.begin(driver, Order())
        if not name:
            return
        lost_ms = self.now
        self.disconnect(driver)
        self.time_to(lost_ms + self.model.resume_ms)
        self.report_all()
        self.operator_pauses(place, paused=True)
        self.hand_over(name, self.model.jobs[name].attempt, DRIVERS, how, lost=lost_ms)
        self.operator_pauses(place, paused=False)

    @precondition(lambda self: self.model.paused)
    @rule()
    def everything_is_resumed(self) -> None:
        """End all pauses, so that the machine does not stand still."""
        for mall, store in PLACES:
            self.operator_pauses((mall, store), paused=False)
