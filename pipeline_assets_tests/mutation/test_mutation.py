"""The mutation tool: what it draws, what its faults look like, and that a fault is caught in a copy only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import sqlglot

from pipeline_assets.sqlfiles import with_bind_variables
from pipeline_assets_tests.mutation import targets
from pipeline_assets_tests.mutation.__main__ import ENOUGH, rate, report
from pipeline_assets_tests.mutation.running import CAUGHT, SURVIVED, Outcome, Workshop, try_one, workshop
from pipeline_assets_tests.mutation.sampling import Mutant, candidates, drawn
from pipeline_assets_tests.mutation.sql_faults import FAULTS, normalized, sql_mutants
from pipeline_assets_tests.mutation.survivors import Survivor, argued, entry, reason

QUERY = """-- Grain: one row per city.
SELECT
    CITIES.NAME,
    CITIES.LAND,
    COUNT(DISTINCT STREETS.ID) AS STREETS,
    COALESCE(SUM(STREETS.LENGTH * 2), 0) AS LENGTH
FROM CITIES
LEFT JOIN STREETS ON EQUAL_NULL(CITIES.ID, STREETS.CITY_ID)
WHERE CITIES.IS_NEW AND NOT CITIES.ID IN (SELECT ID FROM OLD UNION DISTINCT SELECT ID FROM GONE)
GROUP BY CITIES.NAME, CITIES.LAND
ORDER BY CITIES.NAME DESC
"""


CHANGES = {
    "UPDATE": "UPDATE CITIES SET SIZE = SIZE + 1, NAME = %(name)s FROM NEW WHERE CITIES.ID = NEW.ID AND GONE IS NULL",
    "INSERT": "INSERT INTO CITIES (ID, NAME) VALUES (%(id)s, %(name)s)",
    "DELETE": "DELETE FROM CITIES USING NEW WHERE CITIES.ID = NEW.ID AND CITIES.NAME IN (%(names)s)",
}


def mutants_of(fault: str, text: str = QUERY) -> list[str]:
    return [" ".join(mutant.split()) for name, mutant in sql_mutants(text) if name == fault]


def parsed(text: str) -> str:
    return sqlglot.parse_one(with_bind_variables(text), read="snowflake").sql()


def bound(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s", text))


def test_every_fault_in_sql_is_valid_and_another_statement() -> None:
    found = 0
    for file in targets.files():
        if file.endswith(".sql"):
            text = (targets.ROOT / file).read_text(encoding="utf-8")
            mutants = list(sql_mutants(text))
            statements = {parsed(mutant) for _, mutant in mutants}
            assert len(statements) == len(mutants)
            unchanged, written = parsed(text), normalized(text)
            assert unchanged not in statements
            assert parsed(written) == unchanged
            assert bound(written) == bound(text)
            assert all(bound(mutant) <= bound(text) for _, mutant in mutants)
            assert all(mutant.startswith(text.splitlines()[0]) for _, mutant in mutants)
            found += len(mutants)
    assert found > 50


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("CountDuplicates", "COUNT(STREETS.ID) AS STREETS"),
        ("DropCoalesce", "SUM(STREETS.LENGTH * 2) AS LENGTH"),
        ("DropFactor", "SUM(STREETS.LENGTH), 0)"),
        ("DropNot", "AND CITIES.ID IN"),
        ("DropRightBranch", "( SELECT ID FROM OLD )"),
        ("DropWhere", "CITY_ID) GROUP BY"),
        ("InnerToLeftJoin", "INNER JOIN STREETS"),
        ("KeepLeftCondition", "WHERE CITIES.IS_NEW GROUP BY"),
        ("NextColumn", "CITIES.LAND AS NAME, CITIES.LAND,"),
        ("NullsAreUnequal", "ON CITIES.ID = STREETS.CITY_ID"),
        ("OtherDirection", "ORDER BY CITIES.NAME"),
        ("SumToMax", "COALESCE(MAX(STREETS.LENGTH * 2), 0)"),
        ("UnionDistinctToAll", "UNION ALL"),
    ],
)
def test_a_fault_in_sql_is_one_that_a_person_makes(fault: str, expected: str) -> None:
    assert any(expected in mutant for mutant in mutants_of(fault)), mutants_of(fault)


@pytest.mark.parametrize(
    ("statement", "fault", "expected"),
    [
        ("UPDATE", "DropAssignment", ["SET SIZE = SIZE + 1 FROM NEW", "SET NAME = %(name)s FROM NEW"]),
        ("UPDATE", "DropSummand", ["SET SIZE = SIZE, NAME"]),
        ("UPDATE", "DropWhere", ["FROM NEW"]),
        ("UPDATE", "EqualToUnequal", ["WHERE CITIES.ID <> NEW.ID AND GONE IS NULL"]),
        ("UPDATE", "NullToNotNull", ["AND NOT GONE IS NULL"]),
        ("INSERT", "NextValue", ["VALUES (%(name)s, %(name)s)"]),
        ("DELETE", "DropWhere", ["USING NEW"]),
        ("DELETE", "AddNot", ["AND NOT CITIES.NAME IN (%(names)s)"]),
    ],
)
def test_a_fault_in_a_change_is_one_that_a_person_makes(statement: str, fault: str, expected: list[str]) -> None:
    mutants = mutants_of(fault, f"-- Makes: a change.\n{CHANGES[statement]}\n")

    assert len(mutants) == len(expected)
    assert all(any(part in mutant for mutant in mutants) for part in expected), mutants


def test_the_names_of_faults_in_sql_are_distinct() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_the_files_are_found_by_pattern_and_what_decides_nothing_is_left_out(tmp_path: Path) -> None:
    left_out = ("pipeline_assets/cli.py", "pipeline_assets/commands/run.py", "sql/platform/role.sql")
    for name in ("pipeline_assets/batch/plan.py", "sql/x/a.sql", *left_out):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert targets.files(tmp_path) == ["pipeline_assets/batch/plan.py", "sql/x/a.sql"]


@pytest.mark.parametrize(
    "file",
    [
        "pipeline_assets/warehouse/publication.py",
        "sql/ops/watermark.sql",
        "sql/orders/order_lines.sql",
        "sql/a/b.sql",
    ],
)
def test_every_test_that_could_notice_is_asked_once_and_the_nearest_first(file: str) -> None:
    stages = targets.stages(file)

    asked = [test for stage in stages for test in stage]
    assert len(asked) == len(set(asked))
    assert {Path(test).parent.name for test in asked} >= {"bookings", "engine", "faults", "warehouse", "end_to_end"}
    if "publication" in file or "ops" in file:
        assert f"{targets.TESTS}/integration/warehouse/test_publication.py" in stages[0]


def test_a_survivor_is_argued_by_its_text_and_not_by_its_line() -> None:
    mutant = Mutant("a.py", "AddNot", 7, 'if "x":', 'if not "x":', "")
    known = Survivor("a.py", "AddNot", 'if "x":', 'if not "x":', "nobody can see it")

    assert reason(mutant, [known]) == "nobody can see it"
    assert reason(Mutant("b.py", "AddNot", 7, 'if "x":', 'if not "x":', ""), [known]) is None


def test_an_entry_is_read_as_it_was_printed_and_needs_a_reason(tmp_path: Path) -> None:
    mutant = Mutant("a.py", "AddNot", 7, r'if "\n":', r'if not "\n":', "")
    path = tmp_path / "survivors.toml"
    path.write_text(entry(mutant).replace('why = ""', 'why = "so"'), encoding="utf-8")

    assert reason(mutant, argued(path)) == "so"
    path.write_text(entry(mutant), encoding="utf-8")
    with pytest.raises(ValueError, match="No reason"):
        argued(path)
    assert all(known.why for known in argued())


def test_the_rate_is_of_all_that_were_tried() -> None:
    mutants = [Mutant(f"pipeline_assets/lake/{n}.py", "AddNot", 1, "a", "b", "") for n in range(10)]
    outcomes = [Outcome(mutant, CAUGHT, "t", 1) for mutant in mutants[:9]] + [Outcome(mutants[9], SURVIVED, "", 1)]

    assert rate(outcomes) == ENOUGH
    assert "9 of 10 caught, 90%" in report(outcomes)
    assert 'file = "pipeline_assets/lake/9.py"' in report(outcomes)


# A checkout as small as it can be, for what takes whole test runs.
SMALL = {
    "pipeline_assets/__init__.py": "",
    "pipeline_assets/lake/__init__.py": "",
    "pipeline_assets/lake/sizes.py": "def is_large(size: int) -> bool:\n    return size > 3\n",
    "pipeline_assets_tests/__init__.py": "",
    "pipeline_assets_tests/test_sizes.py": (
        "import random\n\nfrom pipeline_assets.lake.sizes import is_large\n\n\n"
        "def test_four_is_large():\n    assert is_large(4)\n\n\n"
        "def test_broken_anyway():\n    assert False\n"
    ),
    "pyproject.toml": "[tool.pytest.ini_options]\n",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name, text in SMALL.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def outcome_of(shop: Workshop, before: str, after: str) -> Outcome:
    file = "pipeline_assets/lake/sizes.py"
    text = SMALL[file].replace(before, after)
    return try_one(shop, shop.folder / "0" / "c", Mutant(file, "x", 2, before, after, text), list(SMALL)[4:5])


def test_a_fault_is_caught_in_a_copy_and_the_working_tree_is_not_touched(small: Path) -> None:
    """A test that fails without the fault is passed over; bytecode of the same second and length is not used."""
    with workshop(small) as shop:
        shop.copy("clean")
        shop.copy("0")
        survived = outcome_of(shop, "> 3", "> 2")
        caught = outcome_of(shop, "> 3", "> 4")
        folder = shop.folder

    assert (caught.state, caught.test) == (CAUGHT, "pipeline_assets_tests/test_sizes.py::test_four_is_large")
    assert survived.state == SURVIVED
    assert not folder.exists()
    assert {path.relative_to(small).as_posix() for path in small.rglob("*") if path.is_file()} == set(SMALL)
    assert all((small / name).read_text(encoding="utf-8") == text for name, text in SMALL.items())


class TestOfPython:
    """What needs Cosmic Ray, which only `make mutate` installs; that runs these tests first."""

    @pytest.fixture(autouse=True)
    def _operators(self) -> None:
        pytest.importorskip("cosmic_ray")

    def mutants(self, source: str) -> list[str]:
        from pipeline_assets_tests.mutation.python_faults import mutant, places

        return [mutant(source, place) for place in places(source)]

    def test_our_operators_do_what_their_examples_say(self) -> None:
        from pipeline_assets_tests.mutation.python_faults import OWN, mutate_code

        for operator in OWN:
            for example in operator.examples():
                made = mutate_code(example.pre_mutation_code, operator(), example.occurrence)
                assert made == example.post_mutation_code

    @pytest.mark.parametrize(
        "source",
        [
            'def f(a: int | None = None) -> str | None:\n    """UNION ALL of SELECT."""\n',
            "if TYPE_CHECKING:\n    import x\n",
            "@lru_cache(maxsize=1)\ndef f():\n    return x\n",
            "x: int | None\n",
            "assert x is not None\n",
            "_CHUNK = 1 << 20\n",
            "_ROWS = 50_000\n",
            "log.info('x', y > 1)\n",
            "x = zip(a, b, strict=True)\n",
        ],
    )
    def test_what_is_no_fault_is_left_out(self, source: str) -> None:
        assert self.mutants(source) == []

    def test_that_an_error_is_raised_counts_and_its_wording_does_not(self) -> None:
        assert self.mutants("raise E(f'{x + 1}', f(y, z=1))\n") == ["pass\n"]

    def test_sql_in_a_text_gets_faults_and_other_texts_do_not(self) -> None:
        source = 'a = f"SELECT DISTINCT {x} FROM {t} "\nb = "this AND that"\n'

        assert self.mutants(source) == [source.replace("SELECT DISTINCT", "SELECT")]

    def test_the_same_seed_draws_the_same_programs_and_another_seed_others(self) -> None:
        def sample(seed: int) -> list[Mutant]:
            found = candidates(only=["sqlfiles/", "sql/orders/"])
            return [mutant for mutant, _ in zip(drawn(found, seed), range(8), strict=False)]

        assert sample(1) == sample(1) != sample(2)
        assert {targets.group(mutant.file) for mutant in sample(1)} == {"sql", "sqlfiles"}
        for mutant in sample(1):
            text = (targets.ROOT / mutant.file).read_text(encoding="utf-8")
            if mutant.file.endswith(".py"):
                assert ast.dump(ast.parse(mutant.text)) != ast.dump(ast.parse(text))
            else:
                assert mutant.text != normalized(text)

    def test_a_change_elsewhere_in_a_file_draws_no_other_faults(self, small: Path) -> None:
        def order() -> list[tuple[str, str]]:
            return [(mutant.operator, mutant.after) for mutant in drawn(candidates(small), 1)]

        before = order()
        path = small / "pipeline_assets/lake/sizes.py"
        path.write_text(f"import os\n\n\n{path.read_text(encoding='utf-8')}", encoding="utf-8")

        assert order() == before != []
