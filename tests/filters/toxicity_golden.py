"""What the package toxic-comment-classifier itself scores, with its own TensorFlow code.

`python tests/filters/toxicity_golden.py`, with the root on the path, writes it; it needs pip and
TensorFlow. The texts are stored in rot13, like the labelled lines they come from.
"""

from __future__ import annotations

import codecs
import json
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.labelled_text import lines

GOLDEN = Path(__file__).parents[1] / "data" / "filters" / "toxicity_golden.json"

# Nothing known, nothing at all, punctuation and capitals, and as many words as the network reads.
EDGES = (
    "",
    "zzzqqq xqxq",
    "Don't YOU dare!!! (really) -- a/b_c",
    "the quick brown fox " * 25,
    "a dog running on the grass\tand\na cat",
)


def golden() -> tuple[list[str], list[list[float]]]:
    """The texts, and six scores of each."""
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return [codecs.decode(row["text"], "rot13") for row in stored], [
        row["scores"] for row in stored
    ]


def main() -> None:
    from filters.data.build import WEIGHTS, fetch

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(fetch(WEIGHTS, Path(folder))) as wheel:
            wheel.extractall(folder)
        sys.path.insert(0, folder)
        from toxic_classifier.model import LIST_CLASSES, ToxicCommentClassifier

        classifier = ToxicCommentClassifier()
        english = [line.text for line in lines("toxicity", "dev") if line.language == "en"]
        rows = []
        for text in (*EDGES, *english[::6]):
            scores = classifier.classify(text)
            rows.append(
                {
                    "text": codecs.encode(text, "rot13"),
                    "scores": [round(scores[label], 6) for label in LIST_CLASSES],
                }
            )
    GOLDEN.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
