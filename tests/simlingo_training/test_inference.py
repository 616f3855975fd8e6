"""The inference engine against the plainest loop there is: the whole sequence again for every token, by transformers' modules."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Qwen2Config

from driving.camera import cut_bonnet
from simlingo_training.config import LoraSettings, ModelSettings
from simlingo_training.data import prompts
from simlingo_training.data.images import TileSpec, camera_to_tiles
from simlingo_training.inference import Observation, Policy, Session
from simlingo_training.inference.decoder import CachedDecoder
from simlingo_training.inference.engine import Engine
from simlingo_training.inference.engine_choice import Gpu, hindrance, make_engine
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.checkpoint import Checkpoint

MOST_TOKENS = 24


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """A small model with random weights, adapters and numbers in its queries, and answers that vary and end."""
    torch.manual_seed(3)
    lora = LoraSettings(enabled=True, rank=4, alpha=8, dropout=0.1)
    settings = ModelSettings("tiny", tiles=TileSpec(192), lora=lora, max_new_tokens=MOST_TOKENS)
    made = checkpoints.build(replace(settings, numbers_in_queries=True))
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if "lora_B" in name or "query_numbers" in name:
                parameter.normal_(0, 0.05)
        made.model.backbone.embedding().weight.mul_(8)
    return made


@pytest.fixture(scope="module")
def moments() -> list[Observation]:
    """Four moments with prompts of different lengths."""
    rng = np.random.default_rng(0)
    sentence = prompts.points_sentence()
    command = prompts.command_sentence(1, 4, 23.0)
    texts = [
        prompts.commentary_prompt(3.2, sentence),
        prompts.driving_prompt(0.0, sentence),
        prompts.question_prompt(7.1, sentence, "Is there a traffic light and which colour does it show?"),
        prompts.instruction_prompt(11.0, command, "Change to the left lane.", True),
    ]
    return [
        Observation(rng.integers(0, 256, (512, 1024, 3), dtype=np.uint8), 3.0, rng.uniform(2, 40, (2, 2)), text)
        for text in texts
    ]


@torch.inference_mode()
def plain_greedy(checkpoint: Checkpoint, moment: Observation) -> tuple[tuple[int, ...], np.ndarray]:
    """Tokens and path by the published algorithm."""
    model, spec = checkpoint.model.eval(), checkpoint.settings.tiles
    tiles = torch.from_numpy(camera_to_tiles(moment.image, spec, checkpoint.cut_bonnet)[None])
    row = checkpoint.tokenizer.row(moment.prompt, tiles.shape[1] * model.backbone.tokens_per_tile)
    points = torch.tensor(moment.target_points[None], dtype=torch.float32)
    text = model.embed_text(torch.tensor([row.ids]), tiles, points)
    tokens: list[int] = []
    while len(tokens) < MOST_TOKENS and checkpoint.tokenizer.end_token not in tokens:
        scores = model.backbone.output_layer()(model.backbone.decode(text)[:, -1])
        tokens.append(int(scores.argmax()))
        text = torch.cat([text, model.backbone.embed(torch.tensor([tokens[-1:]]))], dim=1)
    if tokens[-1] != checkpoint.tokenizer.end_token:
        tokens.append(checkpoint.tokenizer.end_token)
        text = torch.cat([text, model.backbone.embed(torch.tensor([tokens[-1:]]))], dim=1)
    near = moment.target_points.ravel() / 20 * (prompts.TARGET_POINT in moment.prompt)
    numbers = torch.tensor([moment.speed / 10, *near], dtype=torch.float32)
    queries = model.heads.queries()[None] + model.query_numbers.mlp(numbers)
    hidden = model.backbone.decode(torch.cat([text, queries], dim=1))[:, -model.heads.num_queries :]
    path, _ = model.heads(hidden, torch.tensor([moment.speed]))
    assert path is not None
    return tuple(tokens), path[0].numpy()


@pytest.fixture(scope="module")
def expected(checkpoint: Checkpoint, moments: list[Observation]) -> list[tuple[tuple[int, ...], np.ndarray]]:
    return [plain_greedy(checkpoint, moment) for moment in moments]


@pytest.fixture(scope="module")
def policy(checkpoint: Checkpoint, expected: object) -> Policy:
    """Comes after the plain loop, because loading merges adapters into copies of the weights."""
    return Policy(checkpoint, "cpu")


def check(prediction: object, wanted: tuple[tuple[int, ...], np.ndarray]) -> None:
    assert prediction.tokens == wanted[0]
    np.testing.assert_allclose(prediction.path, wanted[1], atol=2e-4)


def test_answers_are_worth_testing(expected: list[tuple[tuple[int, ...], np.ndarray]]) -> None:
    assert len({tokens for tokens, _ in expected}) > 1
    assert max(len(set(tokens)) for tokens, _ in expected) > 3


@pytest.mark.parametrize("use_drafts", [True, False])
def test_tokens_and_path_are_those_of_the_plain_loop(checkpoint, moments, expected, use_drafts) -> None:
    policy = Policy(checkpoint, "cpu", use_drafts=use_drafts)
    session = Session()
    for moment, wanted in zip([*moments, *moments], [*expected, *expected], strict=True):
        check(policy.act(moment, session), wanted)


def test_an_image_without_bonnet_is_not_cut_again(policy, moments, expected) -> None:
    assert not policy.sees_bonnet
    for moment, wanted in zip(moments, expected):
        check(policy.act(replace(moment, image=cut_bonnet(moment.image), is_cut=True), Session()), wanted)


def test_no_draft_changes_the_answer(policy, moments, expected) -> None:
    """Sixty wrong, nearly right, too long and too short guesses."""
    rng = random.Random(1)
    vocabulary = policy.tokenizer.size
    for trial in range(60):
        number = trial % len(moments)
        draft = list(expected[number][0])
        for _ in range(rng.randrange(4)):
            place = rng.randrange(len(draft) + 1)
            draft[place : place + rng.randrange(3)] = rng.choices(range(vocabulary), k=rng.randrange(3))
        if rng.random() < 0.3:
            draft = draft[: rng.randrange(len(draft) + 1)]
        check(policy.act(moments[number], Session(draft=tuple(draft))), expected[number])


def test_a_draft_that_holds_takes_one_pass(policy, moments, expected, monkeypatch) -> None:
    passes = []
    forward = policy.engine.decoder.forward
    monkeypatch.setattr(policy.engine.decoder, "forward", lambda *inputs: passes.append(1) or forward(*inputs))
    check(policy.act(moments[0], Session(draft=expected[0][0])), expected[0])
    assert len(passes) == 1


def test_a_batch_of_different_lengths_gives_what_each_gets_alone(policy, moments, expected) -> None:
    sessions = [Session(), Session(draft=expected[1][0]), Session(draft=expected[0][0][:5]), Session()]
    for _ in range(2):
        for prediction, wanted in zip(policy.act_batch(moments, sessions), expected, strict=True):
            check(prediction, wanted)


def test_recorded_passes_give_the_same(checkpoint, moments, expected) -> None:
    """Padded passes as a GPU records them: drafts that hold, nearly hold and mislead, in batches and alone."""
    policy = Policy(checkpoint, "cpu", recorded=True)
    nearly = [(*tokens[:3], 7, *tokens[4:]) for tokens, _ in expected]
    for drafts in ([()] * 4, [tokens for tokens, _ in expected], nearly, nearly[::-1]):
        sessions = [Session(draft=draft) for draft in drafts]
        for prediction, wanted in zip(policy.act_batch(moments, sessions), expected, strict=True):
            check(prediction, wanted)
        check(policy.act(moments[0], Session(draft=drafts[0])), expected[0])


def test_cars_that_come_and_go_get_the_same_and_record_nothing_anew(checkpoint, moments, expected) -> None:
    """Three cars run as four rows; what was recorded for a number of rows serves until the end."""
    policy, recorded = Policy(checkpoint, "cpu", recorded=True, most_cars=4), []
    policy.engine._record = policy.engine._record_vision = lambda function: recorded.append(function) or function
    before = 0
    for turn in range(2):
        for cars in ([0], [1, 2, 3], [3, 0], [2, 1, 0, 3], [1, 0, 2]):
            predictions = policy.act_batch([moments[car] for car in cars], [Session() for _ in cars])
            for car, prediction in zip(cars, predictions, strict=True):
                check(prediction, expected[car])
        assert len(recorded) == before or turn == 0
        before = len(recorded)
    assert before > 0


class CountingSpeaker:
    """Ends sentences as the GPU's kernel does, with the plain decoder."""

    def __init__(self, decoder: CachedDecoder, longest: int, end_token: int) -> None:
        self.start, self.said = torch.zeros(3, dtype=torch.int32), torch.zeros(1 + longest, dtype=torch.int32)
        self.decoder, self.end_token, self.launches = decoder, end_token, 0

    def launch(self, row: int) -> None:
        token, place, most = self.start.tolist()
        said = []
        while len(said) < most and token != self.end_token:
            token = self.decoder.next_token(row, token, place + len(said))
            said.append(token)
        self.said[: 1 + len(said)] = torch.tensor([len(said), *said])
        self.launches += 1


