"""Models: what is allowed, what is refused by name, and that a score is exact, rounded once and a row's own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import numpy as np
from onnx import TensorProto, helper

from atoll.errors import AtollError
from atoll.sandbox.models import ModelEngine, to_float32
from atoll.scripts.manifest import Model
from atoll.scripts.onnx_models import MAX_BYTES, check_model
from atoll.scripts.onnx_operators import OPERATORS

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "scripts"


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hostile = _load("atoll_hostile_models", HERE / "hostile_models.py")
FEATURES: dict[str, str] = hostile.FEATURES
ML: str = hostile.ML


def declare(**changes: Any) -> Model:
    return Model.parse(hostile.DECLARED | changes)


def codes(data: bytes, model: Model = hostile.MODEL, features: dict[str, str] = FEATURES) -> list[str]:
    return [finding.code for finding in check_model(data, "risk", model, features).findings]


def engine(made: Any, **changes: Any) -> ModelEngine:
    """The engine of a model that is allowed."""
    data = made if isinstance(made, bytes) else made.SerializeToString()
    model = declare(**changes)
    assert check_model(data, "risk", model, FEATURES).findings == ()
    return ModelEngine(data, model, FEATURES)


def weight(name: str, values: Any, kind: Any = np.float32) -> Any:
    return hostile.array(name, values, kind)


def network() -> Any:
    """A network as PyTorch exports one: three layers, the middle one wide enough for blocked kernels."""
    draw = np.random.default_rng(4)
    weights = []
    nodes = []
    value = "scaled"
    for layer, (width, wide) in enumerate(((3, 64), (64, 48), (48, 1))):
        weights += [
            weight(f"w{layer}", draw.normal(size=(wide, width))),
            weight(f"b{layer}", draw.normal(size=wide)),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [f"s{layer}"], transB=1))
        value = "y" if layer == 2 else f"t{layer}"
        nodes.append(helper.make_node("Sigmoid" if layer == 2 else "Tanh", [f"s{layer}"], [value]))
    scaler = helper.make_node(
        "Scaler", ["x"], ["scaled"], domain=ML, offset=[500.0, 500.0, 0.5], scale=[0.002, 0.002, 1.0]
    )
    return hostile.wrap([scaler, *nodes], weights)


def classifier() -> Any:
    """A tree classifier as scikit-learn exports one, cut to the second of its two scores."""
    attributes = {k.replace("target_", "class_"): v for k, v in hostile.TREE.items() if k != "n_targets"}
    attributes |= {"class_ids": [1, 1, 1], "classlabels_int64s": [0, 1], "post_transform": "NONE"}
    nodes = [
        helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain=ML, **attributes),
        helper.make_node("Gather", ["scores", "second"], ["y"], axis=1),
    ]
    return hostile.wrap(nodes, [weight("second", [1], np.int64)])


def rows(*values: tuple[int, int, bool]) -> list[dict[str, Any] | None]:
    return [{"a": a, "b": b, "c": c} for a, b, c in values]


# --- what is refused


@cache
def _hostile_run() -> dict[str, dict[str, Any]]:
    """What each hostile file came to, in a process that a crash in native code would end."""
    ended = subprocess.run(
        [sys.executable, str(HERE / "hostile_models.py")], capture_output=True, text=True, timeout=200
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, f"{lines[-1:]}: {ended.stderr[-2000:]}"
    return {line["name"]: line for line in lines if "findings" in line}


@pytest.mark.parametrize("name", hostile.CASES)
def test_a_hostile_model_is_refused_by_name(name: str) -> None:
    found = _hostile_run()[name]
    code, _ = hostile.CASES[name]
    assert [each[0] for each in found["findings"]] == [code]
    _, place, text = found["findings"][0]
    assert place.startswith("risk.onnx")
    assert text.isprintable()
    assert text.isascii()
    assert len(text) < 400
    assert found["seconds"] < 1
    assert found["mebibytes"] < 200


def test_the_corpus_is_large_and_its_models_are_good_without_their_flaw() -> None:
    assert len(hostile.CASES) >= 20
    assert codes(hostile.logistic().SerializeToString()) == []
    assert codes(hostile.trees().SerializeToString()) == []


@given(st.data())
def test_changed_bytes_are_refused_or_run(data: st.DataObject) -> None:
    """Whatever passes the check is taken by the runtime, and a row gives a score or none."""
    good = data.draw(st.sampled_from([hostile.logistic(), hostile.trees()]))
    found = bytearray(good.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(found) - 1))
        found[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    if not codes(bytes(found)):
        scores = ModelEngine(bytes(found), hostile.MODEL, FEATURES).run(rows((1, 250, True)))
        assert len(scores) == 1


@given(st.binary(max_size=300))
def test_bytes_are_refused(data: bytes) -> None:
    assert codes(data)


def test_a_size_is_refused_one_byte_over() -> None:
    assert codes(bytes(MAX_BYTES)) == ["model-format"]
    assert codes(bytes(MAX_BYTES + 1)) == ["model-size"]


def test_two_scores_are_refused_with_what_to_do() -> None:
    made = classifier()
    del made.graph.node[1]
    made.graph.output[0].name = "scores"
    facts = check_model(made.SerializeToString(), "risk", declare(output="scores"), FEATURES)
    assert [f.code for f in facts.findings] == ["model-output"]
    assert "gives 2 numbers a row" in facts.findings[0].text
    assert "Gather of the column that counts, axis 1" in facts.findings[0].text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"range": ["1", "1"]}, "model-range"),
        ({"range": ["0", "0.9995"]}, "model-range"),
        ({"range": ["0.0005", "1"]}, "model-range"),
        ({"thresholds": ["0.5"]}, "model-band"),
        ({"thresholds": ["0.5"], "band": "0.0005"}, "model-band"),
        ({"thresholds": ["0.5005"], "band": "0.01"}, "model-band"),
        ({"inputs": ["a", "b", "d"]}, "model-input"),
        ({"inputs": ["a", "b", "b"]}, "model-input"),
        ({"inputs": ["a", "b", "nowhere"]}, "model-input"),
        ({"inputs": ["a", "b"]}, "model-input"),
        ({"output": "z"}, "model-output"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(changes: dict[str, Any], code: str) -> None:
    assert code in codes(
        hostile.logistic().SerializeToString(), declare(**changes), FEATURES | {"d": "string"}
    )


def test_a_band_of_more_than_half_a_step_passes() -> None:
    model = declare(thresholds=["0.5"], band="0.000500001")
    assert codes(hostile.logistic().SerializeToString(), model) == []


# --- what is allowed


def test_the_facts_of_a_model() -> None:
    facts = check_model(hostile.logistic().SerializeToString(), "risk", hostile.MODEL, FEATURES)
    # Gemm: three products; Sigmoid: one number in, one out, ten steps each. Three weights and a bias.
    assert facts == type(facts)((), ("Gemm", "Sigmoid"), 4, 3 + 20)
    facts = check_model(hostile.trees().SerializeToString(), "risk", hostile.MODEL, FEATURES)
    assert facts.operators == ("ai.onnx.ml.TreeEnsembleRegressor",)
    assert facts.operations == 1 * (3 + 1) + 10


def test_a_logistic_model_gives_the_exact_score_rounded() -> None:
    found = engine(hostile.logistic()).run(
        rows((0, 0, False), (2, 150, True), (-3, 1275, False), (1, 10, True))
    )
    # b is decimal(12,2): the model sees 1.5, 12.75 and 0.1.
    sums = [0.125, 1 - 0.375 + 1 + 0.125, -1.5 - 3.1875 + 0.125, 0.5 - 0.025 + 1 + 0.125]
    assert found == [round(1000 / (1 + np.exp(-s))) for s in sums]


def test_a_tree_gives_its_leaf() -> None:
    # a <= 10 gives the first leaf; else b < 2.5 the second, and the third.
    values = rows((10, 0, False), (11, 249, False), (11, 250, False))
    assert engine(hostile.trees()).run(values) == [125, 500, 875]
    assert engine(classifier()).run(values) == [125, 500, 875]


@pytest.mark.parametrize("opset", [13, 17, 22])
def test_what_exporters_write_is_taken(opset: int) -> None:
    """One of nearly each kind, as scikit-learn and PyTorch chain them."""
    weights = [
        weight("k", [[2.0, 0.5, 1.0]]),
        weight("shape", [1, -1], np.int64),
        weight("axes", [1], np.int64),
        weight("start", [0], np.int64),
        weight("end", [2**63 - 1], np.int64),
        weight("table", np.arange(8.0).reshape(4, 2) / 10),
        weight("zero", 0.0),
        weight("one", 1.0),
        weight("ones", [1.0, 1.0]),
        weight("zeros", [0.0, 0.0]),
        weight("third", [2], np.int64),
    ]
    nodes = [
        helper.make_node("Mul", ["x", "k"], ["m"]),
        helper.make_node("Slice", ["m", "start", "end", "axes"], ["sliced"]),
        helper.make_node("ArrayFeatureExtractor", ["sliced", "third"], ["flag"], domain=ML),
        helper.make_node("Cast", ["flag"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["embedded"], axis=0),
        helper.make_node("Reshape", ["embedded", "shape"], ["flat"]),
        helper.make_node(
            "BatchNormalization", ["flat", "ones", "zeros", "zeros", "ones"], ["normal"], epsilon=0.0
        ),
        helper.make_node("Concat", ["normal", "flag"], ["joined"], axis=1),
        helper.make_node("Unsqueeze", ["joined", "axes"], ["deep"]),
        helper.make_node("Squeeze", ["deep", "axes"], ["again"]),
        helper.make_node("Transpose", ["again"], ["turned"], perm=[1, 0]),
        helper.make_node("Flatten", ["turned"], ["row"], axis=0),
        helper.make_node("Relu", ["row"], ["active"]),
        helper.make_node("Dropout", ["active"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axes"], ["sum"], keepdims=1),
        helper.make_node("Clip", ["sum", "zero", "one"], ["y"]),
    ]
    # c is 0: row 0 of the table, 0.0 and 0.1. c is 1: row 1, 0.2 and 0.3, and the flag itself.
    found = engine(hostile.wrap(nodes, weights, opset=opset)).run(rows((0, 0, False), (0, 0, True)))
    assert found == [100, 1000]


def test_linear_models_of_scikit_learn() -> None:
    regressor = helper.make_node(
        "LinearRegressor",
        ["x"],
        ["y"],
        domain=ML,
        coefficients=[0.25, 0.5, 0.125],
        intercepts=[0.0625],
        targets=1,
    )
    made = hostile.wrap([regressor], [])
    assert engine(made).run(rows((1, 100, True), (0, 25, False))) == [
        938,
        188,
    ]  # 0.9375, 0.1875: both ties to even
    twice = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain=ML,
        coefficients=[-0.25, -0.5, -0.125, 0.25, 0.5, 0.125],
        intercepts=[-0.0625, 0.0625],
        classlabels_ints=[0, 1],
        post_transform="LOGISTIC",
    )
    second = helper.make_node("ArrayFeatureExtractor", ["scores", "second"], ["y"], domain=ML)
    made = hostile.wrap([twice, second], [weight("second", [1], np.int64)])
    assert engine(made).run(rows((1, 100, True))) == [round(1000 / (1 + np.exp(-0.9375)))]


def _page() -> str:
    return (HERE.parents[1] / "docs" / "reference" / "script-models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("opset", [0, 9, 17])
def test_the_page_brings_exports_into_form(opset: int) -> None:
    """The page's own program: as of scikit-learn, of LightGBM with old versions, of XGBoost without any."""
    code = _page().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "script-models.md", "exec"), names)
    made = classifier()
    made.graph.ClearField("initializer")
    del made.graph.node[1]
    made.graph.output[0].name = "scores"
    made.ir_version = 4 if opset == 9 else 8
    made.metadata_props.add(key="k", value="v")
    made.graph.node[0].metadata_props.add(key="k", value="v")
    made.opset_import[0].version = opset
    if not opset:
        del made.opset_import[0]
    found = engine(names["one_score"](made, scores="scores"), output="risk")
    assert found.run(rows((10, 0, False), (11, 249, False), (11, 250, False))) == [125, 500, 875]


