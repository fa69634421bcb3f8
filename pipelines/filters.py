"""`palipipe filters`: a preset as YAML to start from, or a configuration file checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.cli import Parser, exit_code, leave

DESCRIPTION = """\
Print a preset of filters, to keep as a file and change; or check a file and print what it means.

  palipipe filters default > filters.yaml
  palipipe filters filters.yaml"""


def parser() -> Parser:
    it = Parser("filters", description=DESCRIPTION)
    it.add_argument("source", metavar="PRESET|FILE", help="strict, default, off or a YAML file")
    return it


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(sys.argv[1:] if argv is None else argv)
    return exit_code("filters", lambda: show(options.source))


def show(source: str) -> int:
    """Print a preset as it is carried along, or a checked file with its defaults filled in.

    Raises:
        FilterConfigError: the file has a mistake.
    """
    import yaml

    from filters.config import PRESETS, load_filters, preset

    config = load_filters(source)
    config.build()
    if source in PRESETS:
        print(preset(source), end="")
    else:
        print(yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True), end="")
    return 0


if __name__ == "__main__":
    leave(main())
