"""What is wrong with what the user named, as opposed to with one picture or prompt."""


class ModelError(ValueError):
    """A checkpoint, tokenizer, mask decoder or task that can't be used; it says what to use."""
