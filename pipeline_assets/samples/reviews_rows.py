"""The rows of the samples of reviews, clean and dirty: words, rates of dirt, and one function for each table.

SQLite keeps any text in any column, so a dirty number is a text in a column of numbers. The business date, which is the
cursor, grows with the number of the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from .files import TableChunk
from .records import FIRST_NAMES, LAST_NAMES, DirtPlan, Records, below

BOOK_COLUMNS = (
    "book_id INTEGER PRIMARY KEY",
    "book_title VARCHAR(400)",
    "book_amount DECIMAL(10,2)",
    "book_author VARCHAR(200)",
    "book_rating DECIMAL(3,1)",
    "book_link TEXT",
    "business_date DATE NOT NULL",
)
REVIEW_COLUMNS = (
    "book_id INTEGER NOT NULL",
    "reviewer_name VARCHAR(200) NOT NULL",
    "rating INTEGER",
    "review_title VARCHAR(400)",
    "review_content TEXT",
    "reviewed_on DATE",
    "business_date DATE NOT NULL",
)
# Records per 10,000 with each kind.
BOOK_DIRT = DirtPlan(
    entity="book",
    rates={"bad_amount": 30, "no_rating": 300, "quoted_title": 200},
    exhibits=("bad_amount", "no_rating", "quoted_title"),
    extra={},
)
# A copy is the same review again, word by word; an edited one has its declared key and other words.
REVIEW_DIRT = DirtPlan(
    entity="review",
    rates={"bad_rating": 20, "bad_date": 20, "empty_text": 200, "copy": 100, "edited": 100},
    exhibits=("bad_rating", "bad_date", "empty_text", "copy", "copy", "edited"),
    extra={"copy": 0, "edited": 0},
)
ADJECTIVES = ("Quiet", "Broken", "Golden", "Hidden", "Last", "Long", "Paper", "Salt", "Second", "Winter", "Wild")
NOUNS = ("Atlas", "Bridge", "Café", "Daughters", "Garden", "House", "Letters", "Map", "River", "Sea", "Winter", "Ängel")
TITLES = ("Could not put it down", "Not for me", "A slow start", "Read it twice", "Good, but long", "5 ★")
TEXTS = (
    "I bought it for the cover and stayed for the story.",
    "The middle drags; the end makes up for it.",
    'My book club said "no", I say yes.',
    "It arrived damaged,\nbut the words are all there.",
)
FIRST_DAY = date(2024, 1, 1)
BOOKS_PER_DAY, REVIEWS_PER_DAY, REVIEWS_PER_BOOK = 10, 50, 5


def books(seed: int, count: int) -> Iterator[TableChunk]:
    """The rows of the books 1 to `count`, with their dirt."""
    for records in BOOK_DIRT.records(seed, count):
        limits = {"word": len(ADJECTIVES), "noun": len(NOUNS), "cents": 9_000, "rating": 41}
        rows = [_book(number, kind, drawn) for number, kind, drawn in _drawn(seed, "book", records, limits)]
        yield TableChunk(BOOK_COLUMNS, rows, records.counts())


def reviews(seed: int, count: int) -> Iterator[TableChunk]:
    """The rows of the reviews 1 to `count`, with their dirt."""
    for records in REVIEW_DIRT.records(seed, count):
        limits = {
            "rating": 5,
            "title": len(TITLES),
            "text": len(TEXTS),
            "first": len(FIRST_NAMES),
            "last": len(LAST_NAMES),
        }
        seen: set[int] = set()
        rows = []
        for number, kind, drawn in _drawn(seed, "review", records, limits):
            rows.append(_review(number, kind if number in seen or kind != "edited" else "", drawn))
            seen.add(number)
        yield TableChunk(REVIEW_COLUMNS, rows, records.counts())


def _drawn(
    seed: int, entity: str, records: Records, limits: dict[str, int]
) -> Iterator[tuple[int, str, dict[str, int]]]:
    """Number, kind of dirt and drawn values of each record."""
    values = {name: below(seed, f"{entity}.{name}", records.numbers, limit).tolist() for name, limit in limits.items()}
    kinds = ["", *records.kinds]
    for at, (number, code) in enumerate(zip(records.numbers.tolist(), records.codes.tolist(), strict=True)):
        yield number, kinds[code], {name: drawn[at] for name, drawn in values.items()}


def _book(number: int, kind: str, drawn: dict[str, int]) -> tuple[str | None, ...]:
    title = f"The {ADJECTIVES[drawn['word']]} {NOUNS[drawn['noun']]}, part {number}"
    cents = 499 + drawn["cents"]
    first, last = FIRST_NAMES[number % len(FIRST_NAMES)], LAST_NAMES[number // 3 % len(LAST_NAMES)]
    return (
        str(number),
        f" \"{title}\"; or: '{number}' " if kind == "quoted_title" else title,
        "n/a" if kind == "bad_amount" else f"{cents // 100}.{cents % 100:02}",
        f"{first} {last}",
        None if kind == "no_rating" else f"{1 + drawn['rating'] / 10:.1f}",
        f"https://books.example/{number}",
        (FIRST_DAY + timedelta(days=number // BOOKS_PER_DAY)).isoformat(),
    )


def _review(number: int, kind: str, drawn: dict[str, int]) -> tuple[str | None, ...]:
    day = FIRST_DAY + timedelta(days=number // REVIEWS_PER_DAY)
    text = f"{TEXTS[drawn['text']]}{' I changed my mind since.' if kind == 'edited' else ''}"
    return (
        str(1 + (number - 1) // REVIEWS_PER_BOOK),
        f"{FIRST_NAMES[drawn['first']]} {LAST_NAMES[drawn['last']]}",
        "five" if kind == "bad_rating" else str(1 + drawn["rating"]),
        TITLES[drawn["title"]],
        "" if kind == "empty_text" else text,
        "yesterday" if kind == "bad_date" else (day - timedelta(days=drawn["first"])).isoformat(),
        day.isoformat(),
    )
