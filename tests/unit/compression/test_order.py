import pytest

from edgepress.compression.order import conflict
from edgepress.compression.recipe import Recipe, parse_recipe
from edgepress.errors import RecipeError

ZEROS = {"kind": "prune", "structure": "weights", "sparsity": 0.5}
BLOCKS = {**ZEROS, "block": "1x4"}
WIDE = {**ZEROS, "block": "1x16"}
FILTERS = {"kind": "prune", "structure": "filters", "sparsity": 0.5}
RANK = {"kind": "factorize"}
TEACH = {"kind": "distill"}
HALF = {"kind": "distill", "student": {"width": 0.5}}


@pytest.mark.parametrize(
    ("steps", "convert", "words"),
    [
        ([ZEROS, RANK], {}, "step 2 undoes step 1: .*Factorize first"),
        ([FILTERS, ZEROS, HALF], {}, "step 3 undoes step 2: .*Prune after it"),
        ([BLOCKS, FILTERS], {}, "step 2 undoes step 1: .*Remove channels first"),
        ([RANK, {"kind": "distill", "student": "small.keras"}], {}, "takes the place of the model"),
        ([BLOCKS], {"format": "float16", "sparse": "always"}, 'sparse = "always" .*float16.* take none'),
        ([BLOCKS], {"format": "int8", "sparse": "always"}, "the blocks of step 1 .*take only 1x16"),
        ([WIDE], {"format": "int16x8", "sparse": "always"}, "the blocks of step 1 .*take only 1x4"),
    ],
)
def test_steps_that_undo_each_other_are_refused_with_the_reason(steps, convert, words):
    with pytest.raises(ValueError, match=words):
        Recipe.model_validate({"name": "r", "step": steps, "convert": convert})


@pytest.mark.parametrize(
    ("steps", "convert"),
    [
        ([FILTERS, RANK, ZEROS, TEACH], {}),
        ([HALF, FILTERS, BLOCKS], {"format": "float32", "sparse": "always"}),
        ([BLOCKS], {"format": "float16"}),
        ([BLOCKS], {"format": "int16x8", "sparse": "always"}),
        ([ZEROS, FILTERS], {}),
    ],
)
def test_steps_that_leave_each_other_alone_are_taken(steps, convert):
    recipe = Recipe.model_validate({"name": "r", "step": steps, "convert": convert})

    assert conflict(recipe.step, recipe.convert) is None


def test_a_file_says_where_the_conflict_is():
    text = "[[step]]\nkind = 'prune'\nstructure = 'weights'\nsparsity = 0.5\n[[step]]\nkind = 'factorize'\n"

    with pytest.raises(RecipeError, match=r"mine\.toml.*\n.*step 2 undoes step 1"):
        parse_recipe(text, source="mine.toml", default_name="mine")
