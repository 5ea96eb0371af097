"""The rows of the movie samples, clean and dirty: words, rates of dirt, and one function for the table's rows.

The columns are those of OMDb, the values are our own. A value that OMDb lacks is `N/A` there and here, which
is not dirt. Titles are unique, but for remakes, which have the title of the movie before them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta

from pipeline_assets.movies.columns import COLUMNS

from .files import TableChunk
from .records import FIRST_NAMES, LAST_NAMES, DirtPlan, Records, below

# Records per 10,000 with each kind. An extra copy without key follows the good row, so every movie has an accepted one.
DIRT = DirtPlan(
    entity="movie",
    rates={
        "source_error": 20,
        "bad_rating": 50,
        "remake": 100,
        "series": 500,
        "provider_twice": 50,
        "provider_conflict": 50,
        "quoted_plot": 300,
        "unreleased": 50,
        "missing_key": 10,
        "duplicate": 20,
    },
    exhibits=(
        "source_error",
        "bad_rating",
        "bad_rating",
        "remake",
        "series",
        "series",
        "provider_twice",
        "provider_conflict",
        "quoted_plot",
        "unreleased",
        "missing_key",
        "duplicate",
    ),
    extra={"missing_key": 0, "duplicate": 0},
)

ERRORS = ("Incorrect IMDb ID.", "Error getting data.")
BAD_RATINGS = ("12/10", "A+")
PROVIDERS = ("Internet Movie Database", "Rotten Tomatoes", "Metacritic")
EN_DASH = "\u2013"

# fmt: off
FIRST_WORDS = (
    "The Brief", "The Broken", "Crimson", "Daughters of the", "The Empty", "Every", "The First", "Goodbye,",
    "The Green", "Hidden", "The Iron", "The Last", 'The "Little"', "Long", "Midnight", "My", "The Northern",
    "The Other", "Paper", "The Quiet", "Señor", "Seven", "The Silver", "Under the",
)
LAST_WORDS = (
    "Archive", "Bridge", "Café", "Clock", "Coast", "Crossing", "Detour", "Echo", "Embassy", "Garden", "Harbour",
    "Horizon", "Island", "Journey", "Kingdom", "Ladder", "Letter", "Mirror", "Mountain", "Night", "Orchard",
    "Passenger", "Promise", "River", "Shadow", "Signal", "Storm", "Summer", "Tower", "Valley", "Winter", "Ängel",
)
GENRES = ("Action", "Adventure", "Animation", "Comedy", "Crime", "Drama", "Fantasy", "Horror", "Mystery", "Sci-Fi")
COUNTRIES = ("United States", "United Kingdom", "France", "Germany", "India", "Japan", "Mexico", "Sweden", "Brazil")
LANGUAGES = ("English", "English, French", "French", "German", "Hindi, English", "Japanese", "Spanish", "Swedish")
RATED = ("G", "PG", "PG-13", "R", "Not Rated", "N/A")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# fmt: on
PLOTS = (
    "Two strangers wait for a train, and neither wants it to come.",
    "A family keeps a house that nobody else believes in.",
    "An inspector returns to a town that has forgotten the case.",
    "A translator, a thief and a choir cross the border in one night.",
)
FIRST_DAY = date(1950, 1, 1)
DAYS = 27_000  # up to the end of 2023


def movies(seed: int, count: int) -> Iterator[TableChunk]:
    """The rows of the movies 1 to `count`, with their dirt."""
    for records in DIRT.records(seed, count):
        yield TableChunk(COLUMNS, _rows(seed, records), records.counts())


def _rows(seed: int, records: Records) -> list[tuple[str | None, ...]]:
    numbers = records.numbers
    limits = {
        "day": DAYS,
        "runtime": 120,
        "votes": 2_000_000,
        "gross": 900_000_000,
        "imdb": 90,
        "tomatoes": 101,
        "metacritic": 101,
        "providers": 4,
        "rated": len(RATED),
        "plot": len(PLOTS),
        "genre": len(GENRES),
        "genres": 3,
        "country": len(COUNTRIES),
        "language": len(LANGUAGES),
        "seasons": 9,
        "wins": 30,
        **{f"person.{place}": len(FIRST_NAMES) * len(LAST_NAMES) for place in range(6)},
    }
    drawn = {name: below(seed, f"movie.{name}", numbers, limit).tolist() for name, limit in limits.items()}
    kinds = ["", *records.kinds]
    return [
        _row(number, kinds[code], {name: values[at] for name, values in drawn.items()})
        for at, (number, code) in enumerate(zip(numbers.tolist(), records.codes.tolist(), strict=True))
    ]


def _row(number: int, kind: str, drawn: dict[str, int]) -> tuple[str | None, ...]:
    key = f"tt{number:07}"
    if kind == "source_error":
        values: dict[str, str | None] = {"imdbID": key, "Plot": ERRORS[number % 2], "Response": "False"}
        return tuple(values.get(name) for name in COLUMNS)
    released = FIRST_DAY + timedelta(days=drawn["day"])
    people = [_person(drawn[f"person.{place}"]) for place in range(6)]
    ratings = _ratings(number, kind, drawn)
    scores = dict(ratings)
    plot = PLOTS[drawn["plot"]]
    values = {
        "Title": _title(number - (kind == "remake")),
        "Year": _year(number, kind, released.year),
        "Rated": RATED[drawn["rated"]],
        "Released": f"{released.day:02} {MONTHS[released.month - 1]} {released.year}",
        "Runtime": f"{61 + drawn['runtime']} min",
        "Genre": ", ".join(GENRES[(drawn["genre"] + 3 * step) % len(GENRES)] for step in range(1 + drawn["genres"])),
        "Director": people[0],
        "Writer": ", ".join(people[1:3]),
        "Actors": ", ".join(people[2:]),
        "Plot": f'"{plot}",\nsays the poster, "and then, \u2026"\r\nit rains.' if kind == "quoted_plot" else plot,
        "Language": LANGUAGES[drawn["language"]],
        "Country": COUNTRIES[drawn["country"]],
        "Awards": f"{drawn['wins']} wins" if drawn["wins"] else "N/A",
        "Poster": f"https://posters.example/{key}.jpg",
        "Ratings": json.dumps([{"Source": source, "Value": value} for source, value in ratings]),
        "Metascore": scores["Metacritic"].removesuffix("/100") if "Metacritic" in scores else "N/A",
        "imdbRating": scores[PROVIDERS[0]].removesuffix("/10") if PROVIDERS[0] in scores else "N/A",
        "imdbVotes": f"{drawn['votes']:,}" if ratings else "N/A",
        "imdbID": None if kind == "missing_key" else key,
        "Type": "series" if kind == "series" else "movie",
        "DVD": "N/A",
        "BoxOffice": f"${drawn['gross']:,}" if drawn["gross"] % 3 else "N/A",
        "Production": "N/A",
        "Website": "N/A" if number % 4 else f"https://films.example/{key}",
        "Response": "True",
        "totalSeasons": str(1 + drawn["seasons"]) if kind == "series" else None,
    }
    if kind == "unreleased":
        values |= dict.fromkeys(("Released", "Runtime", "BoxOffice", "Poster"), "N/A") | {"Awards": ""}
    return tuple(values[name] for name in COLUMNS)


def _title(number: int) -> str:
    first, rest = number % len(FIRST_WORDS), number // len(FIRST_WORDS)
    part = rest // len(LAST_WORDS)
    return f"{FIRST_WORDS[first]} {LAST_WORDS[rest % len(LAST_WORDS)]}" + (f": Part {part + 1}" if part else "")


def _year(number: int, kind: str, year: int) -> str:
    if kind != "series":
        return str(year)
    return f"{year}{EN_DASH}" if number % 2 else f"{year}{EN_DASH}{year + 4}"


def _ratings(number: int, kind: str, drawn: dict[str, int]) -> list[tuple[str, str]]:
    """Pairs of provider and value."""
    values = (f"{(10 + drawn['imdb']) / 10:.1f}/10", f"{drawn['tomatoes']}%", f"{drawn['metacritic']}/100")
    ratings = list(zip(PROVIDERS, values, strict=True))[: drawn["providers"]]
    if kind == "bad_rating":
        ratings = [(PROVIDERS[0], values[0]), ("Filmkritik", BAD_RATINGS[number % 2])]
    if kind == "provider_twice":
        ratings = [(PROVIDERS[0], values[0])] * 2
    if kind == "provider_conflict":
        ratings = [(PROVIDERS[1], values[1]), (PROVIDERS[1], f"{(drawn['tomatoes'] + 7) % 101}%")]
    return ratings


def _person(number: int) -> str:
    return f"{FIRST_NAMES[number % len(FIRST_NAMES)]} {LAST_NAMES[number // len(FIRST_NAMES)]}"
