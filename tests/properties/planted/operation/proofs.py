"""Bugs in proofs at the door, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from mallard_protocol.messages import Proof
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order

JOB, NEXT = "job_phoenix.j000", "job_phoenix.j001"
ON_BOARD = 4


def on_board(mallard: Mallard, *images: str, pin: str = "") -> None:
    mallard.a_day_begins([(Order(images=images, pin=pin), ON_BOARD)])


def codes_are_given(mallard: Mallard, *codes: str) -> None:
    on_board(mallard, pin="4711")
    for code in codes:
        mallard.give(JOB, "d0", 1, Proof("code", code))


def photo_of_another_driver_is_given(mallard: Mallard) -> None:
    on_board(mallard, "photo")
    mallard.give(JOB, "d0", 1, mallard.photo(JOB, "d1"))


def photo_is_given_for_two_jobs(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(images=("photo",)), ON_BOARD)])
    photo = mallard.photo(JOB, "d0")
    mallard.give(JOB, "d0", 1, photo)
    mallard.submit(Order(images=("photo",)))
    mallard.assign(NEXT, "d0")
    mallard.step(NEXT, "d0", 1, "picked_up")
    mallard.give(NEXT, "d0", 1, photo)


def only_a_photo_is_given(mallard: Mallard) -> None:
    on_board(mallard, "photo", "signature")
    mallard.give(JOB, "d0", 1, mallard.photo(JOB, "d0"))


def nothing_is_given(mallard: Mallard) -> None:
    on_board(mallard, pin="4711")
    mallard.step(JOB, "d0", 1, "delivered")


def right_code_comes_after_three_wrong(mallard: Mallard) -> None:
    codes_are_given(mallard, "1", "2", "3", "4711")


def wrong_code_is_repeated(mallard: Mallard) -> None:
    codes_are_given(mallard, "1", "1", "1", "4711")


def code_has_one_digit_more(mallard: Mallard) -> None:
    codes_are_given(mallard, "47110")


def code_is_wrong_in_its_last_digit(mallard: Mallard) -> None:
    codes_are_given(mallard, "4712")


def wrong_code_follows_the_right_one(mallard: Mallard) -> None:
    on_board(mallard, "photo", pin="4711")
    for code in ("4711", "1"):
        mallard.give(JOB, "d0", 1, Proof("code", code))


def _given(name: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, "progress", ((old, new),), story)


PLANTED_IN_PROOFS = (
    _given(
        "photo of another driver counts",
        "image and image.driver == arg.driver and",
        "image and",
        photo_of_another_driver_is_given,
    ),
    _given(
        "photo counts for two jobs",
        "(image.job or job.id) == job.id",
        "true",
        photo_is_given_for_two_jobs,
    ),
    _given(
        "signature is not needed",
        "  needs('signature', 'signature', codes.images.signature)\n",
        "",
        only_a_photo_is_given,
    ),
    _given(
        "code of the customer is not needed",
        "  needs('pin', 'code', codes.door ~= '')\n",
        "",
        nothing_is_given,
    ),
    _given(
        "right code counts after three wrong ones",
        "if #wrong < MOST_WRONG and is_same_code",
        "if is_same_code",
        right_code_comes_after_three_wrong,
    ),
    _given(
        "repeated wrong code counts again",
        "if value == arg.proof.value then return MOST_WRONG - #wrong end",
        "",
        wrong_code_is_repeated,
    ),
    _given(
        "code may have more digits",
        "local differs = bit.bxor(#given, #right)",
        "local differs = 0",
        code_has_one_digit_more,
    ),
    _given(
        "last digit of the code does not count",
        "for i = 1, #right do",
        "for i = 1, #right - 1 do",
        code_is_wrong_in_its_last_digit,
    ),
    _given(
        "code is compared again once it was right",
        "  if has_proof(read_list(job, 'proofs'), 'code', 'delivered') then return nil end\n",
        "",
        wrong_code_follows_the_right_one,
    ),
)
