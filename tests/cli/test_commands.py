"""The command line without a running node: usage, options, errors, init, printing."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from atoll.cli import show
from atoll.cli.app import _register, app, main
from atoll.cli.context import Here
from atoll.errors import AtollError

ROOT = Path(__file__).resolve().parents[2]
PASSPHRASE = "a long enough passphrase"
_register()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("ATOLL_DIR", "ATOLL_URL", "ATOLL_TOKEN", "ATOLL_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)


def commands(click_group, path=()):
    for name, sub in click_group.commands.items():
        if hasattr(sub, "commands"):
            yield from commands(sub, (*path, name))
        else:
            yield (*path, name), sub


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_and_the_shared_options(path, capsys) -> None:
    if path == ("demo",):
        return
    assert main([*path, "--help"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for option in ("--dir", "--json", "--as", "--token"):
        assert option in shown
    assert ALL[path].help


def test_every_command_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^### `atoll ([a-z -]+)`", text, re.MULTILINE))
    assert documented == {" ".join(path) for path in ALL}


def test_every_option_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    shared = {"dir", "url", "token", "as_", "json", "lang"}
    for path, command in ALL.items():
        part = text.partition(f"### `atoll {' '.join(path)}`\n")[2].partition("\n### ")[0]
        for parameter in command.params:
            option = parameter.opts[0] if parameter.param_type_name == "option" else None
            if option and parameter.name not in shared and option != "--help":
                assert f"`{parameter.opts[0]}" in part, f"{path}: {parameter.opts[0]}"


def test_wrong_usage_ends_with_2(capsys) -> None:
    assert main(["join"]) == 2
    assert main(["no-such-command"]) == 2
    assert main(["status", "--lang", "fr"]) == 2
    capsys.readouterr()


def test_the_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("atoll ")


def test_an_error_is_its_code_and_what_to_do_on_standard_error(tmp_path, capsys) -> None:
    assert main(["peer", "list", "-d", str(tmp_path)]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    # The token is looked for first: without one, whether the node runs does not matter.
    assert found.err.startswith("E_AUTH: ")
    assert "atoll person add" in found.err


def test_an_error_for_machines_is_a_problem_document(tmp_path, capsys) -> None:
    assert main(["peer", "list", "-d", str(tmp_path), "--json"]) == 1
    problem = json.loads(capsys.readouterr().err)
    assert problem["code"] == "E_AUTH"
    assert AtollError.from_problem(problem).code == "E_AUTH"


def test_errors_lists_every_code(capsys) -> None:
    assert main(["errors", "--json"]) == 0
    assert {"E_POLICY", "E_QUOTA"} <= {row["code"] for row in json.loads(capsys.readouterr().out)}
    assert main(["errors", "E_NOTHING"]) == 1


def test_init_makes_a_node_and_says_what_comes_next(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ATOLL_PASSPHRASE", PASSPHRASE)
    folder = tmp_path / "my node"
    command = [
        "init",
        str(folder),
        "--name",
        "First Bank",
        "--listen",
        "",
        "--set",
        "jobs.threads=2",
        "--lang",
        "zh",
    ]
    assert main(command) == 0
    assert "atoll node -d" in capsys.readouterr().out
    # Nothing that is started later inherits the passphrase.
    assert "ATOLL_PASSPHRASE" not in os.environ
    text = (folder / "atoll.toml").read_text(encoding="utf-8")
    assert 'name = "First Bank"' in text
    assert "threads = 2" in text
    assert 'language = "zh"' in text
    assert (folder / "tokens" / "administrator.administrator").exists()
    assert main(["status", "-d", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("E_UNREACHABLE: ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--set", "jobs.nothing=1"], "E_CONFIG"),
        (["--set", "jobs.threads"], "E_FORMAT"),
        (["--set", "jobs.threads=many"], "E_CONFIG"),
        (["--listen", "nonsense"], "E_CONFIG"),
    ],
)
def test_init_refuses_wrong_settings_and_leaves_nothing(words, code, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ATOLL_PASSPHRASE", PASSPHRASE)
    assert main(["init", str(tmp_path / "node"), "--name", "x", *words]) == 1
    assert capsys.readouterr().err.startswith(code)
    assert list(tmp_path.iterdir()) == []


def run(*words: str, cwd: Path, env: dict[str, str] | None = None):
    base = {k: v for k, v in os.environ.items() if not k.startswith("ATOLL_")}
    return subprocess.run(
        [sys.executable, "-m", "atoll.cli", *words], cwd=cwd, env=base | (env or {}), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_without_a_terminal_the_passphrase_must_be_given(tmp_path) -> None:
    done = run("init", "node", "--name", "x", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("E_PASSPHRASE: ")
    assert "--passphrase-file" in done.stderr
    (tmp_path / "secret").write_text("short\n")
    done = run("init", "node", "--name", "x", "--passphrase-file", "secret", cwd=tmp_path)
    assert "fewer than 12" in done.stderr
    assert not (tmp_path / "node").exists()


def test_no_option_takes_a_passphrase() -> None:
    for command in ALL.values():
        assert "--passphrase" not in {o for p in command.params for o in p.opts}


def test_a_wrong_passphrase_is_said(tmp_path) -> None:
    assert (
        run("init", "node", "--name", "x", cwd=tmp_path, env={"ATOLL_PASSPHRASE": PASSPHRASE}).returncode == 0
    )
    done = run("node", "-d", "node", cwd=tmp_path, env={"ATOLL_PASSPHRASE": "another one, quite long"})
    assert done.returncode == 1
    assert "E_PASSPHRASE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_is_not_run_without_a_word(monkeypatch) -> None:
    from atoll.cli import ask

    monkeypatch.setattr(os, "isatty", lambda _: False)
    with pytest.raises(AtollError) as caught:
        ask.certain(False, "Run this?")
    assert caught.value.code == "E_APPROVAL"
    ask.certain(True, "Run this?")


def test_as_names_a_role() -> None:
    assert Here(as_="Li: Wei:steward")._who() == ("Li: Wei", "steward")
    assert Here(as_="steward")._who() == (None, "steward")
    with pytest.raises(AtollError):
        Here(as_="Li Wei")._who()


def test_partners_cannot_write_to_the_terminal() -> None:
    assert show.clean("a\x1b[2Jb\rc\x07") == "a\ufffd[2Jb\ufffdc\ufffd"
    assert show.clean("二行\nab") == "二行\nab"


def test_names_are_not_markup(capsys, monkeypatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    show._console.cache_clear()
    try:
        show.line("[red]name[/red]")
        show.table([{"a": "[bold]x[/bold]"}], ["a"], "none")
    finally:
        show._console.cache_clear()
    assert "[red]name[/red]" in out.getvalue()
    assert "[bold]x[/bold]" in out.getvalue()


def test_reasons_show_the_grant() -> None:
    grant = {"asset": "taxes", "change": {"columns": {"id": ["join_key"]}}}
    reason = {"code": "E_POLICY", "column": "id", "text": {"en": "no grant", "zh": "无"}, "grant": grant}
    lines = show.reasons({"facts": {"reasons": [reason]}})
    assert lines[0] == "E_POLICY (column id): no grant"
    assert "taxes" in lines[1]
    assert "join_key" in lines[1]
