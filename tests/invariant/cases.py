"""The runs whose figures a refactor must keep: one short run of each kind of experiment.

Their models are small, so that what they write can be kept and opened by later versions, see
`tests/compatibility`.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL_NET = ("model.embed_size=16", "model.ff_hidden=32", "model.num_states=4", "model.heads=2")
FEW_EPISODES = ("evaluation.episodes=4", "evaluation.selection_episodes=4")
CART_PPO = (
    *FEW_EPISODES,
    "rollouts.num_envs_per_env_runner=4",
    "rollouts.rollout_fragment_length=32",
    "ppo.minibatch_size=64",
    "ppo.num_epochs=2",
    "stop.max_env_steps=1024",
    "evaluation.interval_env_steps=512",
    "checkpoint.interval_iterations=2",
    "checkpoint.keep=1",
)
TRACE = (
    *SMALL_NET,
    "training.num_steps=40",
    "training.warmup_steps=5",
    "training.eval_interval=20",
    "training.batch_tokens=1024",
    "stream.block_batches=2",
    "evaluation.inputs_per_size=20",
    "evaluation.selection_inputs=20",
    "checkpoint.keep=1",
)
DISTORT = (
    "competitor={pretrain}",
    "distorter={pretrain}",
    "stop.max_iterations=3",
    "dialogue.max_turns=3",
    "dialogue.max_reply_tokens=8",
    "rollouts.dialogues_per_iteration=16",
    "rollouts.num_envs_per_env_runner=8",
    "reward.calibration_dialogues=8",
    "evaluation.episodes=8",
    "evaluation.interval_iterations=2",
    "transcripts.keep_every=8",
    "checkpoint.interval_iterations=2",
    "checkpoint.keep=1",
)
DPO = (
    "model={pretrain}",
    "data.num_generated=120",
    "supervised.num_epochs=1",
    "supervised.warmup_steps=2",
    "dpo.num_epochs=1",
    "dpo.warmup_steps=2",
    "evaluation.interval_steps=5",
    "evaluation.prompts=4",
    "evaluation.final_prompts=8",
    "generation.candidates=2",
    "generation.num_beams=2",
    "generation.max_new_tokens=16",
    "checkpoint.keep=1",
)


@dataclass(frozen=True)
class Case:
    """One run.

    `{NAME}` in a setting is the run folder of the case of that name, which stands before it.
    """

    name: str
    experiment: str
    settings: tuple[str, ...]
    command: str = "train"


CASES = (
    Case("cartpole", "cartpole/ppo", (*SMALL_NET, *CART_PPO)),
    Case("two_carts", "cartpole/ppo", (*CART_PPO, "policy=mlp", "env.num_carts=2")),
    Case(
        "imitate",
        "cartpole/imitate",
        (
            *SMALL_NET,
            *FEW_EPISODES,
            "data.num_expert_episodes=8",
            "data.num_random_episodes=4",
            "training.num_steps=40",
            "training.warmup_steps=5",
            "training.eval_interval=20",
            "checkpoint.keep=1",
        ),
    ),
    Case("warm_start", "cartpole/ppo", (*SMALL_NET, *CART_PPO, "init_from={imitate}")),
    Case("addition", "trace/addition", (*TRACE, "language.max_size=2", "evaluation.sizes=[1,3]")),
    Case("sorting", "trace/sorting", (*TRACE, "language.max_size=3", "evaluation.sizes=[2,4]")),
    Case("markov", "trace/markov", (*TRACE, "evaluation.sizes=[32]")),
    Case("hidden_markov", "trace/hidden_markov", (*TRACE, "evaluation.sizes=[32]")),
    Case("tracking", "trace/tracking", (*TRACE, "evaluation.sizes=[16,32]")),
    Case("cart_traces", "trace/cartpole", (*TRACE, "evaluation.sizes=[10]")),
    Case(
        "trace_ppo",
        "trace/addition",
        (
            "algorithm=ppo",
            "init_from={addition}",
            *SMALL_NET,
            "language.max_size=2",
            "evaluation.sizes=[1,2]",
            "evaluation.inputs_per_size=20",
            "evaluation.selection_inputs=20",
            "checkpoint.keep=1",
            "ppo.num_iterations=3",
            "ppo.eval_interval=2",
            "rollouts.traces_per_env_runner=16",
        ),
    ),
    Case(
        "pretrain",
        "dialogue/pretrain",
        (
            "data.num_dialogues=300",
            "model.vocab_size=300",
            "model.context=128",
            "model.embed_size=32",
            "model.heads=2",
            "training.num_steps=40",
            "training.warmup_steps=5",
            "training.eval_interval=20",
            "checkpoint.keep=1",
        ),
    ),
    Case("distort", "dialogue/distort", (*DISTORT, "ppo.minibatch_size=8")),
    Case(
        "reinforce",
        "dialogue/distort",
        (*DISTORT, "algorithm=reinforce", "reinforce.minibatch_size=8"),
    ),
    Case(
        "past_selves",
        "dialogue/distort",
        (*DISTORT, "ppo.minibatch_size=8", "pool.share=0.5", "pool.interval_iterations=1"),
    ),
    Case("dpo", "dialogue/dpo", DPO),
    Case("lora", "dialogue/dpo", (*DPO, "lora.rank=2")),
    Case(
        "sweep",
        "dialogue/dpo",
        (*DPO, "sweep.space.dpo.beta.grid=[0.1,0.3]", "sweep.space.dpo.learning_rate.grid=[1e-3]"),
        "tune",
    ),
    Case(
        "detector",
        "dialogue/detector",
        (
            "data.num_dialogues=60",
            "data.clean_turns=80",
            "data.injections=10",
            "model.folds=3",
            "model.num_trees=5",
            "evaluation.unseen_injections=5",
            "evaluation.clean_turns=20",
        ),
    ),
)
