"""Starting a trace run from another one's weights (`init_from`), checked before anything starts."""

from __future__ import annotations

from pathlib import Path

from parley.envs.trace.language import Language
from parley.platform.engine.torch.same_model import check_same_model
from parley.platform.runs.checkpoints import CheckpointError
from parley.platform.trace.evaluation.measure import load_tracer
from parley.platform.trace.settings import TraceConfig
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import build_policy, load_policy


def load_trace_start(config: TraceConfig) -> LanguageActorCritic:
    """The policy at `init_from`, on the CPU; it may have been trained on other sizes.

    Raises:
        CheckpointError: there is none, it is no trace checkpoint, speaks another language or
            alphabet, or is another model than the settings describe.
    """
    place = f"init_from {config.init_from}"
    language = config.language.build()
    tracer = load_tracer(Path(config.init_from))
    _check_same_language(place, tracer.task.language, language)
    policy = load_policy(next(iter(tracer.checkpoint.policy_folders.values())))
    assert isinstance(policy, LanguageActorCritic)
    settings = {**config.model.model_dump(), "vocab_size": language.vocab_size}
    expected = build_policy(config.policy, settings)
    check_same_model(place, config.policy, policy.state_dict(), expected.state_dict())
    found = policy.language_model.config.positions
    if found != config.model.positions:
        raise CheckpointError(
            f'{place} was trained with positions "{found}", but model.positions is '
            f'"{config.model.positions}"; set model.positions={found}'
        )
    return policy


def _check_same_language(place: str, found: Language, wanted: Language) -> None:
    """Raise where the tokens of a checkpoint do not mean what the experiment's mean."""
    if found.name != wanted.name:
        raise CheckpointError(
            f"{place} speaks {found.name}, but language.name is {wanted.name}; set "
            f"language.name={found.name}, or start from a run of {wanted.name}"
        )
    if found.alphabet == wanted.alphabet:
        return
    if len(found.alphabet) != len(wanted.alphabet):
        differs = f"{len(found.alphabet)} tokens there, {len(wanted.alphabet)} here"
    else:
        pairs = zip(found.alphabet, wanted.alphabet, strict=True)
        token = next(token for token, (there, here) in enumerate(pairs) if there != here)
        differs = f"token {token} is {found.alphabet[token]} there, {wanted.alphabet[token]} here"
    raise CheckpointError(
        f"{place} has another alphabet of {found.name} than [language.options] give: {differs}; "
        f"repeat the options of that run"
    )
