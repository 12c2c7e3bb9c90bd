"""Preference data on disk: written whole, read back, read from others, refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from datasets import load_dataset

from parley.platform.maxims.pairs.folder import (
    Format,
    PairFolderError,
    check_target,
    read_pairs,
    write_folder,
)
from parley.platform.maxims.pairs.generated import generate_pairs
from parley.platform.maxims.pairs.pair import PairSplit
from parley.platform.maxims.pairs.reading import DataFileError
from parley.platform.maxims.text.exchange import make_prompt

SPLIT = generate_pairs(40, seed=0)
ROW = {"prompt": make_prompt("[agent_1]: Hi", "FS1"), "chosen": "Hello.", "rejected": "No."}


def write(folder: Path, split: PairSplit = SPLIT, file_format: Format = "parquet") -> None:
    write_folder(folder, split, file_format, {"dropped.jsonl": [{"reason": "none"}]}, {"seed": 0})


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_what_is_written_is_read_and_datasets_loads_it(tmp_path: Path, file_format: Format) -> None:
    folder = tmp_path / "test data"
    write(folder, file_format=file_format)
    assert read_pairs(folder) == SPLIT
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 36, "test": 4}
    first = loaded["train"][0]
    assert list(first) == ["id", "conversation", "prompt", "chosen", "rejected", "maxim", "source"]
    assert first["chosen"] == SPLIT.training[0].chosen
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_equal_pairs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_replacing_leaves_nothing_of_the_old_format(tmp_path: Path) -> None:
    write(tmp_path / "data")
    with pytest.raises(PairFolderError, match="--force"):
        check_target(tmp_path / "data", force=False)
    check_target(tmp_path / "data", force=True)
    write(tmp_path / "data", file_format="jsonl")
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == ["dropped.jsonl", "summary.json", "test.jsonl", "train.jsonl"]


def test_a_failed_write_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data")
    broken = PairSplit(SPLIT.training, [None])  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        write(tmp_path / "data", broken)
    assert read_pairs(tmp_path / "data") == SPLIT
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    check_target(tmp_path / "absent", force=False)
    check_target(tmp_path, force=False)
    (tmp_path / "thesis.txt").write_text("all of it")
    for force in (False, True):
        with pytest.raises(PairFolderError, match=r"thesis\.txt"):
            check_target(tmp_path, force)
    write(tmp_path / "data")
    (tmp_path / "data" / "notes.txt").write_text("mine")
    with pytest.raises(PairFolderError, match=r"notes\.txt"):
        check_target(tmp_path / "data", force=True)
    with pytest.raises(PairFolderError, match="is a file"):
        check_target(tmp_path / "thesis.txt", force=True)
    with pytest.raises(PairFolderError, match="cannot be written: File exists"):
        write(tmp_path / "thesis.txt" / "data")


def write_rows(path: Path, *rows: object) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_folders_of_others_need_three_columns(tmp_path: Path) -> None:
    worded = {**ROW, "prompt": "Context: c\nEvidence: e\n\nGenerate a cooperative response:"}
    write_rows(tmp_path / "train.jsonl", ROW, {**worded, "extra": 1})
    table = pyarrow.Table.from_pylist([ROW])
    pyarrow.parquet.write_table(table, tmp_path / "test.parquet")
    split = read_pairs(tmp_path)
    first, second = split.training
    assert (first.maxim, first.source, len(first.id)) == ("unknown", "train.jsonl", 16)
    assert second.prompt == make_prompt("c", "e")
    assert split.heldout[0].id == first.id
    assert split.heldout[0].conversation == first.conversation != second.conversation


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1], "row 2: not an object"),
        ({**ROW, "chosen": 3}, "row 2: column chosen is not text: '3'"),
        ({"prompt": ROW["prompt"], "chosen": "a"}, "row 2: column rejected is absent"),
        ({**ROW, "rejected": " "}, "row 2: column rejected is empty"),
        ({**ROW, "maxim": 1}, "row 2: column maxim is not text"),
        ({**ROW, "prompt": "Say:"}, "row 2: column prompt: prompt not of the form"),
    ],
)
def test_errors_name_file_row_and_column(tmp_path: Path, row: object, message: str) -> None:
    write_rows(tmp_path / "train.jsonl", ROW, row)
    write_rows(tmp_path / "test.jsonl", ROW)
    with pytest.raises(PairFolderError) as caught:
        read_pairs(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'train.jsonl'}, {message}")


def test_folders_that_hold_no_pairs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PairFolderError, match="parley data prepare"):
        read_pairs(tmp_path / "absent")
    with pytest.raises(PairFolderError, match=r"no train\.parquet or train\.jsonl"):
        read_pairs(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 not really")
    write_rows(tmp_path / "test.jsonl", ROW)
    with pytest.raises(DataFileError, match="not readable Parquet"):
        read_pairs(tmp_path)
    write_rows(tmp_path / "train.jsonl", ROW)
    with pytest.raises(PairFolderError, match="remove one"):
        read_pairs(tmp_path)
    (tmp_path / "train.parquet").unlink()
    (tmp_path / "test.jsonl").write_text("\n")
    with pytest.raises(DataFileError, match=r"test\.jsonl is empty"):
        read_pairs(tmp_path)
