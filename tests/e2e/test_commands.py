"""The smaller commands, exit codes, and that a bug is called one."""

from __future__ import annotations

from pathlib import Path

import pytest

from biowm import __version__, api

from .conftest import biowm


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("data", "list"), ("ias", "licence")),
        (("env", "list"), ("tumour", "biowm/Glucose-v0")),
        (("bench", "list"), ("ias", "version")),
        (("fit", "--help"), ("--thorough", "recurrent")),
        (("--version",), (__version__,)),
        (("--help",), ("fit", "simulate", "plan", "certify", "Exit codes")),
    ],
    ids=lambda part: " ".join(part),
)
def test_lists(command: tuple[str, ...], shown: tuple[str, ...]):
    said = biowm(*command)
    assert said.code == 0, said.err
    assert said.err == ""
    for part in shown:
        assert part in said.out


def test_data_check_says_how_a_study_was_understood(study: Path):
    said = biowm("data", "check", study)
    assert said.code == 0, said.err
    for part in ("40 subjects", "psa", "ng/mL", "drug", "mg/d"):
        assert part in said.out


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("fit", "nowhere.yaml", "--json"), ("nowhere.yaml",)),
        (("data", "check", "nowhere.yaml"), ("nowhere.yaml",)),
        (("data", "get", "nothing"), ("nothing", "ias")),
        (("bench", "run", "nothing", "--json", "-"), ("nothing", "ias")),
        (("bench", "run", "ias", "--quick", "--full", "--json", "-"), ("--quick", "--full")),
        (("simulate", "run", "--json"), ("world.json",)),
        (("fit", "--sed", "1"), ("--sed", "--seed")),
        (("forecast",), ("forecast",)),
    ],
    ids=lambda part: " ".join(part) if part[0] != part[0].upper() else "",
)
def test_bad_usage(command: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    biowm(*command).refused(*parts)
    assert not list(tmp_path.iterdir())


def test_missing_data_name_the_command_that_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BIOWM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    biowm("bench", "run", "ias", "--json", "-").refused("biowm data get ias")


def test_a_bug_is_exit_1_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(folder: object) -> None:
        raise RuntimeError("a wire is loose")

    monkeypatch.setattr(api, "open_fitted", broken)
    said = biowm("certify", tmp_path, "--json")
    assert said.code == 1
    assert said.out == ""
    assert "this is a bug: RuntimeError: a wire is loose" in said.err


def test_an_environment_is_checked_played_and_drawn(tmp_path: Path):
    picture = tmp_path / "episode.png"
    said = biowm("env", "rollout", "biowm/TumourPKPD-v0", "--policy", "none", "--seed", 3, "--plot", picture, "--json")
    played = said.json
    assert played["steps"] == len(played["reward"]) == len(played["given"]["chemo"]) == len(played["t"]) - 1
    assert played["return"] == pytest.approx(sum(played["reward"]))
    assert played["units"]["volume"] == "cm^3"
    assert played["terminated"] != played["truncated"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    sheet = biowm("env", "check", "biowm/TumourPKPD-v0")
    assert sheet.code == 0, sheet.err
    assert "Reward" in sheet.out
    assert "passes" in sheet.out


def test_an_unknown_environment_or_policy_is_refused():
    biowm("env", "check", "biowm/Tumor-v0").refused("ID", "biowm/Tumor-v0", "biowm/TumourPKPD-v0", "patient/tumour")
    biowm("env", "rollout", "biowm/TumourPKPD-v0", "--policy", "best").refused("--policy", "best", "random, none")
