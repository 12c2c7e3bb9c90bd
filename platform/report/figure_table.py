"""The table of final figures: titles, units, meanings, and which figure counts what they are of.

Rows stand in the order of the workflows; `figures` looks them up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One final figure.

    Attributes:
        title: in a report.
        unit: below it, in a few words.
        meaning: one plain sentence, without a full stop.
        count: name of the figure that says how many things it is of; empty: none.
        things: what these are.
    """

    title: str
    unit: str = ""
    meaning: str = ""
    count: str = ""
    things: str = ""


PAIRS = ("heldout_pairs", "held-out pairs")
PROMPTS = ("prompts", "held-out prompts")
INPUTS = ("inputs_trained_sizes", "held-out inputs")
EPISODES = ("episodes", "episodes")
ROWS = ("labelled_rows", "labelled rows")

CARTPOLE = {
    "mean_return": Figure(
        "Mean return",
        "greedy episodes",
        "steps that the pole stayed up, mean over episodes in which the likelier action is taken",
        *EPISODES,
    ),
    "min_return": Figure("Least return", "greedy episodes", "the same of the worst episode"),
    "episodes": Figure("Episodes", "", "how many were played to measure"),
    "evaluation_env_steps": Figure(
        "Steps to measure", "environment steps", "environment steps of these episodes together"
    ),
    "env_steps": Figure("Environment steps", "", "environment steps, all episodes together"),
    "steps_per_s": Figure(
        "Speed", "environment steps per second", "environment steps per second of measuring"
    ),
    "other_token_rate": Figure(
        "Unmasked choice is no action",
        "share of decisions",
        "share of the decisions at which a token that is no action is the likeliest of all; it is "
        "never taken, since only the action tokens are compared",
        *EPISODES,
    ),
    "train_env_steps": Figure(
        "Steps of training", "environment steps", "environment steps that training saw"
    ),
    "solved_env_steps": Figure(
        "Solved after",
        "environment steps",
        "environment steps of training when a greedy evaluation first reached stop.target_return",
    ),
    "train_seconds": Figure("Time of training", "seconds", "seconds of training"),
    "train_steps_per_s": Figure(
        "Speed of training",
        "environment steps per second",
        "of training, measuring left out",
    ),
    "heldout_loss": Figure(
        "Held-out loss", "nats per token", "loss on episodes held out of training, nats per token"
    ),
    "heldout_loss_state": Figure(
        "Held-out loss, states", "nats per token", "the same on the tokens of states alone"
    ),
    "heldout_loss_action": Figure(
        "Held-out loss, actions", "nats per token", "the same on action tokens alone"
    ),
    "heldout_loss_done": Figure(
        "Held-out loss, ends", "nats per token", "the same on the tokens that end an episode"
    ),
    "best_step": Figure(
        "Best checkpoint", "gradient steps", "gradient steps of the checkpoint that is measured"
    ),
    "train_steps": Figure("Gradient steps", "", "gradient steps of training"),
    "train_tokens": Figure("Tokens learned", "", "tokens that training saw"),
}

TRACES = {
    "exact_match": Figure(
        "Exact match",
        "executed traces, held out, trained sizes",
        "share of the inputs of trained sizes whose written trace, executed, gives the right "
        "answer; none for a random source, which has no right answer",
        *INPUTS,
    ),
    "illegal_rate": Figure(
        "Illegal traces",
        "share with an illegal step, trained sizes",
        "share of the traces with a token that the real state does not allow",
        *INPUTS,
    ),
    "first_error_position": Figure(
        "First error",
        "tokens right before it, mean",
        "tokens that were right before the first wrong one, mean over the traces of trained sizes "
        "that are not exact; none where all are",
    ),
    "first_error_position_median": Figure(
        "First error, median", "tokens right before it", "the same, median"
    ),
    "first_error_position_relative": Figure(
        "First error, relative", "share of the trace before it", "the same over the trace's length"
    ),
    "nats_over_optimal": Figure(
        "Over the optimum",
        "nats per label, trained sizes",
        "nats per determined token of true traces above the best possible predictor's; a sample's, "
        "which may fall below 0 for a random source",
        *INPUTS,
    ),
    "label_accuracy": Figure(
        "Labels right",
        "true traces, read, trained sizes",
        "share of the determined tokens of true traces that the model finds likeliest",
        *INPUTS,
    ),
    "kl_per_state": Figure(
        "KL per state",
        "nats, mean over states",
        "KL of the expected next state from the true chain's, mean over states",
    ),
    "kl_per_state_max": Figure("KL, worst state", "nats", "the same of the worst state"),
    "belief_accuracy": Figure(
        "Hidden states, belief",
        "share read off by a linear probe",
        "share of the hidden states that a linear probe reads off the model's beliefs, at the "
        "largest trained size",
    ),
    "optimal_filter_accuracy": Figure(
        "Hidden states, optimal filter",
        "share",
        "share that the forward algorithm with the true parameters gets right",
    ),
    "base_rate": Figure(
        "Hidden states, most frequent", "share", "share of the most frequent hidden state"
    ),
    "inputs": Figure("Inputs", "all sizes", "held-out inputs that were measured, of all sizes"),
    "inputs_trained_sizes": Figure(
        "Inputs of trained sizes", "", "how many of these the figures without a suffix are of"
    ),
    "inputs_beyond_training": Figure(
        "Inputs of other sizes", "", "how many the figures with _beyond_training are of"
    ),
    "trained_sizes": Figure("Trained sizes", "", "sizes that were trained and measured"),
    "sizes_beyond_training": Figure("Other sizes", "", "sizes that were only measured"),
}

