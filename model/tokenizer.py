"""Text to token ids and back: a SentencePiece model with PaliGemma's 1152 extra pieces.

Locations are `<loc0000>` to `<loc1023>`, mask codes `<seg000>` to `<seg127>`. Gemma's released
file doesn't have them, PaliGemma's does; either loads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from model.errors import ModelError

LOCATIONS = 1024
MASK_CODES = 128
SPECIAL_PIECES = (
    *(f"<loc{number:04}>" for number in range(LOCATIONS)),
    *(f"<seg{number:03}>" for number in range(MASK_CODES)),
)
PAD, EOS, BOS = 0, 1, 2

# Trainers pad embedding tables to a round number of rows (Hugging Face: by 64). A larger gap
# means that the tokenizer belongs to another model, and its location ids would be wrong.
_MOST_PADDING_ROWS = 255

# Leading, doubled and trailing spaces and a newline, which other models' normalisers change.
_VERBATIM = " a  b\n "


class TokenizerError(ModelError):
    """A file that isn't a tokenizer PaliGemma can use; the message says what to use instead."""


class Tokenizer:
    """Encodes prompts as PaliGemma was trained to read them, and decodes what it writes.

    A literal `<loc0001>` or `<seg001>` within a text becomes the special piece, as in the
    reference: prompts such as "describe <loc…>…" depend on it. Control pieces (`<eos>`) written
    out in a text stay ordinary text, so no text can end a prompt or start another.
    """

    def __init__(self, processor: sentencepiece.SentencePieceProcessor, name: str = "tokenizer"):
        """Raises TokenizerError unless the model has PaliGemma's ids, normaliser and pieces."""
        self._processor = processor
        self._name = name
        self._newline = processor.encode("\n")
        self._check_control_ids()
        self._check_verbatim()
        self._check_special_pieces()

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Reads a SentencePiece model from a local file."""
        try:
            serialized = Path(path).read_bytes()
        except OSError as error:
            raise TokenizerError(
                f"{path}: can't be read ({error.strerror}). Name the SentencePiece model that "
                f"belongs to the checkpoint, tokenizer.model as a rule."
            ) from error
        return cls.from_bytes(serialized, name=str(path))

    @classmethod
    def from_bytes(cls, serialized: bytes, name: str = "tokenizer") -> Tokenizer:
        """Takes a serialised SentencePiece model, from wherever it was read.

        name: what error messages call it. Location and mask pieces are appended if there are none.
        """
        processor = _processor(serialized, name)
        present = sum(_is_known(processor, piece) for piece in SPECIAL_PIECES)
        if present == 0:
            processor = _processor(serialized + _as_model_fields(SPECIAL_PIECES), name)
        elif present < len(SPECIAL_PIECES):
            raise TokenizerError(
                f"{name}: has {present} of the {len(SPECIAL_PIECES)} location and mask pieces. "
                f"Use PaliGemma's own file, or Gemma's, which has none of them."
            )
        return cls(processor, name)

    @property
    def vocab_size(self) -> int:
        """Ids there are; 257152 for the released models."""
        return self._processor.vocab_size()

    @property
    def first_location(self) -> int:
        """Id of `<loc0000>`; the other locations and then the mask codes follow it."""
        return self._processor.piece_to_id(SPECIAL_PIECES[0])

    def encode(self, text: str) -> list[int]:
        """Ids of a text alone, without BOS and EOS.

        A lone surrogate, which has no UTF-8, is read as "?".
        """
        return self._processor.encode(text.encode("utf-8", "replace").decode("utf-8"))

    def encode_prompt(self, prefix: str) -> list[int]:
        """[BOS] + prefix + newline.

        The newline is encoded apart, so that it can't merge with the end of the prefix.
        """
        return [BOS, *self.encode(prefix), *self._newline]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; location and mask pieces are written out, control pieces left out.

        Raises IndexError for an id that is none.
        """
        return self._processor.decode([int(number) for number in ids])

    def texts(self) -> list[str | None]:
        """What each id writes; None for control pieces.

        A byte of a longer letter is written as U+FFFD.
        """
        processor, ids = self._processor, range(self.vocab_size)
        written = [piece.replace("▁", " ") for piece in processor.id_to_piece(list(ids))]
        return [
            None
            if processor.is_control(number) or processor.is_unknown(number)
            else bytes([int(piece[3:5], 16)]).decode("ascii", "replace")
            if processor.is_byte(number)
            else piece
            for number, piece in zip(ids, written, strict=True)
        ]

    def require_rows(self, rows: int) -> None:
        """Raises TokenizerError unless a checkpoint with so many embedding rows fits this."""
        if self.vocab_size <= rows <= self.vocab_size + _MOST_PADDING_ROWS:
            return
        raise TokenizerError(
            f"{self._name}: has {self.vocab_size} ids, the checkpoint's embedding {rows} rows. "
            f"Use the tokenizer that belongs to the checkpoint."
        )

    def _check_control_ids(self) -> None:
        found = (self._processor.pad_id(), self._processor.eos_id(), self._processor.bos_id())
        if found != (PAD, EOS, BOS):
            raise TokenizerError(
                f"{self._name}: its pad, eos and bos ids are {found}, PaliGemma's are "
                f"{(PAD, EOS, BOS)}. Use Gemma's or PaliGemma's SentencePiece model."
            )

    def _check_verbatim(self) -> None:
        returned = self.decode(self.encode(_VERBATIM))
        if returned != _VERBATIM:
            raise TokenizerError(
                f"{self._name}: changes text ({_VERBATIM!r} returns as {returned!r}). A tokenizer "
                f"for PaliGemma has the identity normaliser; use Gemma's or PaliGemma's."
            )
        if len(self._newline) != 1:
            raise TokenizerError(
                f"{self._name}: a newline alone is encoded as {self._newline}, not as one id. A "
                f"tokenizer for PaliGemma adds no dummy prefix; use Gemma's or PaliGemma's."
            )

    def _check_special_pieces(self) -> None:
        for number, piece in enumerate(SPECIAL_PIECES, start=self.first_location):
            ids = self._processor.encode(piece)
            if ids != [number]:
                raise TokenizerError(
                    f"{self._name}: {piece} is encoded as {ids}, not as the one id {number}. "
                    f"The pieces must be user-defined and consecutive; use PaliGemma's own file."
                )


def _processor(serialized: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    problem = "is empty"
    if serialized:
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=serialized)
        except RuntimeError:
            problem = "isn't a SentencePiece model, or is cut short"
    raise TokenizerError(
        f"{name}: {problem}. Name the SentencePiece file (tokenizer.model or .spm), not a "
        f"tokenizer.json, and fetch it again if it should be one."
    )


def _is_known(processor: sentencepiece.SentencePieceProcessor, piece: str) -> bool:
    return processor.piece_to_id(piece) != processor.unk_id()


def _as_model_fields(pieces: Sequence[str]) -> bytes:
    """Bytes that, put after a serialised SentencePiece model, append user-defined pieces to it.

    Two serialised messages in a row are their merge, and repeated fields are concatenated
    (Protocol Buffers, "Encoding"). So no generated code is needed: what sentencepiece ships can't
    be imported under the protobuf that Beam requires. A ModelProto's field 1 is a piece, with the
    fields 1 string, 2 score (float) and 3 type, of which USER_DEFINED is 4.
    """
    fields = bytearray()
    for piece in pieces:
        text = piece.encode()
        body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", 0.0) + b"\x18\x04"
        fields += b"\x0a" + bytes([len(body)]) + body
    return bytes(fields)
