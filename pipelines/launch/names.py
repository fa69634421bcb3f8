"""Names that Google Cloud would refuse, found out here: asking it takes minutes, or a billed job.

Rules of bucket names: https://cloud.google.com/storage/docs/buckets#naming. Each function gives
what is wrong with a name and what to write instead, or None.
"""

from __future__ import annotations

import re

GCS = "gs://"

_PART = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_ZONE = re.compile(r"([a-z]+-[a-z]+\d+)-[a-z]")
_JOB = re.compile(r"[a-z]([-a-z0-9]{0,1000}[a-z0-9])?")
_STOCK_IMAGE = re.compile(r"(^|/)(beam_python|python)[^/]*$")


def scheme(path: str) -> str | None:
    """``gs`` of ``gs://bucket/x``; None for a path of this machine."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return found[1] if found else None


def bad_uri(uri: str) -> str | None:
    """Of a ``gs://`` name, or a pattern of them."""
    if not uri.startswith(GCS):
        return None
    bucket, _, name = uri.removeprefix(GCS).partition("/")
    if re.search(r"[*?\[]", bucket):
        return "wildcards may stand after the bucket, not in its name"
    if why := _bad_bucket(bucket):
        lower = re.sub(r"[^a-z0-9._-]", "-", bucket.lower()).strip("-._")
        near = f"; gs://{lower}/{name} could" if lower != bucket and not _bad_bucket(lower) else ""
        return f"no bucket can be called {bucket!r}: {why}{near}"
    return None


def bad_folder(uri: str) -> str | None:
    """Of a folder for what a job stages."""
    if scheme(uri) != "gs":
        return "not on Cloud Storage; write gs://BUCKET/FOLDER"
    if "/" not in uri.removeprefix(GCS).rstrip("/"):
        return f"names a bucket alone; write a folder in it, such as {uri.rstrip('/')}/tmp"
    return bad_uri(uri)


def _bad_bucket(bucket: str) -> str | None:
    longest = 222 if "." in bucket else 63
    if not 3 <= len(bucket) <= longest:
        return f"a name has 3 to {longest} characters"
    if bucket != bucket.lower():
        return "a name has no capital letters"
    parts = bucket.split(".")
    if any(len(part) > 63 or not _PART.fullmatch(part) for part in parts):
        return "between letters or digits, a name has only letters, digits, '-', '_' and '.'"
    if _ADDRESS.fullmatch(bucket):
        return "a name is not an IP address"
    if bucket.startswith("goog") or "google" in bucket or "g00gle" in bucket:
        return "a name neither begins with 'goog' nor has 'google' in it"
    return None


def bad_project(project: str) -> str | None:
    if project.isdigit():
        return "that is a project's number; give its id"
    if not _PROJECT.fullmatch(project):
        return "no project id: 6 to 30 lowercase letters, digits and '-', a letter first"
    return None


def bad_region(region: str) -> str | None:
    if _REGION.fullmatch(region):
        return None
    if zone := _ZONE.fullmatch(region):
        return f"that is a zone; write --region={zone[1]} --worker_zone={region}"
    return "no region, such as us-central1"


def bad_zone(zone: str) -> str | None:
    if _ZONE.fullmatch(zone):
        return None
    if _REGION.fullmatch(zone):
        return f"that is a region; a zone has a letter after it, such as {zone}-a"
    return "no zone, such as us-central1-a"


def bad_job_name(name: str) -> str | None:
    if _JOB.fullmatch(name):
        return None
    return (
        "a job's name has lowercase letters, digits and '-' alone, a letter first and no '-' last"
    )


def bad_image(image: str) -> str | None:
    if scheme(image):
        return f"an image's name has no {scheme(image)}://; leave it out"
    name, _, tag = image.rpartition("/")[2].partition(":")
    if _STOCK_IMAGE.search(f"/{name}"):
        return "an image of Python or Beam alone, without palipipe; deploy/README.md builds one"
    if not tag and "@sha256:" not in image:
        return "has neither tag nor digest, so that it may be another one tomorrow; give one"
    return None
