"""Bugs in packing, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from mallard_protocol.lifecycle import Step
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"


def job_is_on_board(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 4)])


def job_is_delivered(mallard: Mallard) -> None:
    job_is_on_board(mallard)
    job = mallard.model.jobs[JOB]
    mallard.step(JOB, job.holder, job.attempt, Step.DELIVERED)


def job_changes_while_a_slow_node_packs(mallard: Mallard) -> None:
    job_is_on_board(mallard)
    mallard.node_reads_to_pack(0)
    job = mallard.model.jobs[JOB]
    mallard.step(JOB, job.holder, job.attempt, Step.DELIVERED)
    mallard.slow_node_packs(0)


def open_job_is_packed(mallard: Mallard) -> None:
    job_is_on_board(mallard)
    mallard.node_reads_to_pack(0)
    mallard.slow_node_packs(0)


def job_is_packed_twice(mallard: Mallard) -> None:
    job_is_delivered(mallard)
    mallard.ended_jobs_are_packed()
    mallard.node_reads_to_pack(0)
    mallard.slow_node_packs(0)


def delivery_is_reported_again_after_packing(mallard: Mallard) -> None:
    job_is_delivered(mallard)
    mallard.ended_jobs_are_packed()
    job = mallard.model.jobs[JOB]
    mallard.step(JOB, job.holder, job.attempt, Step.DELIVERED)
    mallard.ended_jobs_are_packed()


PLANTED_IN_PACKING = (
    Planted(
        "a job is packed as it was read",
        "pack",
        (("if not is_same then", "if false then"),),
        job_changes_while_a_slow_node_packs,
    ),
    Planted(
        "a job is packed in any state",
        "pack",
        (("if is_packed or not TERMINAL[state] or left_ms < 0 then", "if is_packed then"),),
        open_job_is_packed,
    ),
    Planted(
        "a packed job is packed once more",
        "pack",
        (("if is_packed or not TERMINAL", "if not TERMINAL"),),
        job_is_packed_twice,
    ),
    Planted(
        "packing changes a job's state",
        "pack",
        (("'state', beside[1]", "'state', 'lost'"),),
        delivery_is_reported_again_after_packing,
    ),
    Planted(
        "a packed job is unknown to a report",
        "progress",
        (("if not v[1] then return refuse_packed(key) end", "if not v[1] then return nil end"),),
        delivery_is_reported_again_after_packing,
    ),
    Planted(
        "a job that has ended is not packed",
        "progress",
        (("if policy.pack_after_ms then", "if false then"),),
        job_is_delivered,
    ),
    Planted(
        "an unpacked job is not packed again",
        "unpack",
        (("redis.call('ZADD', UNPACKED, now + arg.again_ms, arg.job)\n", ""),),
        delivery_is_reported_again_after_packing,
    ),
)
