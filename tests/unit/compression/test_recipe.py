import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgepress.compression.recipe import Recipe, _explain, load_recipe, parse_recipe, recipe_id, shipped_recipes
from edgepress.data.pictures import Pictures
from edgepress.errors import RecipeError


def parsed(text: str):
    return parse_recipe(text, source="mine.toml", default_name="mine")


def problem(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parsed(text)
    return str(caught.value)


def test_every_word_of_the_language_is_read():
    recipe = parsed(
        """
        name = "all"
        [[step]]
        kind = "prune"
        structure = "filters"
        sparsity = 0.5
        schedule = "one-shot"
        [[step]]
        kind = "factorize"
        method = "svd"
        rank = { energy = 0.95 }
        [[step]]
        kind = "distill"
        signal = "response"
        student = { width = 0.5 }
        epochs = 5
        [convert]
        format = "int8"
        io = "float32"
        allow_float = ["RSQRT"]
        """
    )

    assert [step.kind for step in recipe.step] == ["prune", "factorize", "distill"]
    assert recipe.step[0].round_to is None
    assert recipe.step[1].rank.energy == 0.95
    assert (recipe.conversion.format, recipe.conversion.io) == ("int8", "float32")
    assert recipe.conversion.allow_float == ("RSQRT",)


def test_a_recipe_says_how_pictures_become_inputs():
    text = "[input]\nsize = [96, 64]\ncolor = 'bgr'\nmean = [104.0, 117, 123]\nscale = 255"

    assert parsed(text).pictures == Pictures((96, 64), "bgr", (104.0, 117.0, 123.0), (255.0,))
    assert parsed("").pictures is None


def test_a_recipe_without_a_name_takes_its_file_s():
    assert parsed("").name == "mine"


QAT = '[[step]]\nkind = "quantize"\nmethod = "qat"\n'
INT8 = '[convert]\nformat = "int8"'


def test_another_rule_for_ranges_is_a_step_at_the_end():
    recipe = parsed(f'{INT8}\ncalibration = "percentile"')

    assert [(step.kind, step.method) for step in recipe.step] == [("quantize", "ptq")]
    assert parsed(INT8).step == ()


def test_a_model_that_was_trained_for_int8_may_learn_from_a_teacher_still():
    recipe = parsed(f'{QAT}[[step]]\nkind = "distill"\n{INT8}')

    assert [step.kind for step in recipe.step] == ["quantize", "distill"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[step]]\nkind = "prune"\nstructure = "filter"\nsparsity = 0.5', ["step.1.structure", "'filter'", "filters"]),
        ('[[step]]\nkind = "prune"\nstructure = "filters"\nsparsity = 1.5', ["step.1.sparsity", "1.5", "less than 1"]),
        ('[[step]]\nkind = "prune"\nstructure = "filters"\nsparsity = "x"', ["step.1.sparsity", "'x'", "number"]),
        ('[[step]]\nkind = "prune"\nstructure = "filters"', ["step.1.sparsity", "missing"]),
        ('[[step]]\nkind = "prun"', ["step.1", "'prun'", "prune, factorize, distill, quantize"]),
        ("[[step]]\nsparsity = 0.5", ["step.1", "kind is None", "prune, factorize"]),
        (
            '[[step]]\nkind = "prune"\nstructure = "filters"\nsparcity = 0.5\nsparsity = 0.5',
            ["step.1.sparcity", "unknown key", "did you mean 'sparsity'?", "round_to"],
        ),
        ('[convert]\nformat = "int7"', ["convert.format", "'int7'", "int16x8"]),
        ('[convert]\nfromat = "int8"', ["convert.fromat", "did you mean 'format'?"]),
        ("[convrt]", ["convrt", "did you mean 'convert'?"]),
        (
            '[[step]]\nkind = "factorize"\nrank = { energy = 0.9, ratio = 0.5 }',
            ["step.1.rank", "exactly one", "energy and ratio"],
        ),
        ('[[step]]\nkind = "factorize"\nrank = { enrgy = 0.9 }', ["step.1.rank.enrgy", "did you mean 'energy'?"]),
        (
            '[[step]]\nkind = "prune"\nstructure = "weights"\nsparsity = 0.5\nround_to = 8',
            ["step.1", "round_to goes with"],
        ),
        ('[[step]]\nkind = "distill"\nstudent = { width = 2.0 }', ["step.1.student", "2.0"]),
        ('[[step]]\nkind = "distill"\nsignal = "respons"', ["step.1.signal", "'respons'", "'hint', 'attention'"]),
        ('[[step]]\nkind = "distill"\nsignal = { hint = -1 }', ["step.1.signal.hint", "-1", "greater than 0"]),
        ('[[step]]\nkind = "distill"\nlayers = { a = "b" }', ["step.1", "layers goes with signals other than"]),
        ('[[step]]\nkind = "distill"\nmutual = true\nsignal = "hint"', ["step.1", "exchange their response"]),
        ('[[step]]\nkind = "distill"\nstudent = { with = 0.5 }', ["step.1.student.with", "did you mean 'width'?"]),
        ('[[step]]\nkind = "distill"\ntemperature = inf', ["step.1.temperature", "inf", "finite"]),
        ('[[step]]\nkind = "quantize"\nmethod = "qat"', ["the recipe", "quantize", 'format = "int8"', '"float32"']),
        ('[convert]\nformat = "int16x8"\ncalibration = "mse"', ["calibration", '"minmax"', "int16x8"]),
        ('[[step]]\nkind = "quantize"\nmethod = "ptq"\nepochs = 3', ["step.1", "epochs", "trains nothing"]),
        (f"{QAT}[[step]]\nkind = 'prune'\nstructure = 'weights'\nsparsity = 0.5\n{INT8}", ["quantize", "comes last"]),
        ("[input]\ncolor = 'rgb'", ["input.size", "missing"]),
        ("[input]\nsize = [0, 8]", ["input.size", "0"]),
        ("[input]\nsize = [8, 8]\ncolour = 'rgb'", ["input.colour", "did you mean 'color'?"]),
        ("[input]\nsize = [8, 8]\nmean = [1, 2]", ["input", "mean has 2 numbers; rgb pictures take one"]),
        (
            '[[step]]\nkind = "prune"\nstructure = "filters"\nsparsity = 0.5\nkeep = "stem"',
            ["step.1.keep", "'stem'", "a list in [ ] is wanted"],
        ),
        ("[convert]\nruntimes = 3", ["convert.runtimes", "3", "a list in [ ] is wanted"]),
        ('[step]\nkind = "prune"', ["step:", "'prune'", "written [[step]], in double brackets"]),
        ('name = "../other"', ["name", "'../other'", "folders"]),
        ('name = ""', ["name", "''"]),
        ('[[step]]\nkind = "prune"\nstructure = \n', ["not valid TOML", "line 3"]),
    ],
)
def test_a_mistake_is_named_with_its_file_place_value_and_what_is_allowed(text, words):
    message = problem(text)

    assert "mine.toml" in message
    for word in words:
        assert word in message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_value_in_place_of_the_steps_is_read_or_refused_with_a_message(value):
    problems = []
    try:
        Recipe.model_validate({"name": "any", "step": [value]})
    except ValidationError as error:
        problems = [_explain(each) for each in error.errors()]

    assert all(problems)


