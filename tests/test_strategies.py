"""Lists of strategies, encoders and methods agree: what a new one needs, each list says itself."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from organelle_fusion import costs, evaluation, reference, style, sweep
from organelle_fusion.config import load_profile
from organelle_fusion.inputs import _imported
from organelle_fusion.settings import (
    FUSIONS,
    JOINED,
    MIXED_KINDS,
    ONE_ENCODER,
    SMALL_KINDS,
    EncoderKind,
    HeadWidths,
    Strategy,
)

PACKAGE = Path(sweep.__file__).parent

# What networks import and do not depend on by their code.
NO_NETWORK_CODE = {
    "config": "settings are hashed by content",
    "settings": "settings are hashed by content",
    "patchset": "whether a copy fits into memory, which changes no number",
    "provenance": "hashes and files",
}


@pytest.mark.parametrize(
    ("place", "found", "expected"),
    [
        ("settings.Strategy", set(get_args(Strategy)), {"single", *JOINED}),
        ("settings.HeadWidths", set(HeadWidths.model_fields), set(get_args(Strategy))),
        ("costs.NETWORKS", set(costs.NETWORKS), set(get_args(Strategy))),
        ("style.STRATEGY_COLORS", set(style.STRATEGY_COLORS), set(FUSIONS)),
        (
            "evaluation.paper_rows",
            set(evaluation.paper_rows(())) - {"otccp_contacts"},
            set(FUSIONS),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lists_of_strategies_agree(place, found, expected):
    """A strategy that is missing somewhere fails late, in a chapter or a figure."""
    assert expected <= found, f"add {', '.join(sorted(expected - found))} to {place}"
    assert found <= expected, (
        f"{place}: {', '.join(sorted(found - expected))} is not in settings.FUSIONS; add it there"
    )


def test_the_reference_run_weighs_its_own_networks():
    """It is fixed beforehand: others may come, and none of its own may go."""
    assert set(reference.WORK) == {"single", *reference.FIXED}
    assert set(reference.COMPARED) == set(reference.FIXED) - {"late"}
    assert set(reference.FIXED) <= set(FUSIONS)


def test_another_strategy_does_not_change_the_reference_run(monkeypatch):
    """Its plan names its networks."""
    profile = load_profile("reference")
    before = reference.planned_trainings(profile)
    for name, value in (("FUSIONS", (*FUSIONS, "gated")), ("JOINED", (*JOINED, "gated"))):
        for module in ("config", "reference", "settings"):
            monkeypatch.setattr(f"organelle_fusion.{module}.{name}", value, raising=False)
    assert reference.planned_trainings(profile) == before


def test_kinds_of_encoders_agree():
    """Those with a property of their own are kinds that there are."""
    kinds = set(get_args(EncoderKind))
    assert kinds >= SMALL_KINDS, "settings.SMALL_KINDS: add it to EncoderKind"
    assert kinds >= set(MIXED_KINDS), "settings.MIXED_KINDS: add it to EncoderKind"
    assert set(ONE_ENCODER) <= set(get_args(Strategy)), "settings.ONE_ENCODER: add it to Strategy"


@pytest.mark.keras
def test_kinds_of_encoders_are_those_that_are_built():
    """And those whose maps are mixed, those of which it is known where their last stage begins."""
    pytest.importorskip("keras")
    from organelle_fusion import encoders, mixing

    with pytest.raises(encoders.ModelError) as error:
        encoders.build_encoder("none", (32, 32, 1), name="encoder")
    words = set(re.split(r", | or ", re.search("expected (.*), found", str(error.value))[1]))
    assert words == set(get_args(EncoderKind)), "settings.EncoderKind, encoders.build_encoder"
    assert {"compact", *mixing._LAST_STAGE_INPUT} == set(MIXED_KINDS), "settings.MIXED_KINDS"


@pytest.mark.keras
def test_methods_of_explanation_have_titles():
    """Chapter 11 shows every method by its title."""
    pytest.importorskip("keras")
    from organelle_fusion import explain, map_tests

    missing = set(explain.METHODS) - set(map_tests.METHOD_TITLES)
    assert not missing, f"add {', '.join(sorted(missing))} to map_tests.METHOD_TITLES"
    assert list(map_tests.METHOD_TITLES) == list(explain.METHODS)


def test_code_of_networks_is_complete():
    """A module that they import changes them, so that they are trained again when it changes."""
    imported = set().union(
        *(_imported(PACKAGE / f"{module}.py", PACKAGE) for module in sweep.NETWORK_CODE)
    )
    missing = imported - set(sweep.NETWORK_CODE) - set(NO_NETWORK_CODE)
    assert not missing, (
        f"add {', '.join(sorted(missing))} to sweep.NETWORK_CODE or, with a reason, here"
    )
    assert set(NO_NETWORK_CODE) <= imported, "take out of NO_NETWORK_CODE what is not imported"


def test_strategies_and_kinds_are_typed_in_one_place():
    """Other modules take the tuple or the type from `settings`."""
    lists = {frozenset(get_args(Strategy)), frozenset(get_args(EncoderKind))}
    found = []
    for path in sorted(PACKAGE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                words = frozenset(one.value for one in node.elts if isinstance(one, ast.Constant))
                if words in lists:
                    found.append(path.name)
    assert found == ["settings.py"] * 2


@pytest.mark.keras
def test_a_strategy_that_nothing_is_written_for_is_not_built_as_another(monkeypatch):
    """Named in the lists alone, it would be trained as spatial fusion, and called by its name."""
    models = pytest.importorskip("organelle_fusion.models")
    profile = load_profile("smoke")
    monkeypatch.setattr(models, "get_args", lambda _: ("gated",))
    with pytest.raises(models.ModelError, match="strategy gated: expected a way to join encoders"):
        models.build_model(
            "gated",
            channels=profile.channels,
            n_classes=2,
            encoder=profile.encoder,
            training=profile.training,
        )
