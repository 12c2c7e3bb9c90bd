"""What tells two judges of the same name apart: what they were made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from parley.platform.maxims.detector.embedded import embedded_config, embedded_detector_folder
from parley.platform.maxims.loading import EMBEDDED_NAME, Role, check_folder, find_detector_folder


def identify_detector(name: str, role: Role, has_pairs: bool = False) -> str | None:
    """What the detector that `load_detector` gives is made of; nothing is built or loaded.

    Args:
        name, role: as in `load_detector`.
        has_pairs: whether the embedded judge may learn from prepared pairs, which are pinned by
            themselves.

    Returns:
        Of an embedded one its folder in the cache, which is named by a hash of settings and data;
        of a folder a hash of its files; of a Hugging Face name the commit that lies in the local
        cache, None where there is none.

    Raises:
        InputError: there is no such folder, or `PARLEY_DATA` cannot be used.
    """
    if name == EMBEDDED_NAME:
        if role == "detector":
            return embedded_detector_folder(embedded_config()).name
        from parley.platform.maxims.judge.building import embedded_judge_folder, has_conversations

        name = embedded_judge_folder().name
        return name.replace("judge-", "pairs-") if has_pairs and not has_conversations() else name
    check_folder(name)
    folder = find_detector_folder(Path(name)) or Path(name)
    return _hash_files(folder) if folder.is_dir() else _cached_commit(name)


def _hash_files(folder: Path) -> str:
    """Twelve hexadecimal digits of names and content of a folder's own files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()[:12]


def _cached_commit(name: str) -> str | None:
    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # no name that the Hub could have
        return None
    return Path(found).parent.name if isinstance(found, str) else None