def test_the_shipped_recipes_are_valid_and_named_as_their_files():
    assert set(shipped_recipes()) >= {
        "float32",
        "float16",
        "dynamic",
        "int8",
        "int16x8",
        "prune50-int8",
        "prune80-blocks",
        "prune80-weights-int8",
        "svd-int8",
        "qat-int8",
        "student50-int8",
        "prune50-distill-int8",
        "no-training",
        "balanced",
        "small",
        "low-latency",
    }
    assert all(recipe.description for recipe in shipped_recipes().values())
    assert load_recipe("int8").conversion.format == "int8"


def test_an_unknown_name_lists_the_recipes_and_guesses():
    with pytest.raises(RecipeError, match=r"did you mean prune50-int8\?.*svd-int8"):
        load_recipe("prune5-int8")


def test_models_in_a_recipe_are_found_beside_it(tmp_path):
    (tmp_path / "big.keras").write_bytes(b"a model")
    (tmp_path / "mine.toml").write_text('[[step]]\nkind = "distill"\nteacher = "big.keras"\n')

    assert load_recipe(str(tmp_path / "mine.toml")).step[0].teacher == (str(tmp_path / "big.keras"),)


def test_a_model_that_is_not_beside_its_recipe_is_an_error(tmp_path):
    (tmp_path / "mine.toml").write_text('[[step]]\nkind = "distill"\nstudent = "small.keras"\n')

    with pytest.raises(RecipeError, match=r"step\.1\.student: there is no file .*small\.keras"):
        load_recipe(str(tmp_path / "mine.toml"))


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
)
def test_a_recipe_s_id_does_not_depend_on_the_order_of_keys(resolved):
    backwards = dict(reversed(resolved.items()))

    assert recipe_id(resolved) == recipe_id(backwards) == recipe_id(json.loads(json.dumps(resolved)))
    assert len(recipe_id(resolved)) == 12


