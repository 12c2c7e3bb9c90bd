from __future__ import annotations

import numpy as np
import pytest

from parley.envs.trace.languages import LANGUAGES, build_language
from parley.envs.trace.split import draw_split, hash_inputs, is_heldout


def test_the_hash_is_the_same_everywhere() -> None:
    inputs = np.array([[1, 2, 3], [3, 2, 1]])
    assert hash_inputs("sorting", 3, inputs).tolist() == [336763720823852558, 15812554276305171135]


def test_the_hash_depends_on_name_size_order_and_values() -> None:
    row = np.array([[1, 2, 3]])
    hashes = [
        hash_inputs("sorting", 3, row),
        hash_inputs("addition", 3, row),
        hash_inputs("sorting", 4, row),
        hash_inputs("sorting", 3, row[:, ::-1]),
        hash_inputs("sorting", 3, np.array([[1, 2, 4]])),
        hash_inputs("sorting", 3, np.array([[1, 2, 3, 0]])),
    ]
    assert len({int(each[0]) for each in hashes}) == len(hashes)


def test_the_hash_of_a_row_does_not_depend_on_its_neighbours() -> None:
    inputs = np.random.default_rng(0).integers(0, 10, (50, 6))
    together = hash_inputs("addition", 3, inputs)
    alone = [int(hash_inputs("addition", 3, row[None])[0]) for row in inputs]
    assert together.tolist() == alone


@pytest.mark.parametrize("holdout", [0.02, 0.1, 0.5])
def test_the_share_of_all_inputs_is_as_asked(holdout: float) -> None:
    digits = np.stack(np.unravel_index(np.arange(10**4), (10,) * 4), axis=1)
    share = is_heldout(build_language("addition"), 2, digits, holdout).mean()
    assert abs(share - holdout) < 4 * np.sqrt(holdout * (1 - holdout) / 10**4)


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_parts_share_nothing_that_can_be_seen(name: str) -> None:
    language, size = build_language(name), 6
    parts = [
        {
            tuple(row)
            for row in language.visible(
                draw_split(language, size, 200, np.random.default_rng(seed), part, 0.3)
            ).tolist()
        }
        for seed in range(2)
        for part in ("training", "heldout")
    ]
    assert not (parts[0] | parts[2]) & (parts[1] | parts[3])


def test_draws_follow_the_generator() -> None:
    language = build_language("sorting")
    first, second = (
        draw_split(language, 5, 100, np.random.default_rng(7), "training", 0.1) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape == (100, 5)
    assert draw_split(language, 5, 0, np.random.default_rng(7), "training", 0.1).shape == (0, 5)


def test_both_ends_of_the_holdout() -> None:
    language, generator = build_language("parity"), np.random.default_rng(0)
    assert len(draw_split(language, 3, 50, generator, "training", 0.0)) == 50
    assert len(draw_split(language, 3, 50, generator, "heldout", 1.0)) == 50
    with pytest.raises(ValueError, match=r"holdout must be between 0 and 1, got 1\.5"):
        draw_split(language, 3, 1, generator, "heldout", 1.5)
    with pytest.raises(ValueError, match="part must be 'training' or 'heldout', got 'test'"):
        draw_split(language, 3, 1, generator, "test", 0.1)  # type: ignore[arg-type]


def test_an_empty_part_is_an_error_that_says_how_many_inputs_there_are() -> None:
    language, generator = build_language("parity"), np.random.default_rng(0)
    with pytest.raises(
        ValueError,
        match=r"parity: no input of size 1 is in the heldout part: .* \(there are 2 inputs",
    ):
        draw_split(language, 1, 5, generator, "heldout", 1e-4)
    with pytest.raises(ValueError, match="in the training part"):
        draw_split(language, 1, 5, generator, "training", 1 - 1e-4)


def test_a_small_part_is_found() -> None:
    language, generator = build_language("addition"), np.random.default_rng(0)
    drawn = draw_split(language, 1, 500, generator, "heldout", 0.05)
    every = np.stack(np.divmod(np.arange(100), 10), axis=1)
    held = every[is_heldout(language, 1, every, 0.05)]
    assert {tuple(row) for row in drawn.tolist()} == {tuple(row) for row in held.tolist()}
