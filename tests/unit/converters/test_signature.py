from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgepress_converters.signature import input_name, model_order, output_name


@given(st.permutations(range(14)), st.sampled_from([input_name, output_name]))
def test_our_names_give_the_models_order_back_however_they_are_shuffled(order: list[int], name_of: object) -> None:
    names = [name_of(position) for position in order]  # type: ignore[operator]
    assert [order[index] for index in model_order(names)] == list(range(14))


@given(st.lists(st.sampled_from(["input_0", "output_1", "dense", ""])))
def test_names_that_are_not_ours_stay_in_the_order_of_the_file(names: list[str]) -> None:
    foreign = [f"x{name}" for name in names]
    assert model_order(foreign) == list(range(len(names)))


def test_a_gap_in_the_count_means_that_the_names_are_not_ours() -> None:
    assert model_order(["input_3", "input_1"]) == [0, 1]
    assert model_order(["input_0", "input_0"]) == [0, 1]
