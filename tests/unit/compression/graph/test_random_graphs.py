from hypothesis import given, settings
from hypothesis import strategies as st

from support.channel_surgery import cut
from support.compress_models import models


@settings(max_examples=15)
@given(models(), st.floats(0.1, 0.9), st.integers(0, 99))
def test_the_proof_holds_for_any_graph(model, share, seed):
    surgery = cut(model, share, seed)

    assert surgery.largest_difference < 1e-4
    assert surgery.model.output_shape == model.output_shape
    assert surgery.model.count_params() <= model.count_params()
