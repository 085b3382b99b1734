import keras
import pytest

from edgepress.compression.graph.reader import TensorRef, read
from edgepress.errors import ModelError

layers = keras.layers


def test_nodes_are_in_topological_order_and_inputs_refer_to_earlier_ones():
    inputs = keras.Input((4, 4, 2))
    left, right = layers.Conv2D(4, 1, name="left")(inputs), layers.Conv2D(4, 1, name="right")(inputs)
    graph = read(keras.Model(inputs, layers.Add(name="join")([left, right])))

    assert [node.name for node in graph.nodes][1:] == ["left", "right", "join"]
    assert all(ref.node < node.index for node in graph.nodes for ref in node.inputs)
    assert graph.outputs == (TensorRef(3, 0),)


def test_a_shared_layer_is_one_layer_with_several_nodes():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, name="shared")
    graph = read(keras.Model(inputs, dense(dense(inputs))))

    assert len(graph.calls("shared")) == 2
    assert list(graph.layers()).count("shared") == 1


def test_a_nested_model_is_flattened_and_called_twice_it_is_shared():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, layers.Dense(4, name="inside")(inner_input), name="inner")
    inputs = keras.Input((4,))
    graph = read(keras.Model(inputs, inner(inner(inputs))))

    assert [node.name for node in graph.nodes if node.is_layer][1:] == ["inside", "inside"]


def test_a_nested_model_may_be_called_by_the_name_of_its_argument():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, layers.Dense(4, name="inside")(inner_input))
    inputs = keras.Input((4,))
    graph = read(keras.Model(inputs, inner(inputs=inputs)))

    assert graph.nodes[-1].name == "inside"
    assert graph.nodes[-1].inputs == (TensorRef(0, 0),)


def test_layers_of_nested_models_with_the_same_name_stay_apart():
    def inner(name: str):
        return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")], name=name)

    graph = read(keras.Sequential([keras.Input((4,)), inner("first"), inner("second")]))

    assert list(graph.layers())[1:] == ["dense", "second_dense"]


def test_operations_that_are_no_layers_are_kept_with_their_arguments():
    inputs = keras.Input((4,))
    graph = read(keras.Model(inputs, inputs * 3.0))

    node = graph.nodes[-1]
    assert not node.is_layer
    assert node.args == (TensorRef(0, 0), 3.0)


def test_consumers_of_a_node_are_named_once_even_where_they_read_it_twice():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, name="dense")(inputs)
    graph = read(keras.Model(inputs, layers.Add(name="doubled")([dense, dense])))

    assert [node.name for node in graph.consumers(graph.calls("dense")[0])] == ["doubled"]


def test_inputs_and_outputs_of_a_dict_model_keep_their_structure():
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((2,), name="b")}
    graph = read(keras.Model(inputs, {"sum": layers.Add()([inputs["a"], inputs["b"]])}))

    assert graph.input_structure == {"a": TensorRef(0, 0), "b": TensorRef(1, 0)}
    assert set(graph.output_structure) == {"sum"}


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def test_a_subclassed_model_is_refused_with_the_remedy():
    with pytest.raises(ModelError, match=r"subclassed.*Subclassed.*functional API"):
        read(Subclassed())


def test_a_sequential_without_input_shape_is_refused_with_the_remedy():
    with pytest.raises(ModelError, match=r"keras\.Input"):
        read(keras.Sequential([layers.Dense(3)]))
