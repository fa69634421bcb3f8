"""The table of released models against their published sizes."""

from math import prod

import pytest

from model.checkpoint.tree import parameter_shapes
from model.config import CONFIGS, GemmaConfig, VisionConfig

PARAMETERS_AT_224 = {
    "paligemma-3b-224": 2_923_335_408,
    "paligemma2-3b-224": 3_032_094_960,
    "paligemma2-10b-224": 9_662_409_456,
    "paligemma2-28b-224": 27_650_192_112,
}


def parameters(name):
    return sum(prod(shape) for shape in parameter_shapes(CONFIGS[name]).values())


@pytest.mark.parametrize(("name", "count"), PARAMETERS_AT_224.items())
def test_each_size_has_its_published_number_of_parameters(name, count):
    assert parameters(name) == count


@pytest.mark.parametrize(("size", "tokens"), [(224, 256), (448, 1024), (896, 4096)])
def test_resolutions_differ_in_image_tokens_and_position_embeddings_alone(size, tokens):
    config = CONFIGS[f"paligemma2-3b-{size}"]
    assert config.vision.tokens == tokens
    more = parameters(f"paligemma2-3b-{size}") - parameters("paligemma2-3b-224")
    assert more == (tokens - 256) * 1152


def test_only_the_largest_scales_queries_by_another_number_than_its_head():
    scales = {name: c.language.query_scale for name, c in CONFIGS.items()}
    for name, config in CONFIGS.items():
        usual = config.language.head_dim**-0.5
        assert scales[name] == (144**-0.5 if "28b" in name else usual)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="image_size 225"):
        VisionConfig(image_size=225)
    with pytest.raises(ValueError, match="num_kv_heads 3"):
        GemmaConfig(64, 2, 128, 4, 3, 16, 0.25)
