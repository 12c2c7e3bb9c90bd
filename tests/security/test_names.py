"""Names and members of folders: what is none, or leads out of its folder, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.platform.errors import InputError
from parley.platform.settings.names import check_name, member_path

OUTSIDE = ["../x", "..", "/etc/passwd", "a/../../x", "", "a\0"]


@pytest.mark.parametrize("text", ["a", "A0", "7", "run_1", "2026-01-31_12-00-00.x", "a" * 64])
def test_a_name_is_given_back(text: str) -> None:
    assert check_name("run name", text) == text


@pytest.mark.parametrize(
    "text",
    [*OUTSIDE, ".", ".hidden", "-rf", "_a", "a/b", "a\\b", "a b", "a\n", "a\0", "é", "a" * 65],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"submission id .* is not a name; write 1 to 64"):
        check_name("submission id", text)


def test_a_long_text_does_not_flood_the_message() -> None:
    with pytest.raises(InputError) as caught:
        check_name("trial name", "x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("member", OUTSIDE)
def test_a_member_outside_its_folder_is_refused(tmp_path: Path, member: str) -> None:
    with pytest.raises(InputError, match=r"manifest\.json names .* outside"):
        member_path(tmp_path / "checkpoint", member, tmp_path / "checkpoint" / "manifest.json")


def test_a_member_behind_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "checkpoint", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (folder / "link").symlink_to(elsewhere)
    with pytest.raises(InputError, match="outside"):
        member_path(folder, "link/file", folder / "manifest.json")
    (folder / "policies").mkdir()
    (folder / "inner").symlink_to(folder / "policies")
    assert member_path(folder, "inner/x", folder / "manifest.json") == folder / "inner/x"
