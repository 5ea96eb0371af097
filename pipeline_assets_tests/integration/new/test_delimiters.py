"""A sample may be separated by other characters than commas; the new pipeline reads files like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.new.create import create
from pipeline_assets_tests.support.checkout import copy_checkout, lake_of

ROWS = [("SHOP_ID", "NAME", "OPENED_ON", "TURNOVER"), ("1", "A, B and C", "2024-01-10", "10.50")]
ROWS += [("2", '"D; E | F\tG"', "2024-01-11", ""), ("3", "H", "2024-01-12", "7")]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"], ids=["semicolon", "tab", "bar"])
def test_files_are_read_with_the_delimiter_of_the_sample(tmp_path: Path, delimiter: str) -> None:
    root, said = copy_checkout(tmp_path / "copy"), []
    content = "\n".join(delimiter.join(row) for row in ROWS) + "\n"
    sample = tmp_path / "shops.tsv"
    sample.write_text(content)

    landing = create(root, "shops", sample, (), None, said.append)

    assert landing == "shops-source/incoming/shops.tsv"
    assert "3 of 3 records of the sample pass." in said
    assert any(line.startswith("  fields are separated by") for line in said)
    lake = lake_of(root, "shops", tmp_path / "value").at(tmp_path / "home")
    for name in ("a.csv", "b.txt", "c.tsv"):
        lake.write(name, content.replace("\n1", f"\n1{name[0]}"))
    report = lake.run()
    assert report.rows == {"read": 9, "loaded": 5, "superseded": 4, "quarantined": 0}
    found = lake.rows("SELECT SHOP_ID, NAME, TO_VARCHAR(OPENED_ON), TURNOVER FROM SHOPS.SHOPS ORDER BY SHOP_ID")
    assert [row[:3] for row in found if row[0] in ("1a", "2")] == [
        ("1a", "A, B and C", "2024-01-10"),
        ("2", "D; E | F\tG", "2024-01-11"),
    ]


def test_a_name_with_a_delimiter_in_quotes_is_not_taken_for_two(tmp_path: Path) -> None:
    from pipeline_assets.new.sample import read_sample

    sample = tmp_path / "a.csv"
    sample.write_text('ID;NAME\n1;"a,b"\n')
    assert read_sample(sample, None).records == [{"ID": "1", "NAME": "a,b"}]
    sample.write_text('ID,NAME\n1,"a;b"\n')
    assert read_sample(sample, None).delimiter == ","
