"""What the tables of movies contain, computed by plain Python from all archives that were delivered."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from pipeline_assets.movies.columns import COLUMNS


@dataclass(frozen=True)
class Delivered:
    """One archive: its name, the time in its manifest, its movies in order."""

    name: str
    created: datetime
    movies: Sequence[Mapping[str, str]]


def last_of_each(delivered: Delivered) -> dict[str, Mapping[str, str]]:
    """The last record of each movie in one archive, without error answers and records without key."""
    good = (m for m in delivered.movies if m["Response"] == "True" and m["imdbID"] not in ("", "N/A"))
    return {m["imdbID"]: m for m in good}


def text(value: str) -> str | None:
    return None if value.strip() in ("", "N/A") else value.strip()


def in_order(archives: Iterable[Delivered]) -> list[Delivered]:
    return sorted(archives, key=lambda each: (each.created, each.name))


def landing(archives: Iterable[Delivered]) -> list[tuple]:
    """(imdbID, title, year, genre) of the newest version of each movie."""
    newest: dict[str, Mapping[str, str]] = {}
    for each in in_order(archives):
        newest.update(last_of_each(each))
    return sorted((key, *(text(m[c]) for c in ("Title", "Year", "Genre"))) for key, m in newest.items())


def rating(value: str) -> int | None:
    """From 0 to 100; None if it is not a rating."""
    number, _, whole = value.rstrip("%").partition("/")
    if not re.fullmatch(r"\d+(\.\d{1,2})?", number) or not (whole or value.endswith("%")):
        return None
    exact = Decimal(number) * 100 / Decimal(whole or 100)
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP)) if exact <= 100 else None


def reviews(archives: Iterable[Delivered]) -> list[tuple]:
    """(imdbID, provider, rating): the newest of each provider, of its values in one list the last."""
    newest: dict[tuple[str, str], int] = {}
    for each in in_order(archives):
        for key, movie in last_of_each(each).items():
            if text(movie["Ratings"]):
                for listed in json.loads(movie["Ratings"]):
                    if (value := rating(listed["Value"])) is not None:
                        newest[key, listed["Source"]] = value
    return sorted((*key, value) for key, value in newest.items())


def history(archives: Iterable[Delivered]) -> list[tuple]:
    """(imdbID, title, start year, released, genres, poster, valid from, valid to, current) of each interval."""
    observed: dict[str, dict[datetime, Mapping[str, str]]] = defaultdict(dict)
    for each in in_order(archives):
        for key, movie in last_of_each(each).items():
            observed[key][each.created] = movie  # of one time, the last archive's
    rows = []
    for key, versions in observed.items():
        poster = text(versions[max(versions)]["Poster"])
        changes: list[tuple[datetime, tuple]] = []
        for at in sorted(versions):
            values = _values(versions[at])
            if not changes or changes[-1][1] != values:
                changes.append((at, values))
        ends = [at for at, _ in changes[1:]] + [None]
        rows += [
            (key, *values[:4], poster, at.replace(tzinfo=None), end and end.replace(tzinfo=None), end is None)
            for (at, values), end in zip(changes, ends, strict=True)
        ]
    return sorted(rows, key=lambda row: (row[0], row[6]))


def _values(movie: Mapping[str, str]) -> tuple:
    year, released = text(movie["Year"]), text(movie["Released"])
    day = datetime.strptime(f"{released} +0000", "%d %b %Y %z").date() if released else None
    others = tuple(text(movie[c]) for c in COLUMNS if c not in ("Title", "Year", "Released", "Genre", *_NOT_VERSIONS))
    return (text(movie["Title"]), int(year[:4]) if year else None, day, text(movie["Genre"]), others)


_NOT_VERSIONS = ("Poster", "Website", "Ratings", "Response", "DVD", "imdbID")


def genres(archives: Iterable[Delivered]) -> list[tuple[str, str]]:
    """(imdbID, genre) of the newest version of each movie."""
    return sorted({(key, g.strip()) for key, _, _, listed in landing(archives) if listed for g in listed.split(",")})