def test_a_sentence_is_made_on_the_device_at_once(checkpoint, moments, expected) -> None:
    policy = Policy(checkpoint, "cpu", recorded=True, use_drafts=False)
    speakers = []

    def make(decoder: CachedDecoder, end_token: int) -> CountingSpeaker:
        speakers.append(CountingSpeaker(decoder, MOST_TOKENS, end_token))
        return speakers[-1]

    policy.engine._make_speaker = make
    for moment, wanted in zip(moments, expected, strict=True):
        check(policy.act(moment, Session()), wanted)
    assert sum(speaker.launches for speaker in speakers) == sum(len(tokens) > 1 for tokens, _ in expected)


def test_text_on_every_third_tick_stands_in_between(checkpoint, moments, expected) -> None:
    """The actions in between are those behind the sentence that stands."""
    later = replace(moments[1], prompt=moments[0].prompt.replace("3.2", "11.0"))
    first, second = expected[0][0], plain_greedy(checkpoint, later)[0]
    assert first != second
    policy, session = Policy(checkpoint, "cpu", text_every=3), Session()
    said = [policy.act([moments[0], later][number % 2], session).tokens for number in range(7)]
    assert said == [first, first, first, second, second, second, first]


def test_another_question_is_answered_at_once(checkpoint, moments, expected) -> None:
    policy, session = Policy(checkpoint, "cpu", text_every=3), Session()
    for number in (0, 1, 2, 2, 3, 0):
        check(policy.act(moments[number], session), expected[number])


