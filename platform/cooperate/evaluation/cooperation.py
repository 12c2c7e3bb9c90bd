"""How cooperative a tuned generator is on held-out prompts, and what it has to be compared with.

The pipeline (generate, detect, re-rank, repair) knows its own detector only. What counts is the
verdict of a judge that took no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.cooperate.evaluation.generation import decoding_of, generate
from parley.platform.cooperate.evaluation.judge_check import check_judge
from parley.platform.cooperate.evaluation.judging_aside import judging_aside
from parley.platform.cooperate.evaluation.metrics import (
    BASE,
    BEAM,
    EVALUATION_FILE,
    HUMAN,
    REJECTED,
    REPAIRED,
    RERANKED,
    SAMPLED,
    TUNED,
    UNTUNED,
    UNTUNED_RERANKED,
    Answers,
    Verdicts,
    check_criteria,
    find_obstacle,
    keep_samples,
    name_check,
    name_figures,
    name_rate,
    name_rates,
    name_variety,
)
from parley.platform.cooperate.evaluation.preference_accuracy import PairLogProbs, measure_accuracy
from parley.platform.cooperate.evaluation.questions import Questions, choose_questions
from parley.platform.cooperate.evaluation.repairing import repair
from parley.platform.cooperate.evaluation.reranking import Choice, choose_best, violation_risks
from parley.platform.cooperate.evaluation.table import (
    LEGEND,
    SystemFigures,
    find_violations,
    format_table,
    measure_system,
)
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.language.completions import completion_log_probs
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.records import Facts, Metrics
from parley.platform.runs.files import atomic_write_text, to_json
from parley.policies.dialogue.loading import LanguageModel

Report = Callable[[str], None]


@dataclass(frozen=True)
class CooperationResult:
    """What an evaluation found.

    Attributes:
        metrics: figures by their contract's names.
        table: the systems in order.
        samples: some prompts with every system's answer and both verdicts, as plain values.
        lines: the table and the criteria as text.
    """

    metrics: Metrics
    table: list[SystemFigures]
    samples: list[Facts]
    lines: list[str]

    def write(self, folder: Path, source: str = "") -> None:
        """Keep it in a run folder, for the report.

        Args:
            folder: of the run; an earlier evaluation is replaced.
            source: what was evaluated on which data, in words.
        """
        content = {
            "source": source,
            "metrics": self.metrics,
            "table": [system.as_row() for system in self.table],
            "samples": self.samples,
        }
        atomic_write_text(folder / EVALUATION_FILE, to_json(content, indent=1) + "\n")


@dataclass(frozen=True)
class QuickCooperation:
    """What is measured of N greedy responses in training."""

    cooperative: NDArray[np.bool_] | None
    """[N], by the judge; None where it cannot tell."""
    conversations: list[str]
    """Of each."""
    metrics: Metrics


def quick_cooperation(
    model: LanguageModel,
    pairs: Sequence[PreferencePair],
    judge: Detector | None,
    config: DialogueDPOConfig,
    num_prompts: int,
    seed: int,
) -> QuickCooperation:
    """Figures of the model's greedy responses, for use in training.

    Args:
        model: what is trained; afterwards in the mode it was in.
        pairs: held out.
        judge: what counts; None: nothing is counted, as the judge cannot tell.
        config: how responses are written.
        num_prompts, seed: see `choose_questions`; the same prompts every time.
    """
    questions = choose_questions(pairs, num_prompts, seed)
    written = generate(model, questions.prompts, decoding_of(config, "greedy"))
    rows = questions.exchanges([responses[0].text for responses in written])
    unjudged = np.zeros((len(rows), len(MAXIMS)), np.bool_)
    judged = unjudged if judge is None else find_violations(judge, rows)
    figures = measure_system(TUNED, rows, questions.conversations, judged, judged)
    counted = {
        **name_rate("cooperative_rate", figures.cooperative),
        **name_rates("violation_rate_by_maxim", figures.violations),
    }
    return QuickCooperation(
        None if judge is None else ~np.any(judged, axis=1),
        questions.conversations,
        {
            **({} if judge is None else counted),
            "response_words": figures.words,
            **{name: rate.value for name, rate in name_variety(figures).items()},
        },
    )


def evaluate_generator(
    tuned: LanguageModel,
    reference: LanguageModel,
    base: LanguageModel | None,
    pairs: Sequence[PreferencePair],
    detector: Detector,
    judge: Detector,
    config: DialogueDPOConfig,
    num_prompts: int,
    seed: int,
    report: Report,
) -> CooperationResult:
    """Preference accuracy on all pairs, and cooperative rates of all systems on the prompts.

    Args:
        tuned: what DPO made.
        reference: what it started from.
        base: the model before supervised tuning, where that is another one.
        pairs: of held-out conversations.
        detector: ranks and repairs.
        judge: counts; it took no part in training and takes none in ranking.
        config: how responses are written, and DPO's beta.
        num_prompts: see `choose_questions`.
        seed: of prompts and of drawn responses.
        report: is told in one line what is being done, then given the table.

    Raises:
        InputError: there is no pair, or a prompt has another form.
    """
    questions = choose_questions(pairs, num_prompts, seed)
    check = check_judge(judge, questions)
    if check.obstacle:
        report(f"NO VERDICT: {check.obstacle}")
    answers: Answers = {}
    with judging_aside(judge, detector, questions) as judging:

        def keep(name: str, texts: list[str]) -> None:
            answers[name] = texts
            judging.begin(name, texts)

        keep(HUMAN, [pair.chosen for pair in questions.pairs])
        keep(REJECTED, [pair.rejected for pair in questions.pairs])
        report(f"measuring preferences on {len(pairs)} held-out pairs")
        metrics = measure_preferences(tuned, reference, pairs, config)
        report(f"answering {len(questions.pairs)} held-out prompts")
        if base is not None:
            keep(BASE, _write(base, questions, config))
        _run_pipelines(tuned, reference, questions, detector, config, seed, keep)
        perplexities = {n: _perplexity(reference, questions, answers[n], config) for n in answers}
        report("judging the answers")
        verdicts = judging.finish()
    table = _tabulate(questions, answers, verdicts, perplexities)
    metrics |= name_figures(table, verdicts, questions.conversations) | name_check(check)
    criteria = check_criteria(metrics)
    metrics["criteria"] = {criterion.name: criterion.is_met for criterion in criteria}
    lines = [*format_table(table), *LEGEND, *describe_verdicts(metrics, detector)]
    for line in lines:
        report(line)
    return CooperationResult(metrics, table, keep_samples(questions, answers, verdicts), lines)


def _tabulate(
    questions: Questions,
    answers: Answers,
    verdicts: Mapping[str, Verdicts],
    perplexities: Mapping[str, float],
) -> list[SystemFigures]:
    """The figures of each system, in their order."""
    return [
        measure_system(
            name,
            questions.exchanges(answers[name]),
            questions.conversations,
            found.judged,
            found.detected,
            perplexities[name],
        )
        for name, found in verdicts.items()
    ]


def describe_verdicts(metrics: Mapping[str, Any], detector: Detector) -> list[str]:
    """The criteria and what to think of them, as lines."""
    lines = []
    low, high = metrics["flag_rate_human_by_detector_ci95"]
    if low > detector.max_flag_rate:
        lines.append(
            f"The detector flags {metrics['flag_rate_human_by_detector']:.0%} of people's replies "
            f"({low:.0%} to {high:.0%}): it does not know this kind of talk, and neither `own` nor "
            f"re-ranking is worth much. Train one: dialogue/detector, then judges.detector=RUN."
        )
    obstacle = find_obstacle(metrics)
    if obstacle:
        return [*lines, f"NO VERDICT: {obstacle}"]
    criteria = check_criteria(metrics)
    lines += [f"{criterion.mark.upper():<11}{criterion.text}" for criterion in criteria]
    if any(criterion.is_met is None for criterion in criteria):
        lines.append("Undecided: the interval holds both; more held-out prompts narrow it.")
    return lines


def measure_preferences(
    tuned: LanguageModel,
    reference: LanguageModel,
    pairs: Sequence[PreferencePair],
    config: DialogueDPOConfig,
) -> Metrics:
    """Accuracy by implicit reward and by likelihood per token, loss, perplexity of the chosen.

    The accuracy without a suffix is that of the implicit reward against the reference.
    """
    log_probs = pair_log_probs(tuned, reference, pairs, config.data.max_prompt_tokens)
    margins = log_probs.implicit_margins(config.dpo.beta)
    likelihood = measure_accuracy(log_probs.likelihood_margins(), pairs)
    return {
        **measure_accuracy(margins, pairs).metrics(),
        **name_rate("likelihood_accuracy_per_token", likelihood.accuracy),
        **log_probs.losses(config.dpo),
        "heldout_pairs": len(pairs),
        **log_probs.chosen_perplexities(),
    }


def pair_log_probs(
    tuned: LanguageModel,
    reference: LanguageModel,
    pairs: Sequence[PreferencePair],
    max_prompt_tokens: int = 0,
) -> PairLogProbs:
    """What both models think of both responses of N pairs, each computed here."""
    prompts = [pair.prompt for pair in pairs] * 2
    responses = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    (tuned_sums, counts), (reference_sums, _) = (
        completion_log_probs(model, prompts, responses, max_prompt_tokens)
        for model in (tuned, reference)
    )
    shape = (2, len(pairs))
    return PairLogProbs(
        tuned_sums.reshape(shape).T, reference_sums.reshape(shape).T, counts.reshape(shape).T
    )


def repair_choices(
    detector: Detector, contexts: Sequence[tuple[str, str]], choices: Sequence[Choice]
) -> list[str]:
    """One repair pass over the choices that the detector flags; kept where the risk falls."""
    texts = [choice.text for choice in choices]
    flagged = [i for i, choice in enumerate(choices) if choice.risk >= 0.0 and choice.text.strip()]
    rows = [Exchange(*contexts[i], texts[i]) for i in flagged]
    flags = find_violations(detector, rows)
    mended = []
    for i, row, found in zip(flagged, rows, flags, strict=True):
        maxims = [maxim for maxim, is_violated in zip(MAXIMS, found, strict=True) if is_violated]
        repaired = repair(row, maxims, choices[i].others)
        mended.append(row._replace(response=repaired.text))
    for i, row, risk in zip(flagged, mended, violation_risks(detector, mended), strict=True):
        if risk < choices[i].risk:
            texts[i] = row.response
    return texts


def _run_pipelines(
    tuned: LanguageModel,
    reference: LanguageModel,
    questions: Questions,
    detector: Detector,
    config: DialogueDPOConfig,
    seed: int,
    keep: Callable[[str, list[str]], None],
) -> None:
    """What the models answer, alone and behind the detector; re-ranking gets the same for both.

    `keep` takes the name of each system and its responses, as they come.
    """
    greedy = _write(reference, questions, config)
    keep(UNTUNED, greedy)
    drawn = _draw_candidates(reference, questions, config, seed)
    candidates = [[g, *d] for g, d in zip(greedy, drawn, strict=True)]
    choices = choose_best(detector, questions.contexts, candidates)
    keep(UNTUNED_RERANKED, [choice.text for choice in choices])
    greedy = _write(tuned, questions, config)
    keep(TUNED, greedy)
    beams = generate(tuned, questions.prompts, decoding_of(config, "beam"))
    keep(BEAM, [responses[0].text for responses in beams])
    drawn = _draw_candidates(tuned, questions, config, seed)
    keep(SAMPLED, [texts[0] for texts in drawn])
    candidates = [[g, *d] for g, d in zip(greedy, drawn, strict=True)]
    choices = choose_best(detector, questions.contexts, candidates)
    keep(RERANKED, [choice.text for choice in choices])
    keep(REPAIRED, repair_choices(detector, questions.contexts, choices))


def _write(model: LanguageModel, questions: Questions, config: DialogueDPOConfig) -> list[str]:
    """Greedy responses."""
    written = generate(model, questions.prompts, decoding_of(config, "greedy"))
    return [responses[0].text for responses in written]


def _draw_candidates(
    model: LanguageModel, questions: Questions, config: DialogueDPOConfig, seed: int
) -> list[list[str]]:
    decoding = decoding_of(config, "sample", config.generation.candidates)
    drawn = generate(model, questions.prompts, decoding, seed)
    return [[response.text for response in responses] for responses in drawn]


def _perplexity(
    reference: LanguageModel, questions: Questions, texts: list[str], config: DialogueDPOConfig
) -> float:
    sums, counts = completion_log_probs(
        reference, questions.prompts, texts, config.data.max_prompt_tokens
    )
    return float(np.exp(-sums.sum() / counts.sum()))
