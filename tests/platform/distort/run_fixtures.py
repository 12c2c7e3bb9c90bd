"""A self-play run of seconds."""

from __future__ import annotations

TINY = [
    "stop.max_iterations=4",
    "dialogue.max_turns=4",
    "dialogue.max_reply_tokens=10",
    "rollouts.num_env_runners=1",
    "rollouts.num_envs_per_env_runner=4",
    "rollouts.dialogues_per_iteration=8",
    "learner.num_threads=1",
    "reward.calibration_dialogues=8",
    "evaluation.episodes=6",
    "evaluation.interval_iterations=2",
    "checkpoint.interval_iterations=2",
    "transcripts.keep_every=1",
    "transcripts.show_interval=3",
]
"""Iterations of 8 dialogues in two batches; evaluations and checkpoints after 2 and 4."""