def test_every_stage_is_told(policy, moments) -> None:
    told = policy.act(moments[0], Session()).stage_ms
    assert list(told) == ["preprocess", "vision", "prefill", "text", "action"]
    assert all(value >= 0 for value in told.values())


def test_dropout_is_an_option_that_changes_answers(checkpoint, moments, expected) -> None:
    """As published: two equal calls differ; with the option off they do not."""
    policy = Policy(replace(checkpoint), "cpu", dropout=True)
    torch.manual_seed(0)
    paths = [policy.act(moments[0], Session()).path for _ in range(2)]
    assert not np.array_equal(paths[0], paths[1])
    checkpoint.model.eval()


def test_dropout_with_a_seed_gives_the_same_alone_and_among_others(checkpoint, moments, expected) -> None:
    """Bit for bit, whatever was drawn before: a drive must not depend on who else asks the policy server."""
    policy = Policy(replace(checkpoint), "cpu", dropout=True)
    cars = [replace(moment, seed=number) for number, moment in enumerate(moments[:3])]
    alone = [policy.act(car, Session()) for car in cars]
    torch.rand(7)
    together = policy.act_batch(cars[::-1], [Session() for _ in cars])[::-1]
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_array_equal(one.path, other.path)
        np.testing.assert_array_equal(one.speed_waypoints, other.speed_waypoints)
    assert not np.array_equal(policy.act(replace(cars[0], seed=9), Session()).path, alone[0].path)
    checkpoint.model.eval()


H100, A100, V100 = Gpu((9, 0), 232448), Gpu((8, 0), 166912), Gpu((7, 0), 98304)
RTX_4090 = Gpu((8, 9), 101376)


@pytest.mark.parametrize(
    ("gpu", "dtype", "channels", "reason"),
    [
        (H100, torch.bfloat16, 64, None),
        (H100, torch.float32, 64, None),
        (A100, torch.bfloat16, 128, None),
        (RTX_4090, torch.bfloat16, 64, None),
        (RTX_4090, torch.float32, 64, "131072 bytes of shared memory, and the GPU has 101376"),
        (H100, torch.float16, 64, "weights are torch.float16"),
        (H100, torch.bfloat16, 80, "80 channels"),
        (H100, torch.bfloat16, 8, "8 channels"),
        (V100, torch.bfloat16, 64, "compute capability 7.0, and the kernels need 8.0"),
        (replace(H100, has_triton=False), torch.bfloat16, 64, "Triton is not installed"),
        (replace(H100, is_nvidia=False), torch.bfloat16, 64, "NVIDIA"),
    ],
)
def test_what_keeps_kernels_from_running_is_named(
    gpu: Gpu, dtype: torch.dtype, channels: int, reason: str | None
) -> None:
    decoder = SimpleNamespace(config=Qwen2Config(hidden_size=14 * channels, num_attention_heads=14))
    found = hindrance(decoder, dtype, gpu)
    assert found is None if reason is None else reason in str(found)


def test_a_gpu_without_kernels_runs_operation_by_operation_and_says_so(checkpoint, monkeypatch, caplog) -> None:
    monkeypatch.setattr(Gpu, "of", lambda device: V100)
    arguments = checkpoint.model.eval(), checkpoint.settings, torch.device("cuda")
    assert type(make_engine(*arguments, recorded=None, dropout=False, most_cars=1)) is Engine
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "compute capability 7.0" in caplog.text
    with pytest.raises(ValueError, match="cannot be recorded: the GPU has compute capability 7"):
        make_engine(*arguments, recorded=True, dropout=False, most_cars=1)
    assert type(make_engine(*arguments, recorded=False, dropout=False, most_cars=1)) is Engine
    assert len(caplog.records) == 1, "who asks for it is not told"
    with pytest.raises(ValueError, match="dropout is left on"):
        make_engine(*arguments, recorded=True, dropout=True, most_cars=1)
