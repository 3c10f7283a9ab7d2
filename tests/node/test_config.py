"""Settings: read strictly, every error names the setting; the reference page; the file that `init` writes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.node.config import SECTIONS, SETTINGS, Config, load, render

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
NAMES = [f"{s.section}.{s.name}" for s in SETTINGS]


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "atoll.toml"
    path.write_text(render({"node.name": "alice", **values}), encoding="utf-8")
    return path


def refusal(path: Path) -> AtollError:
    with pytest.raises(AtollError) as caught:
        load(path)
    assert caught.value.code == "E_CONFIG"
    return caught.value


def test_the_defaults_are_valid_and_every_key_has_its_comment(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    config = load(path)
    assert config.values == {f"{s.section}.{s.name}": s.default for s in SETTINGS} | {"node.name": "alice"}
    text = path.read_text(encoding="utf-8")
    for setting in SETTINGS:
        assert setting.comment
        for line in setting.comment.split("\n"):
            assert f"# {line}" in text
    assert set(tomllib.loads(text)) == set(SECTIONS)


@given(st.text(min_size=1, max_size=64).filter(lambda t: t.isprintable()))
def test_any_printable_name_survives_the_file(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = write(tmp_path_factory.mktemp("home"), {"node.name": name})
    assert load(path)["node.name"] == name


other = st.one_of(
    st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(max_size=10),
    st.lists(st.integers(), max_size=3), st.lists(st.text(max_size=4), max_size=3),
)  # fmt: skip


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


@given(name=st.sampled_from(NAMES), value=other)
def test_a_value_of_another_type_or_range_names_the_setting(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    section, _, key = name.partition(".")
    path = tmp_path_factory.mktemp("home") / "atoll.toml"
    body = f"[{section}]\n{key} = {toml(value)}\n" + ("" if section == "node" else '[node]\nname = "alice"\n')
    if name == "node.language":
        body += 'name = "alice"\n'
    try:
        path.write_text(body, encoding="utf-8")
        tomllib.loads(body)
    except (tomllib.TOMLDecodeError, UnicodeEncodeError):
        return
    setting = next(s for s in SETTINGS if f"{s.section}.{s.name}" == name)
    code, text, config = attempt(path)
    if config is None:
        assert code == "E_CONFIG"
        assert name in text, "the message names the setting"
    else:
        assert type(config[name]) is type(setting.default)


def attempt(path: Path) -> tuple[str, str, Config | None]:
    try:
        return "", "", load(path)
    except AtollError as error:
        return error.code, error.text, None


@given(
    section=st.from_regex(r"[a-z]{1,8}", fullmatch=True), key=st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
)
def test_an_unknown_key_is_named(tmp_path_factory: pytest.TempPathFactory, section: str, key: str) -> None:
    if f"{section}.{key}" in NAMES:
        return
    path = tmp_path_factory.mktemp("home") / "atoll.toml"
    path.write_text(f"[{section}]\n{key} = 1\n", encoding="utf-8")
    named = f"{section}.{key}" if section in SECTIONS else f"[{section}]"
    assert named in refusal(path).text


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("partners.listen", "no port", "partners.listen"),
        ("partners.listen", "127.0.0.1:70000", "partners.listen"),
        ("partners.address", "bank.example", "partners.address"),
        ("api.listen", "", "api.listen"),
        ("jobs.concurrent", 0, "jobs.concurrent"),
        ("jobs.seconds", 10**9, "jobs.seconds"),
        ("jobs.memory_bytes", 1, "jobs.memory_bytes"),
        ("logs.level", "loud", "logs.level"),
        ("logs.format", "xml", "logs.format"),
        ("node.language", "fr", "node.language"),
        ("node.name", "", "node.name"),
        ("node.name", "x" * 65, "node.name"),
        ("api.hosts", [1], "api.hosts"),
    ],
)
def test_values_out_of_range_are_named(tmp_path: Path, setting: str, value: Any, named: str) -> None:
    assert named in refusal(write(tmp_path, {setting: value})).text


@pytest.mark.parametrize("text", ["[node", "\udcff", "name = 1", "[node]\nname = 'a'\n[node]\nname = 'b'\n"])
def test_a_file_that_is_no_toml_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "atoll.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert str(path) in refusal(path).text


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    assert "atoll init" in refusal(tmp_path / "atoll.toml").cure


def test_the_settings_page_has_every_setting_with_its_default_and_range() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = [line[5:-1] for line in text.splitlines() if line.startswith("### `")]
    assert shown == [
        f"{s.section}.{s.name}" for section in SECTIONS for s in SETTINGS if s.section == section
    ]
    for setting in SETTINGS:
        part = text.split(f"### `{setting.section}.{setting.name}`\n", 1)[1].split("\n##", 1)[0]
        assert setting.comment.replace("\n", " ") in part
        assert f"Default: `{json.dumps(setting.default)}`" in part
        assert f"Type: {type(setting.default).__name__}." in part
        for bound in (setting.low, setting.high):
            assert bound is None or f"{bound:,}" in part
    for section, title in SECTIONS.items():
        assert f"## `[{section}]`\n\n{title}" in text