def test_the_page_lists_the_operators_and_the_findings() -> None:
    listed = set()
    for line in _page().split("## Operators")[1].split("Values are")[0].splitlines():
        if line.startswith("| ") and not line.startswith("| kind"):
            listed |= {word.strip(";,") for word in line.split("|")[2].split() if word[0].isupper()}
    assert listed == set().union(*OPERATORS.values())
    codes = {code for code, _ in hostile.CASES.values()} | {"model-range", "model-band"}
    assert all(f"`{code}`" in _page() for code in codes)


# --- what a model sees


def _oracle(value: int, scale: int) -> np.float32:
    """The nearest float32 by search, ties to the even one."""
    exact = Fraction(value, 10**scale)
    near = np.float32(float(exact))
    around = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    distances = [(abs(Fraction(float(each)) - exact), int(each.view(np.int32)) & 1) for each in around]
    return around[distances.index(min(distances))]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 18))
def test_a_feature_is_rounded_once(value: int, scale: int) -> None:
    assert to_float32(value, scale) == _oracle(value, scale)


@given(st.integers(2**23, 2**24 - 1), st.integers(-3, 3), st.integers(1, 9))
def test_a_feature_beside_the_middle_of_two_floats_is_rounded_once(
    mantissa: int, beside: int, scale: int
) -> None:
    """A decimal so near to the middle that a double takes it for the middle: where two roundings go wrong."""
    value = (2 * mantissa + 1) * 5 * 10 ** (scale - 1) + beside
    assert to_float32(value, scale) == _oracle(value, scale)


