"""The mask of the module's own example, read from its docstring, and positions."""

import jax.numpy as jnp
import numpy as np

from model import masks


def drawn():
    """The docstring's drawing: bool[7, 7]."""
    lines = masks.__doc__.split("may see")[1].splitlines()[1:8]
    return np.array([[mark == "x" for mark in line.split()[1:]] for line in lines])


VALID = jnp.array([[1, 1, 1, 1, 1, 1, 0]], bool)
AUTOREGRESSIVE = jnp.array([[0, 0, 0, 0, 1, 1, 0]])


def test_the_drawing_in_the_docstring_is_the_mask():
    assert drawn().shape == (7, 7)
    np.testing.assert_array_equal(masks.prefix_mask(VALID, AUTOREGRESSIVE)[0], drawn())


def test_extending_by_a_token_sees_what_one_pass_lets_it_see():
    """Prompts of 4 and of 3 tokens in 4 slots, answers of up to 3."""
    prompt = jnp.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
    for slot in (4, 5, 6):
        mask = np.asarray(masks.extend_mask(prompt, 7, jnp.int32(slot)))
        answer = [index <= slot for index in (4, 5, 6)]
        assert mask.shape == (2, 1, 7)
        assert mask[0, 0].tolist() == [True] * 4 + answer
        assert mask[1, 0].tolist() == [True] * 3 + [False] + answer


def test_positions_count_tokens_and_not_padding():
    valid = jnp.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
    positions = np.asarray(masks.positions_of(valid))
    assert positions[0, :3].tolist() == [0, 1, 2]
    assert positions[1, :2].tolist() == [0, 1]
