"""Contracts on their way to a job that runs somewhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract, Dialect, QualityRule, Reference, load_contract
from pipeline_assets.contracts.properties import OPERATORS, RANGES
from pipeline_assets.engine.distributed.plan import contract_from, contract_to
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support.contract_documents import DOCUMENTS, contract

texts = st.text('aN\\"\nä', max_size=3)
names = st.text("ABC_", min_size=1, max_size=8)
references = st.builds(Reference, texts, names, texts, texts, st.sampled_from(["quarantine", "load"]))
columns = st.builds(
    Column,
    *(names, st.sampled_from(["string", "date"]), texts),
    required=st.booleans(),
    key=st.booleans(),
    max_length=st.none() | st.integers(1, 9),
    accepted=st.lists(texts, max_size=2).map(tuple),
    input_formats=st.lists(texts, max_size=2).map(tuple),
    classification=st.none() | texts,
    reference=st.none() | references,
    path=st.lists(texts, max_size=2).map(tuple),
)
numbers = st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False)
rules = st.sampled_from(OPERATORS).flatmap(
    lambda operator: st.builds(
        QualityRule,
        *(names, texts, texts, st.just(operator)),
        st.tuples(numbers, numbers) if operator in RANGES else numbers,
        st.sampled_from(["warning", "error"]),
        texts,
    )
)
dialects = st.builds(Dialect, st.booleans(), st.none() | texts, st.sampled_from(['"', "\\"]), texts, st.none() | texts)


def contracts(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(
        Contract,
        *(texts for _ in range(7)),
        st.lists(columns, max_size=3).map(tuple),
        form=st.sampled_from(["csv", "json"]),
        items=items,
        path=st.lists(texts, max_size=2).map(tuple),
        dialect=dialects,
        quality=st.lists(rules, max_size=2).map(tuple),
    )


def carried(contract: Contract) -> Contract:
    return contract_from(json.loads(json.dumps(contract_to(contract))))


@settings(max_examples=40)
@given(contracts(st.none() | contracts(st.none())))
def test_a_contract_arrives_as_it_was_sent(sent: Contract) -> None:
    assert carried(sent) == sent


@pytest.mark.parametrize(
    "path", sorted((PROJECT_ROOT / "pipeline_assets").glob("*/contracts/*.yaml")), ids=lambda p: p.stem
)
def test_every_contract_in_the_repository_arrives(path: Path) -> None:
    sent = load_contract(path)

    assert carried(sent) == sent
    assert hash(carried(sent)) == hash(sent)


@pytest.mark.parametrize("form", DOCUMENTS)
def test_whatever_a_contract_says_arrives(form: str) -> None:
    sent = contract(DOCUMENTS[form])

    assert carried(sent) == sent
