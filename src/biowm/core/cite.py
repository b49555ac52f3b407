"""Whom to cite: BibTeX for BioWM, its methods, its data and anything whose docstring names its source."""

from __future__ import annotations

import inspect
import re

_BIBTEX = r"""
@software{biowm,
  author = {{BioWM developers}},
  title = {BioWM: biomedical world models},
  year = {2026},
  license = {Apache-2.0},
}

@misc{wang2026towards,
  author = {Wang, Guangyu and Yue, Jingkun and Zhang, Siqi and others},
  title = {Towards World Models in Biomedical Research},
  year = {2026},
  eprint = {2606.05925},
  archivePrefix = {arXiv},
}

@article{noori2026world,
  author = {Noori and others},
  title = {World Models for Biomedicine},
  year = {2026},
  journal = {Cell},
  volume = {189},
  number = {19},
  pages = {5845},
}

@article{xing2026world,
  author = {Xing and Song},
  title = {A World Model of the Virtual Cell},
  year = {2026},
  journal = {Cell},
  volume = {189},
  number = {19},
  pages = {5831},
}

@misc{qazi2025beyond,
  author = {Qazi, Mohammad Areeb and Nadeem, Maryam and Yaqub, Mohammad},
  title = {Beyond Generative {AI}: World Models for Clinical Prediction, Counterfactuals, and Planning},
  year = {2025},
  eprint = {2511.16333},
  archivePrefix = {arXiv},
}

@misc{saeed2026medical,
  author = {Saeed, N. and Hassan, S. and Khan, S. and Qazi, M. A. and Maier-Hein, K. H. and Khan, S. and Yaqub, M.},
  title = {Medical World Model: From Passive Prediction to Active Simulation in Medicine},
  year = {2026},
  doi = {10.20944/preprints202604.2168.v1},
}

@misc{liu2026medical,
  author = {Liu, Ke and Li, Mengxuan and Bao, Yanyi and others},
  title = {Medical world models: representing medical states, modelling clinical dynamics and guiding
    intervention policies},
  year = {2026},
  eprint = {2606.16721},
  archivePrefix = {arXiv},
}

@misc{yu2026virtual,
  author = {Yu, C. and Zhou, J. and Tan, C. and Li, S. Z. and Liu, X. and Zhang, X. and Zhang, Z. and Lei, Z.
    and Wang, Z.},
  title = {What Makes a Virtual Cell a World Model? Three Gaps, Three Experiments, and a Roadmap},
  year = {2026},
  doi = {10.21203/rs.3.rs-10404367/v1},
}

@misc{bunne2024virtual,
  author = {Bunne, Charlotte and Roohani, Yusuf and Rosen, Yanay and others},
  title = {How to Build the Virtual Cell with Artificial Intelligence: Priorities and Opportunities},
  year = {2024},
  eprint = {2409.11654},
  archivePrefix = {arXiv},
}

@book{vovk2005algorithmic,
  author = {Vovk, Vladimir and Gammerman, Alex and Shafer, Glenn},
  title = {Algorithmic Learning in a Random World},
  year = {2005},
  publisher = {Springer},
}

@article{vovk2015cross,
  author = {Vovk, Vladimir},
  title = {Cross-conformal predictors},
  year = {2015},
  journal = {Annals of Mathematics and Artificial Intelligence},
  volume = {74},
  pages = {9--28},
  doi = {10.1007/s10472-013-9368-4},
}

@article{gneiting2007strictly,
  author = {Gneiting, Tilmann and Raftery, Adrian E.},
  title = {Strictly Proper Scoring Rules, Prediction, and Estimation},
  year = {2007},
  journal = {Journal of the American Statistical Association},
  volume = {102},
  pages = {359--378},
  doi = {10.1198/016214506000001437},
}

@article{ferro2014fair,
  author = {Ferro, C. A. T.},
  title = {Fair scores for ensemble forecasts},
  year = {2014},
  journal = {Quarterly Journal of the Royal Meteorological Society},
  volume = {140},
  pages = {1917--1923},
  doi = {10.1002/qj.2270},
}

@article{jordan2019evaluating,
  author = {Jordan, Alexander and Kr{\"u}ger, Fabian and Lerch, Sebastian},
  title = {Evaluating Probabilistic Forecasts with {scoringRules}},
  year = {2019},
  journal = {Journal of Statistical Software},
  volume = {90},
  pages = {1--37},
  doi = {10.18637/jss.v090.i12},
}

@article{deboer2005tutorial,
  author = {de Boer, Pieter-Tjerk and Kroese, Dirk P. and Mannor, Shie and Rubinstein, Reuven Y.},
  title = {A Tutorial on the Cross-Entropy Method},
  year = {2005},
  journal = {Annals of Operations Research},
  volume = {134},
  pages = {19--67},
  doi = {10.1007/s10479-005-5724-z},
}

@article{geng2017prediction,
  author = {Geng, C. and Paganetti, H. and Grassberger, C.},
  title = {Prediction of Treatment Response for Combined Chemo- and Radiation Therapy for Non-Small Cell Lung
    Cancer Patients Using a Bio-Mathematical Model},
  year = {2017},
  journal = {Scientific Reports},
  volume = {7},
  pages = {13542},
  doi = {10.1038/s41598-017-13646-z},
}

@article{bruchovsky2006final,
  author = {Bruchovsky, Nicholas and others},
  title = {Final results of the Canadian prospective phase {II} trial of intermittent androgen suppression for men
    in biochemical recurrence after radiotherapy for locally advanced prostate cancer: clinical parameters},
  year = {2006},
  journal = {Cancer},
  volume = {107},
  pages = {389--395},
  doi = {10.1002/cncr.21989},
}

@article{laleh2022classical,
  author = {Ghaffari Laleh, N. and others},
  title = {Classical mathematical models for prediction of response to chemotherapy and immunotherapy},
  year = {2022},
  journal = {PLoS Computational Biology},
  volume = {18},
  pages = {e1009822},
  doi = {10.1371/journal.pcbi.1009822},
}

@misc{vandewater2025mimic,
  author = {van de Water and others},
  title = {{MIMIC-IV} demo data in the {Medical Event Data Standard} ({MEDS})},
  year = {2025},
  publisher = {PhysioNet},
  version = {0.0.1},
  doi = {10.13026/t2y8-ea41},
}

@article{dallaman2007meal,
  author = {Dalla Man, Chiara and Rizza, Robert A. and Cobelli, Claudio},
  title = {Meal Simulation Model of the Glucose-Insulin System},
  year = {2007},
  journal = {IEEE Transactions on Biomedical Engineering},
  volume = {54},
  pages = {1740--1749},
  doi = {10.1109/TBME.2007.893506},
}

@article{kovatchev2009silico,
  author = {Kovatchev, Boris P. and Breton, Marc and Dalla Man, Chiara and Cobelli, Claudio},
  title = {In Silico Preclinical Trials: A Proof of Concept in Closed-Loop Control of Type 1 Diabetes},
  year = {2009},
  journal = {Journal of Diabetes Science and Technology},
  volume = {3},
  pages = {44--55},
  doi = {10.1177/193229680900300106},
}

@article{breton2008analysis,
  author = {Breton, Marc and Kovatchev, Boris},
  title = {Analysis, Modeling, and Simulation of the Accuracy of Continuous Glucose Sensors},
  year = {2008},
  journal = {Journal of Diabetes Science and Technology},
  volume = {2},
  pages = {853--862},
  doi = {10.1177/193229680800200517},
}

@misc{choudhary2024icusepsis,
  author = {Choudhary, Kartik and Gupta, Dhawal and Thomas, Philip S.},
  title = {{ICU-Sepsis}: A Benchmark {MDP} Built from Real Medical Data},
  year = {2024},
  eprint = {2406.05646},
  archivePrefix = {arXiv},
}

@misc{laroche2019safe,
  author = {Laroche, Romain and Trichelair, Paul and Tachet des Combes, R{\'e}mi},
  title = {Safe Policy Improvement with Baseline Bootstrapping},
  year = {2019},
  eprint = {1712.06924},
  archivePrefix = {arXiv},
}

@software{xie2018simglucose,
  author = {Xie, Jinyu},
  title = {Simglucose},
  year = {2018},
  license = {MIT},
  url = {https://github.com/jxx123/simglucose},
}

@article{lindstrom1990nonlinear,
  author = {Lindstrom, Mary J. and Bates, Douglas M.},
  title = {Nonlinear Mixed Effects Models for Repeated Measures Data},
  year = {1990},
  journal = {Biometrics},
  volume = {46},
  number = {3},
  pages = {673--687},
  doi = {10.2307/2532087},
}

@article{beal2001ways,
  author = {Beal, Stuart L.},
  title = {Ways to Fit a {PK} Model with Some Data Below the Quantification Limit},
  year = {2001},
  journal = {Journal of Pharmacokinetics and Pharmacodynamics},
  volume = {28},
  number = {5},
  pages = {481--504},
  doi = {10.1023/A:1012299115260},
}

@article{savic2009importance,
  author = {Savic, Radojka M. and Karlsson, Mats O.},
  title = {Importance of Shrinkage in Empirical {Bayes} Estimates for Diagnostics: Problems and Solutions},
  year = {2009},
  journal = {The AAPS Journal},
  volume = {11},
  number = {3},
  pages = {558--569},
  doi = {10.1208/s12248-009-9133-0},
}

@article{bergstrand2011prediction,
  author = {Bergstrand, Martin and Hooker, Andrew C. and Wallin, Johan E. and Karlsson, Mats O.},
  title = {Prediction-Corrected Visual Predictive Checks for Diagnosing Nonlinear Mixed-Effects Models},
  year = {2011},
  journal = {The AAPS Journal},
  volume = {13},
  number = {2},
  pages = {143--151},
  doi = {10.1208/s12248-011-9255-z},
}
"""
_ENTRIES = {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in _BIBTEX.strip().split("\n\n")}
_TOPICS = {
    "biowm": "biowm wang2026towards",
    "field": "wang2026towards noori2026world xing2026world qazi2025beyond saeed2026medical liu2026medical "
    "yu2026virtual bunne2024virtual",
    "conformal": "vovk2005algorithmic vovk2015cross",
    "crps": "gneiting2007strictly jordan2019evaluating ferro2014fair",
    "cem": "deboer2005tutorial",
    "tumour": "geng2017prediction",
    "glucose": "dallaman2007meal kovatchev2009silico breton2008analysis xie2018simglucose",
    "ias": "bruchovsky2006final",
    "mimic-demo": "vandewater2025mimic",
    "icu-sepsis": "choudhary2024icusepsis laroche2019safe",
    "population": "lindstrom1990nonlinear beal2001ways savic2009importance bergstrand2011prediction",
    "tumour-trials": "laleh2022classical",
}
_SOURCE = re.compile(r"\b(?:doi|arXiv):\s*(\S*\w)", re.IGNORECASE)