def test_reading_recipes_does_not_import_tensorflow():
    code = (
        "import sys, edgepress.compression.recipe as recipe\n"
        "recipe.shipped_recipes()\n"
        "print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def pruning(**settings):
    return Recipe.model_validate({"name": "r", "step": [{"kind": "prune", "sparsity": 0.5, **settings}]})


def test_gradual_pruning_has_rounds_in_the_first_half_of_its_epochs_by_default():
    filters = pruning(structure="filters", schedule="gradual").step[0]
    weights = pruning(structure="weights", schedule="gradual").step[0]

    assert (filters.begin, filters.end, filters.rounds) == (0, 0.5, 3)
    assert weights.rounds == 20
    assert pruning(structure="weights").step[0].rounds is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('structure = "filters"\nblock = "1x4"', ["step.1", 'block goes with structure = "weights"']),
        ('structure = "weights"\nblock = "4x1"', ["step.1.block", "'4x1'", "'1x4' or '1x16'"]),
        ('structure = "weights"\nrounds = 3', ["step.1", 'rounds goes with schedule = "gradual"']),
        ('structure = "layers"\nreconstruct = true', ["step.1", "reconstruct goes with"]),
        (
            'structure = "filters"\nschedule = "gradual"\nepochs = 2',
            ["step.1", "3 rounds from 0 to 0.5 of 2 epochs leave no epoch between some; 4 epochs are enough"],
        ),
        ('structure = "weights"\nschedule = "gradual"\nbegin = 0.6', ["step.1", "begin is 0.6 and end is 0.5"]),
    ],
)
def test_words_of_pruning_that_do_not_go_together_are_named(lines, words):
    message = problem(f'[[step]]\nkind = "prune"\nsparsity = 0.5\n{lines}')

    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("settings", "convert", "sparse"),
    [
        ({"structure": "weights"}, {}, "never"),
        ({"structure": "weights", "block": "1x4"}, {}, "if-faster"),
        ({"structure": "weights", "block": "1x4"}, {"sparse": "never"}, "never"),
        ({"structure": "weights"}, {"sparse": "always"}, "always"),
    ],
)
def test_zeros_in_blocks_are_left_out_of_the_file_where_that_is_faster_unless_the_recipe_says_so(
    settings, convert, sparse
):
    step = {"kind": "prune", "sparsity": 0.5, **settings}
    recipe = Recipe.model_validate({"name": "r", "step": [step], "convert": convert})

    assert recipe.convert.sparse == sparse
    assert recipe.asks_the_device == (sparse == "if-faster")
    assert recipe.conversion.sparse == (sparse == "always")
