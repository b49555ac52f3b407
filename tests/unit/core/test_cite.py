"""Citations state what the table or a docstring says, and nothing more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from biowm.core import cite as module
from biowm.core.cite import cite
from biowm.core.scores import crps

ROOT = Path(__file__).parents[3]


def test_the_software_comes_with_its_founding_paper():
    text = cite()
    assert text.startswith("@software{biowm,")
    assert "eprint = {2606.05925}" in text


def test_every_entry_is_well_formed_and_every_topic_has_entries():
    for topic in module._TOPICS:
        for entry in cite(topic).split("\n\n"):
            assert re.match(r"@\w+\{\w+,\n", entry)
            assert entry.count("{") == entry.count("}")
            assert {"author", "title", "year"} <= set(re.findall(r"^  (\w+) = ", entry, re.MULTILINE))


def test_a_function_is_cited_by_the_sources_of_its_docstring():
    text = cite(crps)
    assert "10.18637/jss.v090.i12" in text
    assert "10.1002/qj.2270" in text
    assert "biowm" not in text


def test_an_object_is_cited_by_its_class_and_an_unknown_source_by_its_number_alone():
    class Method:
        """A method. Source: doi:10.1234/abc-1; arXiv:2401.00001."""

    assert cite(Method()) == (
        "@misc{10_1234_abc_1,\n  doi = {10.1234/abc-1},\n}\n\n"
        "@misc{2401_00001,\n  eprint = {2401.00001},\n  archivePrefix = {arXiv},\n}"
    )


def test_what_names_no_source_is_cited_as_the_software():
    assert cite(object()) == cite("biowm")


def test_an_unknown_topic_names_the_topics():
    with pytest.raises(KeyError, match=r"conformal.*ias"):
        cite("phrenology")


def test_the_citation_file_names_the_same_papers():
    data = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    import biowm

    assert data["version"] == biowm.__version__
    plain = re.sub(r"[{}]|\s+", " ", cite("field")).replace("  ", " ").casefold()
    assert len(data["references"]) == len(cite("field").split("\n\n"))
    for reference in data["references"]:
        words = re.findall(r"\w+", reference["title"].casefold())
        assert " ".join(words) in " ".join(re.findall(r"\w+", plain))