def test_two_roundings_would_miss() -> None:
    # A little above the middle of 1 and the float above it, by less than a double can tell.
    value = 10**18 + 59_604_644_776
    assert Fraction(value, 10**18) > 1 + Fraction(1, 2**24)
    assert np.float32(value / 10**18) == 1
    assert to_float32(value, 18) == 1 + np.float32(2**-23)


@pytest.mark.parametrize(
    "row",
    [
        None,
        {},
        {"a": None, "b": 0, "c": True},
        {"a": 1.0, "b": 0, "c": True},
        {"a": True, "b": 0, "c": True},
        {"a": 1, "b": 0, "c": 1},
        {"a": "1", "b": 0, "c": True},
    ],
)
def test_a_row_with_a_value_missing_or_of_another_type_has_no_score(row: dict[str, Any] | None) -> None:
    good = rows((0, 0, False))
    scores = engine(hostile.logistic()).run([*good, row, *good])
    assert scores == [531, None, 531]


# --- rounding and band

STEPS = st.sampled_from(["1", "0.1", "0.01", "0.001", "0.000001"])


@given(st.floats(allow_nan=True, allow_infinity=True), STEPS)
def test_a_score_is_clipped_and_rounded_half_to_even(raw: float, step: str) -> None:
    made = ModelEngine(hostile.logistic().SerializeToString(), declare(range=["0", "3"], step=step), FEATURES)
    if not np.isfinite(raw):
        assert made.round(raw) is None
        return
    clipped = min(max(Decimal(raw), Decimal(0)), Decimal(3))
    assert made.round(raw) == int((clipped / Decimal(step)).quantize(Decimal(1), ROUND_HALF_EVEN))