SELF_PLAY = {
    "competitor_nll": Figure(
        "Competitor's NLL",
        "nats per token",
        "surprise of the competitor at the trained seats' replies, nats per token",
        "episodes",
        "dialogues",
    ),
    "kl": Figure(
        "KL to the starting point",
        "nats per token, exact",
        "KL of the trained policy from where it started, exact at every token that it said",
        "episodes",
        "dialogues",
    ),
    "kl_estimate": Figure(
        "KL as training sees it",
        "nats per token, estimate",
        "the mean log-ratio of the drawn tokens alone: scatters, may fall below 0, and is biased "
        "where sampling is truncated (top-k, top-p) or tempered",
        "episodes",
        "dialogues",
    ),
    "distinct_2": Figure(
        "Distinct-2",
        "share of bigrams",
        "share of the pairs of neighbouring tokens that are different from all others; falls as "
        "more is said",
    ),
    "reply_length": Figure("Reply length", "tokens", "tokens of a trained seat's reply, mean"),
    "iterations": Figure("Iterations", "", "iterations of training"),
    "tokens_per_s": Figure(
        "Speed", "tokens per second", "tokens per second that the model wrote or learned"
    ),
}

GENERATOR = {
    "cooperative_rate": Figure(
        "Cooperative rate",
        "greedy, by the independent judge",
        "share of the greedy responses in which the independent judge finds no violated maxim",
        *PROMPTS,
    ),
    "cooperative_rate_reranked": Figure(
        "Re-ranked",
        "cooperative rate, best of n",
        "the same of the best of several responses by the pipeline's detector",
        *PROMPTS,
    ),
    "cooperative_rate_repaired": Figure(
        "Re-ranked and repaired",
        "cooperative rate",
        "the same after a repair pass over these",
        *PROMPTS,
    ),
    "cooperative_rate_human": Figure(
        "Human responses", "cooperative rate", "the same of the chosen responses", *PROMPTS
    ),
    "cooperative_rate_by_detector": Figure(
        "Cooperative by the own detector",
        "greedy",
        "share of the greedy responses in which the pipeline's own detector finds nothing",
        *PROMPTS,
    ),
    "cooperative_gain": Figure(
        "Gain over the untuned",
        "cooperative rate, prompt by prompt",
        "cooperative rate less the untuned model's, prompt by prompt",
        *PROMPTS,
    ),
    "preference_accuracy": Figure(
        "Preference accuracy",
        "implicit reward, held-out pairs",
        "share of the pairs whose chosen response has the larger implicit reward; ties count half",
        *PAIRS,
    ),
    "preference_accuracy_length_controlled": Figure(
        "Length-controlled",
        "preference accuracy",
        "the same, pairs so weighted that a rule on length alone gets one half; pairs of equal "
        "length keep their share",
        "preference_accuracy_length_controlled_pairs",
        "held-out pairs",
    ),
    "preference_accuracy_pairs": Figure(
        "Pairs by maxim", "", "pairs behind preference_accuracy_by_maxim"
    ),
    "criteria": Figure("Criteria", "", "whether each condition of success is met"),
    "preference_accuracy_length_controlled_pairs": Figure(
        "Pairs length-controlled", "", "how many pairs that figure is of"
    ),
    "preference_accuracy_length_controlled_pairs_left_out": Figure(
        "Pairs left out there", "", "pairs left out of it: no pair of the opposite kind of length"
    ),
    "likelihood_accuracy_per_token": Figure(
        "Likelihood accuracy",
        "per token, held-out pairs",
        "share of the pairs whose chosen response is the likelier one per token, without reference",
        *PAIRS,
    ),
    "eval_loss": Figure(
        "DPO loss", "nats per pair, held out", "DPO loss on held-out pairs; ln 2 before training"
    ),
    "eval_chosen_nll": Figure(
        "NLL of the chosen",
        "nats per token, held out",
        "negative log-likelihood of the chosen responses, nats per token",
    ),
    "eval_objective": Figure(
        "Objective",
        "held out",
        "what training minimises: eval_loss + dpo.chosen_nll_weight x eval_chosen_nll",
    ),
    "heldout_pairs": Figure("Held-out pairs", "", "pairs that were measured"),
    "prompts": Figure("Prompts", "held out", "prompts that were answered"),
    "chosen_perplexity": Figure(
        "Perplexity of the chosen", "per token, tuned", "of the chosen responses, tuned model"
    ),
    "chosen_perplexity_reference": Figure(
        "Perplexity of the chosen", "per token, reference", "of the chosen responses, reference"
    ),
    "chosen_perplexity_ratio": Figure(
        "Perplexity ratio of the chosen",
        "tuned over reference",
        "the first over the second: far above 1, accuracy was bought by making all unlikely",
    ),
    "distinct_1": Figure("Distinct-1", "share of words", "share of the words that are different"),
    "response_words": Figure("Response length", "words, greedy", "words of a response, mean"),
    "response_perplexity": Figure(
        "Perplexity of the responses", "under the reference", "of the responses by the reference"
    ),
    "looping_words": Figure(
        "Loops",
        "share of runs of four words",
        "share of runs of four words that stood earlier in the same response",
    ),
    "repeated_responses": Figure(
        "Repeated responses",
        "share, word for word",
        "share of the responses that were given to an earlier prompt, word for word",
        *PROMPTS,
    ),
    "violation_rate": Figure(
        "Violations", "share of the responses", "share of the responses with this violation"
    ),
    "best_score": Figure("Best score", "", "the score by which the best trial was chosen"),
    "best_trial": Figure("Best trial", "", "the trial whose checkpoint was exported and measured"),
    "best_config": Figure("Settings of the best trial", "", "what that trial was given"),
    "trials": Figure("Trials", "", "trials of the sweep"),
    "trials_done": Figure("Trials done", "", "those that ran to their end"),
    "trials_stopped_early": Figure("Trials stopped early", "", "those that the scheduler cut"),
    "trials_failed": Figure("Trials failed", "", "those that an error ended"),
}

