"""Packaging of palipipe: four importable rooms and one command."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The direct dependencies listed in ``requirements/NAME.in``, without those it includes."""
    lines = (HERE / "requirements" / f"{name}.in").read_text().splitlines()
    return [line for raw in lines if (line := raw.split("#")[0].strip()) and line[0] != "-"]


setup(
    name="palipipe",
    version="0.1.0",
    description="Screen an image corpus responsibly and annotate it with PaliGemma on Apache Beam",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["pipelines*", "transforms*", "model*", "filters*"],
    ),
    package_data={
        "model.small": ["*.model", "*.npz", "README.md"],
        "model.tiny": ["*.model", "*.npz"],
        "filters": ["data/*.tsv", "data/*.npz", "data/LICENSES/*", "presets/*.yaml"],
    },
    install_requires=requirements("base"),
    extras_require={"s3": ["boto3"]},
    entry_points={"console_scripts": ["palipipe=pipelines.main:console"]},
)