@pytest.mark.parametrize(
    ("raw", "steps"),
    [(0.5, 0), (1.5, 2), (2.5, 2), (2.5000000000000004, 3), (-9.0, 0), (1e300, 3), (-0.0, 0)],
)
def test_halves_and_ends(raw: float, steps: int) -> None:
    made = ModelEngine(hostile.logistic().SerializeToString(), declare(range=["0", "3"], step="1"), FEATURES)
    assert made.round(raw) == steps


@pytest.mark.parametrize(
    ("raw", "steps"),
    [
        (0.25, None),  # at the band's edge: 0.5 less 0.25
        (np.nextafter(0.25, 0), 2),
        (0.5, None),
        (0.75, None),
        (np.nextafter(0.75, 1), 8),
        (1.875, None),  # within the band of 2, which is the end of the range
        (9.0, None),  # clipped first
        (-9.0, 0),
    ],
)
def test_a_score_within_the_band_is_none(raw: float, steps: int | None) -> None:
    model = declare(range=["0", "2"], step="0.1", thresholds=["0.5", "2"], band="0.25")
    assert ModelEngine(hostile.logistic().SerializeToString(), model, FEATURES).round(float(raw)) == steps


@given(st.floats(0, 1), st.floats(-1e-6, 1e-6))
def test_processors_that_differ_agree_on_which_side_of_a_threshold(raw: float, drift: float) -> None:
    """Two scores closer than the band's margin never stand on two sides of the threshold."""
    model = declare(thresholds=["0.5"], band="0.000502")
    made = ModelEngine(hostile.logistic().SerializeToString(), model, FEATURES)
    one, other = made.round(raw), made.round(raw + drift)
    if one is not None and other is not None:
        assert (one >= 500) == (other >= 500)
        assert (one > 500) == (other > 500)


def test_nan_and_infinity_are_no_score() -> None:
    nodes = [
        helper.make_node("Log", ["x"], ["l"]),
        helper.make_node("ReduceSum", ["l", "axes"], ["y"], keepdims=1),
    ]
    made = engine(hostile.wrap(nodes, [weight("axes", [1], np.int64)]))
    assert made.run(rows((-1, 100, True), (0, 100, True), (1, 100, True))) == [None, None, 0]


