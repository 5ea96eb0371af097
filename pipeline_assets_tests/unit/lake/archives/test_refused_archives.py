"""Each kind of hostile or broken archive is refused with its own reason, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.contracts.validation import REASON_CODES
from pipeline_assets.lake.archives import RefusedArchiveError, unpack
from pipeline_assets.lake.archives.refused import REMEDIES
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support.zip_attacks import ATTACKS, LIMITS


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_with_its_own_reason_and_leaves_nothing(attack: str, tmp_path: Path) -> None:
    code, content = ATTACKS[attack]
    archive, folder = tmp_path / "delivered.zip", tmp_path / "zone" / "members"
    archive.write_bytes(content())

    with pytest.raises(RefusedArchiveError) as refused:
        unpack(archive, folder, LIMITS)

    assert refused.value.code == code
    assert "delivered.zip" in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400
    assert sorted(tmp_path.rglob("*")) == sorted([archive, folder, folder.parent])


def test_each_reason_has_an_attack_a_meaning_a_remedy_and_a_line_in_the_docs() -> None:
    documented = (PROJECT_ROOT / "docs" / "archives.md").read_text()

    assert {code for code, _ in ATTACKS.values()} == set(REMEDIES)
    assert set(REMEDIES) == {code for code in REASON_CODES if code.startswith("archive_")}
    assert [code for code in REMEDIES if f"`{code}`" not in documented] == []
