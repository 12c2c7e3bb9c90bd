"""Whether a judge may give a verdict on answers to these prompts: asked of people's replies first.

A judge that fails the people whose replies stand there does not know this kind of talk, and one
that finds replies of other conversations as fitting as theirs sees nothing. With few prompts, or
prompts of few conversations, nobody can tell. Then there is no verdict, with the reason and what
would help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parley.platform.cooperate.evaluation.preference_accuracy import clustered_mean, clustered_rate
from parley.platform.cooperate.evaluation.questions import Questions, choose_questions
from parley.platform.cooperate.evaluation.table import find_violations
from parley.platform.cooperate.settings import DPOEvaluationConfig
from parley.platform.maxims.data_folder import DATA_VARIABLE
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.report.intervals import LEAST_UNITS, Rate

LEAST_COOPERATIVE = 0.65
"""What is asked of a generator, and so of the people that it is compared with."""
MAJORITY = 0.5
"""That most of what people say passes must be shown by the interval: the rate alone may be luck."""
MOST_CHECKED = 256
"""Held-out prompts on which a judge is tried before training."""


@dataclass(frozen=True)
class JudgeCheck:
    """What a judge says of what people said."""

    num_contexts: int
    """Different ones among the prompts."""
    num_conversations: int
    least_contexts: int
    """That the judge needs, see `Detector`."""
    human: Rate
    """Cooperative replies of people, each where it was said."""
    fit_gain: Rate
    """How much more often that is than where replies of other conversations stand there."""
    learned_from: str
    """What the judge learned from; empty where nobody knows."""

    @property
    def obstacle(self) -> str:
        """Why there is no verdict, and the remedy, in a sentence or two; empty where there is."""
        return self.shortage or self.fault

    @property
    def shortage(self) -> str:
        """What there is too little of; empty where there is enough."""
        return self.shortage_of_contexts or self._shortage_of_conversations

    @property
    def shortage_of_contexts(self) -> str:
        """Too few for the judge; empty where they are enough."""
        if self.num_contexts >= self.least_contexts:
            return ""
        return (
            f"{self.num_contexts} prompts with different contexts are too few for the judge, which "
            f"sees stock replies from {self.least_contexts} on: let more be answered, by "
            f"evaluation.final_prompts = {self.least_contexts} or more (0: all held-out ones), or "
            f"parley evaluate RUN --episodes N; where there are not so many, hold out more by "
            f"parley data prepare --split"
        )

    @property
    def _shortage_of_conversations(self) -> str:
        if self.num_conversations >= LEAST_UNITS:
            return ""
        return (
            f"the prompts are of {self.num_conversations} conversations, and an interval over "
            f"fewer than {LEAST_UNITS} shows nothing: hold out more by "
            f"parley data prepare --split, or let more prompts be answered"
        )

    @property
    def fault(self) -> str:
        """What the judge does wrong; empty where people pass, and more often than out of place."""
        low, high = self.human.interval
        if self.human.value < LEAST_COOPERATIVE or low <= MAJORITY:
            verb = "does not know" if high < LEAST_COOPERATIVE else "may not know"
            return (
                f"the judge finds {self.human.value:.1%} ({low:.1%} to {high:.1%}) of people's "
                f"replies to the same prompts cooperative, and {LEAST_COOPERATIVE:.0%} are asked "
                f"of a model: it {verb} this kind of talk{self._learned}. {REMEDY}"
            )
        low, high = self.fit_gain.interval
        if low <= 0:
            return (
                f"the judge finds people's replies of other conversations as cooperative as those "
                f"that were given (difference {self.fit_gain.value:.1%}, {low:.1%} to {high:.1%})"
                f"{self._learned}. {REMEDY}"
            )
        return ""

    @property
    def _learned(self) -> str:
        return f" (it learned from: {self.learned_from})" if self.learned_from else ""


REMEDY = (
    "Let it learn from such conversations: prepare pairs of more of them (20 conversations with "
    f"300 replies do), or let {DATA_VARIABLE} name a folder with topical_chat/; or name another "
    "judge by judges.judge"
)


def check_judge(judge: Detector, questions: Questions) -> JudgeCheck:
    """Try a judge on what people said to these prompts, and on the same replies exchanged."""
    own = [pair.chosen for pair in questions.pairs]
    flags = find_violations(judge, questions.exchanges(own))
    fits = ~np.any(flags, axis=1)
    others = exchange_replies(questions.conversations)
    moved = others >= 0
    strange = find_violations(judge, questions.exchanges([own[place] for place in others]))
    gains = fits.astype(float) - ~np.any(strange, axis=1)
    conversations = np.array(questions.conversations)
    return JudgeCheck(
        num_contexts=questions.num_contexts,
        num_conversations=len(set(questions.conversations)),
        least_contexts=judge.least_contexts,
        human=clustered_rate(fits, questions.conversations),
        fit_gain=clustered_mean(gains[moved], conversations[moved].tolist()),
        learned_from=judge.learned_from,
    )


@dataclass(frozen=True)
class Standing:
    """What a judge may do in a run; each field says why not, and the remedy, or is empty."""

    no_verdict: str
    """On the last answers."""
    no_choice: str
    """Among checkpoints and trials, by the answers at each measure."""


def check_before_training(
    judge: Detector, pairs: Sequence[PreferencePair], evaluation: DPOEvaluationConfig
) -> Standing:
    """What the independent judge may do in a run that holds out these pairs; nothing is answered.

    It is tried on more prompts than a quick run answers: whether it knows such talk does not depend
    on their number.
    """

    def check(num_prompts: int) -> JudgeCheck:
        return check_judge(judge, choose_questions(pairs, num_prompts, evaluation.seed))

    tried = check(MOST_CHECKED)
    fault = tried.shortage_of_contexts or tried.fault
    final = evaluation.final_prompts
    shortage = check(final).shortage if 0 < final < MOST_CHECKED else tried.shortage
    measured = choose_questions(pairs, evaluation.prompts, evaluation.seed)
    if fault or measured.num_contexts >= judge.least_contexts:
        return Standing(fault or shortage, fault)
    return Standing(
        shortage,
        f"evaluation.prompts = {evaluation.prompts} gives {measured.num_contexts} different "
        f"contexts, and the judge needs {judge.least_contexts} to see stock replies: raise it to "
        f"count cooperative answers, too",
    )


def exchange_replies(conversations: Sequence[str]) -> NDArray[np.int64]:
    """For each of N prompts the number of one of another conversation, [N]; -1 where none is left.

    Every prompt's reply is given to one other prompt at most.
    """
    order = np.argsort(np.array(conversations), kind="stable")
    _, sizes = np.unique(np.array(conversations), return_counts=True)
    partners = np.empty(len(order), np.int64)
    partners[order] = np.roll(order, -int(sizes.max()))
    same = [
        conversations[int(partner)] == own
        for partner, own in zip(partners, conversations, strict=True)
    ]
    return np.where(same, -1, partners)