def test_a_row_that_fails_inside_has_no_score_and_hurts_no_other() -> None:
    nodes = [
        helper.make_node("ArrayFeatureExtractor", ["x", "first"], ["f"], domain=ML),
        helper.make_node("Cast", ["f"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["g"], axis=0),
        helper.make_node("Reshape", ["g", "shape"], ["y"]),
    ]
    weights = [
        weight("first", [0], np.int64),
        weight("table", [0.25, 0.5]),
        weight("shape", [1, 1], np.int64),
    ]
    made = engine(hostile.wrap(nodes, weights))
    assert made.run(rows((1, 0, True), (2, 0, True), (10**15, 0, True), (0, 0, True))) == [
        500,
        None,
        None,
        250,
    ]


# --- a row's score is its own


@cache
def _engines() -> dict[str, ModelEngine]:
    made = {
        "network": network(),
        "trees": hostile.trees(),
        "logistic": hostile.logistic(),
        "classifier": classifier(),
    }
    return {name: engine(model, step="0.000000001") for name, model in made.items()}


ROW = st.fixed_dictionaries(
    {"a": st.integers(-2000, 2000), "b": st.integers(-200_000, 200_000), "c": st.booleans()}
)


@given(
    st.lists(st.none() | ROW, min_size=1, max_size=70),
    st.sampled_from(["network", "trees", "logistic", "classifier"]),
)
def test_a_score_does_not_depend_on_the_batch(batch: list[dict[str, Any] | None], name: str) -> None:
    """To the last of nine digits."""
    made = _engines()[name]
    alone = [made.run([row])[0] for row in batch]
    assert made.run(batch) == alone
    assert made.run(batch[::-1]) == alone[::-1]


def test_two_engines_of_the_same_bytes_agree() -> None:
    batch: list[dict[str, Any] | None] = [{"a": n, "b": 7 * n, "c": n % 2 == 0} for n in range(300)]
    one, other = (engine(network(), step="0.000000001").run(batch) for _ in range(2))
    assert one == other
    assert len(set(one)) > 250


# --- libraries


def test_the_runtime_is_told_the_format() -> None:
    """ONNX bytes that begin like the runtime's own format run as what they are, if they got past the check at all."""
    _, build = hostile.CASES["two formats in one"]
    data = build()
    assert data[4:8] == b"ORTM"
    assert ModelEngine(data, hostile.MODEL, FEATURES).run(rows((0, 0, False))) == [531]
    import onnxruntime

    with pytest.raises(Exception, match="ORT"):
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def test_a_model_that_the_runtime_does_not_take_is_named() -> None:
    with pytest.raises(AtollError, match=r"E_SCRIPT: risk\.onnx: the runtime does not take the model"):
        ModelEngine(b"no model", hostile.MODEL, FEATURES)


@pytest.fixture(params=["onnx", "onnxruntime"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(sys.modules, request.param, None)
    return request.param


def test_a_library_that_is_not_installed_is_named(missing: str) -> None:
    data = hostile.logistic().SerializeToString()
    work = {
        "onnx": lambda: check_model(data, "risk", hostile.MODEL, FEATURES),
        "onnxruntime": lambda: ModelEngine(data, hostile.MODEL, FEATURES),
    }
    told = rf"model risk.*{missing} is not installed.*atoll\[models\]"
    with pytest.raises(AtollError, match=told) as caught:
        work[missing]()
    assert caught.value.code == "E_SCRIPT"


# --- the example


def test_the_model_of_the_example_is_what_its_program_writes(tmp_path: Path) -> None:
    program = EXAMPLES / "make_model.py"
    kept = (EXAMPLES / "claims-model" / "risk.onnx").read_bytes()
    assert len(kept) < 2048
    subprocess.run([sys.executable, str(program), str(tmp_path)], check=True, capture_output=True, timeout=60)
    assert (tmp_path / "risk.onnx").read_bytes() == kept


def test_the_model_of_the_example_is_allowed_and_scores() -> None:
    data = (EXAMPLES / "claims-model" / "risk.onnx").read_bytes()
    model = declare(inputs=["billed", "items", "days"], output="risk", thresholds=["0.8"], band="0.001")
    features = {"billed": "int64", "items": "int64", "days": "int64"}
    facts = check_model(data, "risk", model, features)
    assert facts.findings == ()
    assert facts.weights == 10
    scores = ModelEngine(data, model, features).run(
        [{"billed": 1_500_000, "items": 12, "days": 6}, {"billed": 9_500_000, "items": 30, "days": 21}]
    )
    # At the means the sum is the intercept, -2; then 1.25 * 4 + 0.5 * 2 + 0.75 * 3 - 2.
    assert scores == [round(1000 / (1 + np.exp(2))), round(1000 / (1 + np.exp(-6.25)))]
