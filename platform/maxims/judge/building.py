"""The judge that parley carries: independent of what trains and selects generators.

It shares no labelled row and no feature with the embedded detector: it learns from conversations
what a fitting reply is, knows no injected violation, and takes its thresholds from human replies.

It is built on first use, from real conversations where `PARLEY_DATA` names a folder that holds
`topical_chat`, else from those of the training side of prepared pairs, else from small talk that
parley generates. Conversations are split three ways by the hash of their ids: most to learn from,
some for the calibration, and some that nothing here looks at, on which attacks are tried. A recipe
says all that the judge depends on; its hash names the folder in the cache.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np

from parley.envs.dialogue.conversation_files import load_conversations
from parley.envs.dialogue.conversations import (
    Conversation,
    Split,
    number_conversations,
    split_conversations,
)
from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.errors import InputError
from parley.platform.maxims.data_folder import CONVERSATIONS_FOLDER, DATA_VARIABLE
from parley.platform.maxims.judge.attacks import list_scenes
from parley.platform.maxims.judge.diversity import find_usual_share
from parley.platform.maxims.judge.human_calibration import Calibration
from parley.platform.maxims.judge.judge import (
    FittedJudge,
    JudgeParts,
    load_judge,
    measure_form,
    read_context,
    save_judge,
)
from parley.platform.maxims.judge.ranker import Ranker
from parley.platform.maxims.judge.ranker_encoders import (
    MiniLMEncoder,
    TurnEncoder,
    has_minilm,
    learn_words,
)
from parley.platform.maxims.judge.ranker_training import RankerSettings, train_ranker
from parley.platform.maxims.judge.reply_fit import FitParts, find_clues, join, score_unseen
from parley.platform.maxims.judge.topics import Topics
from parley.platform.maxims.judge.word_order import TrigramOrder
from parley.platform.maxims.pairs.conversations import count_replies
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.records import Facts
from parley.platform.runs.cache_folder import build_once, cache_root, find_damage
from parley.platform.runs.files import to_json
from parley.platform.terminal.progress import shown

Report = Callable[[str, float], None]

SMALL_TALK, PREPARED = "generated small talk", "training side of the prepared pairs"
"""Where conversations come from, if not from the folder of real ones."""
LEAST_CONVERSATIONS, LEAST_REPLIES = 20, 300
"""Of prepared pairs that a judge can be made of: fewer human replies give no thresholds."""
MOST_CONVERSATIONS = 1_500
"""Of prepared pairs; more would take longer than they are worth."""
SCARCE_REPLIES = 5_000
"""Below, the conversations are read `SCARCE_PASSES` times as often, and a larger share calibrates:
rare signals need some hundred human replies."""
SCARCE_PASSES, SCARCE_SELECTION = 3, 0.25


@dataclass(frozen=True)
class JudgeRecipe:
    """Everything that the judge is made of, besides the conversations."""

    version: int = 2
    """Raised when the code changes what comes out of the same settings."""
    encoder: str = "minilm"
    """`minilm`, or `words` where the extra `embeddings` is not installed."""
    ranker: RankerSettings = field(default_factory=RankerSettings)
    word_width: int = 192
    """Size of learned word vectors."""
    num_topics: int = 200
    """Directions of the topic vectors."""
    num_generated: int = 1_500
    """Small-talk dialogues, where there are no real conversations."""
    corpus_seed: int = 2_000_003
    """Of the small talk: other dialogues than those that pairs and detectors are made from."""
    holdout: float = 0.08
    """Share of the conversations for attacks."""
    selection: float = 0.07
    """Share of the conversations for the calibration."""
    seed: int = 0
    num_threads: int = 1
    """One: on a machine that does other work, two threads wait for each other."""

    def digest(self, conversations: Sequence[Conversation]) -> str:
        """Names recipe and conversations: twelve hexadecimal digits."""
        found = hashlib.sha256(to_json(asdict(self)).encode())
        for talk in conversations:
            found.update("\0".join((talk.id, *talk.messages, "")).encode())
        return found.hexdigest()[:12]


def embedded_judge(
    log: Callable[[str], None],
    recipe: JudgeRecipe | None = None,
    talks: Sequence[Conversation] = (),
) -> FittedJudge:
    """The judge that parley carries, built on first use (minutes) into the user's cache.

    Args:
        log: is told in a line what it rests on.
        recipe: what to build; by default with MiniLM where it is installed.
        talks: see `find_conversations`.

    Raises:
        CacheError: the cache cannot be written.
        InputError: PARLEY_DATA names conversations that cannot be read.
    """
    judge = load_judge(find_or_build(log, recipe, talks))
    judge.learned_from = find_conversations(recipe or _recipe_here(), talks)[1]
    return judge


def find_or_build(
    log: Callable[[str], None],
    recipe: JudgeRecipe | None = None,
    talks: Sequence[Conversation] = (),
) -> Path:
    """The folder of the judge, which is built on first use.

    Raises:
        CacheError: the cache cannot be written.
        InputError: PARLEY_DATA names conversations that cannot be read.
    """
    chosen = recipe or _recipe_here()
    conversations, source = find_conversations(chosen, talks)
    chosen = _fit_recipe(chosen, conversations, source)
    num_talks = len({talk.origin for talk in conversations})
    log(f"judge: learned from {num_talks:,} conversations ({source}), {chosen.encoder}")
    folder = _folder_of(chosen, conversations)
    if find_damage(folder) is None:
        return folder
    with shown("building the judge") as building:
        return build_once(
            folder,
            lambda target: _build(chosen, conversations, target, building.report),
            building.say,
        )


def embedded_judge_folder() -> Path:
    """Where the judge lies that learned from no pairs, or will lie once it is built.

    Raises:
        InputError: PARLEY_DATA names conversations that cannot be read.
    """
    recipe = _recipe_here()
    return _folder_of(recipe, find_conversations(recipe)[0])


def has_conversations() -> bool:
    """Whether PARLEY_DATA names conversations to learn from."""
    return _conversations_folder() is not None


def _recipe_here() -> JudgeRecipe:
    return JudgeRecipe(encoder="minilm" if has_minilm() else "words")


def _folder_of(recipe: JudgeRecipe, conversations: Sequence[Conversation]) -> Path:
    return cache_root() / f"judge-{recipe.digest(conversations)}"


def find_conversations(
    recipe: JudgeRecipe, talks: Sequence[Conversation] = ()
) -> tuple[list[Conversation], str]:
    """The conversations to learn from, and what they are in a few words.

    Args:
        recipe: how much small talk to generate where there is nothing else.
        talks: of the kind of talk that is to be judged, without what is judged; taken where
            PARLEY_DATA names none, if they are enough.

    Raises:
        InputError: PARLEY_DATA names conversations that cannot be read.
    """
    folder = _conversations_folder()
    if folder is None:
        chosen = _choose_talks(talks)
        if chosen:
            return chosen, PREPARED
        return _generate(recipe.num_generated, recipe.corpus_seed), SMALL_TALK
    try:
        return load_conversations(folder), CONVERSATIONS_FOLDER
    except ValueError as error:
        raise InputError(f"{error} (named by {DATA_VARIABLE})") from error


@lru_cache(maxsize=1)
def _generate(num: int, seed: int) -> list[Conversation]:
    """Small talk; asked for once to name the judge, and once more to load it."""
    return number_conversations(generate_dialogues(num, seed))


def _conversations_folder() -> Path | None:
    data = os.environ.get(DATA_VARIABLE)
    folder = Path(data, CONVERSATIONS_FOLDER) if data else None
    return folder if folder is not None and folder.exists() else None


def _choose_talks(talks: Sequence[Conversation]) -> list[Conversation]:
    """As many as are useful, by the hash of their ids; none where they are too few."""
    origins = {talk.origin for talk in talks}
    if len(origins) < LEAST_CONVERSATIONS or count_replies(talks) < LEAST_REPLIES:
        return []
    ordered = sorted(origins, key=lambda name: hashlib.sha256(name.encode()).digest())
    kept = set(ordered[:MOST_CONVERSATIONS])
    return [talk for talk in talks if talk.origin in kept]


def _fit_recipe(
    recipe: JudgeRecipe, conversations: Sequence[Conversation], source: str
) -> JudgeRecipe:
    """The recipe as the prepared pairs ask for it; their held-out side is what nothing looks at."""
    if source != PREPARED:
        return recipe
    recipe = replace(recipe, holdout=0.0)
    if count_replies(conversations) >= SCARCE_REPLIES:
        return recipe
    num_epochs = SCARCE_PASSES * recipe.ranker.num_epochs
    ranker = replace(recipe.ranker, num_epochs=num_epochs)
    return replace(recipe, selection=SCARCE_SELECTION, ranker=ranker)


def split_for_judge(recipe: JudgeRecipe, conversations: Sequence[Conversation]) -> Split:
    """Training, calibration (`selection`) and what nothing has seen (`heldout`)."""
    return split_conversations(conversations, recipe.holdout, recipe.selection)


def build_judge(
    recipe: JudgeRecipe, conversations: Sequence[Conversation], report: Report
) -> FittedJudge:
    """The judge of this recipe, learned and calibrated.

    Args:
        recipe: how.
        conversations: all of them; they are split here.
        report: is told of the stages.
    """
    started = time.perf_counter()
    split = split_for_judge(recipe, conversations)
    talks = [talk.messages for talk in split.training]
    turns = [turn for talk in talks for turn in talk]
    with limit_threads(recipe.num_threads):
        encoder = _make_encoder(recipe, turns)
        rankers = _train_rankers(recipe, encoder, talks, report)
        report("learning topics and the order of words", 0.94)
        fit = FitParts(encoder, rankers, Topics.learn(talks, recipe.num_topics, recipe.seed))
        order = TrigramOrder.learn(turns)
        report("calibrating", 0.97)
        parts, calibration, usual_share = calibrate(fit, order, split.selection, recipe.seed)
    facts = _state_facts(recipe, split, time.perf_counter() - started)
    report("done", 1.0)
    return FittedJudge(parts, calibration, usual_share, facts)


def calibrate(
    fit: FitParts, order: TrigramOrder, conversations: Sequence[Conversation], seed: int
) -> tuple[JudgeParts, Calibration, float]:
    """What is learned from conversations that the rankers have not seen.

    Returns:
        The whole judge with its clues joined; the measures of human replies, the misfit by
        regressions that have not seen their conversation; the usual share of stock replies.
    """
    scenes = list(list_scenes(conversations, Random(seed)))
    human = [scene.exchange for scene in scenes]
    contexts = [read_context(row) for row in human]
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(talk.origin, len(numbers)) for talk in conversations]
    owners = np.repeat(places, [len(talk.messages) - 1 for talk in conversations])
    true = find_clues(fit, contexts, [normalise_space(row.response) for row in human])
    false = find_clues(fit, contexts, [normalise_space(scene.pool[0]) for scene in scenes])
    measured = measure_form(order, human) | {"misfit": -score_unseen(true, false, owners)}
    parts = JudgeParts(fit, join(true, false), order)
    return parts, Calibration(measured), find_usual_share(human)


def _train_rankers(
    recipe: JudgeRecipe,
    encoder: TurnEncoder,
    talks: Sequence[Sequence[str]],
    report: Report,
) -> list[Ranker]:
    """The rankers of the recipe."""
    settings = recipe.ranker
    turns = [turn for talk in talks for turn in talk]
    firsts = np.concatenate([[0], np.cumsum([len(talk) for talk in talks])])
    states = encoder.encode(turns, lambda what, share: report(what, 0.4 * share))
    rankers = []
    for number in range(settings.num_rankers):

        def tell(loss: float, share: float, number: int = number) -> None:
            done = (number + share) / settings.num_rankers
            report(f"training, loss {loss:.2f}", 0.4 + 0.54 * done)

        seed = recipe.seed + number
        rankers.append(train_ranker(states, firsts, settings, seed, tell))
    return rankers


def _make_encoder(recipe: JudgeRecipe, turns: Sequence[str]) -> TurnEncoder:
    if recipe.encoder == MiniLMEncoder.name:
        return MiniLMEncoder()
    return learn_words(turns, recipe.word_width, recipe.seed)


def _state_facts(recipe: JudgeRecipe, split: Split, seconds: float) -> Facts:
    return {
        "recipe": asdict(recipe),
        "seconds": seconds,
        "num_training": len(split.training),
        "calibration_conversations": [talk.id for talk in split.selection],
        "heldout_conversations": [talk.id for talk in split.heldout],
    }


def _build(
    recipe: JudgeRecipe, conversations: Sequence[Conversation], folder: Path, report: Report
) -> None:
    save_judge(build_judge(recipe, conversations, report), folder)