def _named(number: str) -> str:
    """The entry with this DOI or arXiv number; one that says nothing more, where the table has none."""
    for entry in _ENTRIES.values():
        if f"{{{number}}}" in entry:
            return entry
    field = f"doi = {{{number}}}" if "/" in number else f"eprint = {{{number}}},\n  archivePrefix = {{arXiv}}"
    return f"@misc{{{re.sub(r'[^0-9A-Za-z]+', '_', number)},\n  {field},\n}}"


def _sources(item: object) -> list[str]:
    """DOIs and arXiv numbers in the docstring of the thing itself or else of its module."""
    thing = item if inspect.isroutine(item) or inspect.isclass(item) or inspect.ismodule(item) else type(item)
    for place in (thing, inspect.getmodule(thing)):
        if found := _SOURCE.findall(inspect.getdoc(place) or ""):
            return list(dict.fromkeys(found))
    return []


def cite(item: object = "biowm") -> str:
    """BibTeX for a topic, or for a function, class, object or module whose docstring names its source.

    Args: `item`: a topic such as "crps" or "ias", or anything of BioWM; what names no source of its own is cited
    as BioWM with the paper that it builds on.
    Returns: BibTeX entries, separated by an empty line.
    Raises: KeyError for an unknown topic, with the topics there are.
    """
    if isinstance(item, str) and item not in _TOPICS:
        raise KeyError(f"nothing to cite under {item!r}; there are: {', '.join(_TOPICS)}")
    sources = [] if isinstance(item, str) else _sources(item)
    topic = item if isinstance(item, str) else "biowm"
    entries = [_named(number) for number in sources] or [_ENTRIES[key] for key in _TOPICS[topic].split()]
    return "\n\n".join(entries)
