"""Rules: jobs become dead letters and are retried; alerts are acknowledged."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.ports import NoSuchAlert
from mallard_engine.storage.redis_storage import RedisStorage
from tests.properties.machine import How, how_often, recent, some_node
from tests.properties.rules.operation.pause import PauseRules
from tests.properties.world import MARKET

_ROUNDS = 5


class LetterRules(PauseRules):
    """Rules for what operators look at and retry."""

    @precondition(lambda self: self.model.jobs)
    @rule(back=recent, old=st.sampled_from((0, 0, 0, 1)), node=some_node, how=how_often)
    def job_breaks_its_rounds(
        self, back: int, old: int = 0, node: str = "n1", how: How = "once"
    ) -> None:
        """A node gives a job up; it may have moved on meanwhile."""
        name = self.job_at(back, {"queued"})
        ref, attempt = self.ref(name), self.model.jobs[name].attempt - old
        expected = self.model.bury(name, attempt)
        self.call(
            f"bury {name}/{attempt}",
            expected,
            lambda store: store.dead_letters.bury(ref, attempt, _ROUNDS, "KeyError"),
            node=node,
            how=how,
            read=lambda effects: "gone" if effects is None else "ok",
            again="gone",
        )

    @precondition(lambda self: self.seen.letters)
    @rule(nth=st.integers(0, 3), node=some_node, how=how_often)
    def operator_retries(self, nth: int, node: str = "n1", how: How = "once") -> None:
        """Retry one of the dead letters."""
        letters = sorted(self.seen.letters)
        self.retry_letter(letters[nth % len(letters)], node, how)

    def retry_letter(self, letter: str, node: str = "n1", how: How = "once") -> None:
        """Retry a dead letter, or one that was retried."""
        expected = self.model.revive(letter)
        self.call(
            f"retry {letter}",
            expected,
            lambda store: store.dead_letters.retry(MARKET, letter, "boss"),
            node=node,
            how=how,
            read=lambda _: "ok",
            again="no_letter",
        )

    @precondition(lambda self: self.seen.alerts_open or self.seen.alerts_done)
    @rule(nth=st.integers(0, 3), who=st.sampled_from(("boss", "eve")), how=how_often)
    def operator_acknowledges(self, nth: int, who: str = "boss", how: How = "once") -> None:
        """Acknowledge an alert, or one that was acknowledged; the first operator counts."""
        alerts = sorted(self.seen.alerts_open | self.seen.alerts_done)
        alert = alerts[nth % len(alerts)]
        before = self.seen.alerts[alert].get("by")

        async def acknowledge(store: RedisStorage) -> str:
            try:
                done, _ = await store.alerts.acknowledge(MARKET, alert, who)
            except NoSuchAlert:
                return "gone"
            return done.by

        first = before or who
        self.call(f"{who} acknowledges {alert}", first, acknowledge, how=how, read=str, again=first)
        assert self.seen.alerts[alert]["by"] == first
        assert alert in self.seen.alerts_done - self.seen.alerts_open