DETECTOR = {
    "macro_f1": Figure(
        "Macro-F1", "labelled rows", "F1 of finding violations, mean over maxims", *ROWS
    ),
    "f1": Figure("F1", "", "harmonic mean of precision and recall"),
    "precision": Figure("Precision", "", "share of what is found that is labelled"),
    "recall": Figure("Recall", "", "share of what is labelled that is found"),
    "flag_rate": Figure(
        "Flag rate",
        "share of the rows",
        "share of the rows in which anything is found",
        "rows",
        "rows",
    ),
    "human_flag_rate": Figure(
        "Flag rate, people's replies",
        "share of the rows",
        "the same of people's own replies",
        "human_rows",
        "rows",
    ),
    "turn_flag_rate": Figure(
        "Flag rate, conversations",
        "share of the turns",
        "the same of turns of conversations",
        "turn_rows",
        "turns",
    ),
    "rows": Figure("Rows", "", "rows that were judged"),
    "labelled_rows": Figure("Labelled rows", "", "rows with labels"),
    "dropped_rows": Figure("Dropped rows", "", "rows that could not be read"),
    "ms_per_row": Figure("Time of a row", "milliseconds", "processor time of a row"),
}

PRETRAINING = {
    "heldout_nats_per_token": Figure(
        "Held-out loss",
        "nats per token",
        "loss on dialogues held out of training, nats per token",
        "heldout_dialogues",
        "dialogues",
    ),
    "heldout_perplexity": Figure(
        "Held-out perplexity",
        "per token",
        "the same as a perplexity",
        "heldout_dialogues",
        "dialogues",
    ),
    "heldout_tokens": Figure("Held-out tokens", "", "tokens of these dialogues"),
    "heldout_dialogues": Figure("Held-out dialogues", "", "how many they are"),
    "unigram_nats_per_token": Figure(
        "Unigrams", "nats per token", "the loss of a unigram model of the same training dialogues"
    ),
    "bigram_nats_per_token": Figure("Bigrams", "nats per token", "the same of bigrams"),
    "trigram_nats_per_token": Figure("Trigrams", "nats per token", "the same of trigrams"),
    "vocab_size": Figure("Vocabulary", "tokens", "different tokens"),
}

GROUPS = {
    "CartPole": CARTPOLE,
    "Traces": TRACES,
    "Self-play": SELF_PLAY,
    "Preferences and cooperation": GENERATOR,
    "Detectors": DETECTOR,
    "Pretraining": PRETRAINING,
}
"""Kind of run -> its figures."""
FIGURES = {name: figure for group in GROUPS.values() for name, figure in group.items()}
"""Name -> figure."""
