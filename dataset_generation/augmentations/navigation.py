"""Free navigation sentences, by the group numbers of the published file; ``[x]`` stands for metres."""

from __future__ import annotations

from dataset_generation.augmentations.grammar import expand, select

SENTENCES_PER_GROUP = 16

_X = "{x}"
_TURN = "[turn|go|steer|take the turn] [SIDE|to the SIDE]"
_AT = "[at the next|at the upcoming|at the coming] [intersection|junction|crossing]"
_AHEAD = "[[Go|Drive|Keep] straight ahead|Continue straight|Drive on] [and|, then]"
_LANE = (
    "[[Change|Move|Switch|Go] to the [|next |neighbouring ]lane on the SIDE|[Move|Change|Shift] one lane to the "
    "SIDE|[Take|Use] the SIDE lane]"
)

_GROUPS: dict[int, str] = {
    0: f"{_AHEAD} {_TURN} {_AT}",
    2: f"[Go|Drive|Continue|Keep] straight for {_X} meters [and|, then] {_TURN}",
    4: f"[Turn|Go|Steer|Take the turn] to the SIDE {_AT}",
    7: f"[[In|After] {_X} meters, {_TURN}|[Turn|Go|Steer] to the SIDE [in|after] {_X} meters]",
    6: "[Go straight|Drive straight|Keep straight|Continue straight|Go straight ahead|Do not turn] " + _AT,
    9: f"[[In|After] {_X} meters, [go|drive|keep] straight {_AT}|[Go|Drive|Continue] straight {_AT} in {_X} meters]",
    34: _LANE,
    36: (
        f"[[In|After] {_X} meters, [change|move|switch] [one lane |]to the SIDE[ lane|]|[Change|Move|Switch] to the "
        f"SIDE lane [in|after] {_X} meters]"
    ),
    38: "[Follow|Keep to|Stay on|Continue on|Keep following|Drive along|Go along|Proceed along] [this|the|your] road",
    40: f"[Follow|Stay on|Continue on|Keep following|Drive along] [this|the] road for {_X} meters",
    42: "[Keep|Stay on|Hold|Maintain|Continue on|Keep to] [the|your|this] [course|way|present course]",
    43: "[Keep|Stay on|Hold|Continue on] [the|your] course until [the next|you reach the next] [intersection|junction]",
    44: f"[Keep|Stay on|Hold|Continue on] [the|your|this] course for {_X} meters",
    45: f"[Keep|Stay on|Hold|Continue on] [the|your] course for {_X} meters until the next [intersection|junction]",
}
"""Group number to the pattern of its sentences, without the full stop; ``SIDE`` is left here and right in the group after."""


def navigation_sentences() -> dict[str, list[str]]:
    """Group number to its sentences."""
    table = {}
    for group, pattern in _GROUPS.items():
        sides = ("left", "right") if "SIDE" in pattern else ("",)
        for offset, side in enumerate(sides):
            sentences = [_finished(sentence, side) for sentence in expand(pattern)]
            table[group + offset] = select(sentences, sentences[0], SENTENCES_PER_GROUP)
    return {str(group): table[group] for group in sorted(table)}


def _finished(sentence: str, side: str) -> str:
    return sentence.replace("SIDE", side).replace(_X, "[x]").replace(" ,", ",") + "."
