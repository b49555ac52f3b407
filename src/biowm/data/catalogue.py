"""The data sets we know: where they lie, what they hash to, their licence, and how to get them."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from biowm.core.errors import BadInput

from .keys import closest
from .locate import data_roots, natural


@dataclass(frozen=True)
class KnownSet:
    """A public data set: `files` (a glob) under `folder` of a data folder, hashed together as `sha256`.

    `archive` is a zip of the source; `inside` is the part of it that is kept, as `folder`/`keep`. Without an archive
    `by_hand` says how the files are made.
    """

    name: str
    title: str
    folder: str
    files: str
    sha256: str
    licence: str
    cite: str
    archive: str = ""
    inside: str = ""
    keep: str = ""
    by_hand: str = ""


def _github(repository: str, commit: str) -> str:
    return f"https://codeload.github.com/{repository}/zip/{commit}"


SETS = (
    KnownSet(
        name="ias",
        title="Intermittent androgen suppression, 72 men (Bruchovsky et al.)",
        folder="patient/bruchovsky_ias",
        files="data/dataTanaka/Bruchovsky_et_al/*.txt",
        sha256="c4e087b3bed05e89ef56d9debcc596f035ab6864a770ca144f11a5b814766e6d",
        licence="CC0-1.0 (the redistributor's statement)",
        cite="doi:10.1002/cncr.21989",
        archive=_github("Michaelrising/PPOProstateCancer", "ab3d168ab70d671780c2967d366cc1e88ea564ac"),
        inside="data/dataTanaka",
        keep="data/dataTanaka",
    ),
    KnownSet(
        name="laleh",
        title="Lesion volumes of five cancer trials, 1,461 lesions (Ghaffari Laleh et al.)",
        folder="patient/laleh_tumor_volume",
        files="data/flat_patient_data.csv",
        sha256="697721d804782c8a53b3626bdc0ec9b7758c4cf3400611d55c296938c9a62141",
        licence="CC-BY-4.0 (paper), MIT (repository)",
        cite="doi:10.1371/journal.pcbi.1009822",
        archive=_github("ablaom/TumorGrowth.jl", "8ed9826ee8cd0a6c4513dcfe24fa90a55f637732"),
        inside="data",
        keep="data",
    ),
    KnownSet(
        name="physionet2012",
        title="Stays in intensive care, set A of the PhysioNet 2012 challenge, 3,996 stays as one long table",
        folder="patient/physionet2012",
        files="set_a_long.csv.gz",
        sha256="76d5b1e312152a23b1d21f984092d06b87d04678e4b25723f36acc6c6a533a81",
        licence="ODC-BY-1.0 (PhysioNet; not verified)",
        cite="doi:10.22489/CinC.2012.065",
        by_hand="unpack https://physionet.org/files/challenge-2012/1.0.0/set-a.zip and write all its files, each with "
        "its RecordID as the first column, as one table of RecordID, Time, Parameter, Value",
    ),
    KnownSet(
        name="mimic-demo",
        title="MIMIC-IV demo as MEDS events, 100 people in intensive care (van de Water et al.); biowm data ingest it",
        folder="patient/mimic_iv_demo_meds",
        files="data/mimic_iv_demo_meds_events.parquet",
        sha256="b75d03c69b58beb8e619525ea0051869f63c8340a3557d87ec0f04db33c13439",
        licence="ODbL-1.0",
        cite="doi:10.13026/t2y8-ea41",
        archive=_github("standardmodelbio/quickstart", "1210cff66be18aa7486b2a6fefae91141a34fa53"),
        inside="data",
        keep="data",
    ),
    KnownSet(
        name="cellbox",
        title="Melanoma cells under 89 drug conditions, 99 proteins and phenotypes (Korkut et al.)",
        folder="cell/cellbox_korkut2015",
        files="[enp]*.csv",
        sha256="7545fe93e556d6463a7f19a2618f8370b9d0f31887bee2ca5807be7ca9f2e24b",
        licence="MIT (repository)",
        cite="doi:10.7554/eLife.04640",
        archive=_github("sanderlab/CellBox", "6bed6b941dad7c668f2f0d0daeb99ada2189b85d"),
        inside="data",
        keep="",
    ),
    KnownSet(
        name="norman-gi",
        title="Growth of K562 cells with two genes switched on, 28,441 pairs of guides (Norman, Horlbeck et al.)",
        folder="cell/norman2019_gi_fitness",
        files="CRISPRa_K562_[rs]*.txt",
        sha256="910323cce0ee0d9dbda9798be829341fce717b72663619e3c9fe65141ebd524c",
        licence="LGPL-3.0 (repository)",
        cite="doi:10.1126/science.aax4438",
        archive=_github("thomasmaxwellnorman/Perturbseq_GI", "3b25109aeb9c0c2026bd70abd50304a0ad4e5395"),
        inside="final_emaps/filter0",
        keep="",
    ),
    KnownSet(
        name="perturbench",
        title="Single cells under gene perturbations, 5,961 cells x 500 genes (Norman, McFaline-Figueroa; PerturBench)",
        folder="cell/perturbench_devel",
        files="devel.h5ad",
        sha256="220998f5630c813228c8661c86dd52244b9ac87127511289af90e0d900d8429b",
        licence="BSD-3-Clause (repository)",
        cite="arXiv:2408.10609",
        archive=_github("altoslabs/perturbench", "d357dfae3b50968e800e9f5f273ff145080ae67c"),
        inside="src/perturbench/data/resources",
        keep="",
    ),
    KnownSet(
        name="hpn",
        title="Phosphoproteins of breast cancer lines, 3 inhibitors x 8 ligands, 240 min (HPN-DREAM, Hill et al.)",
        folder="cell/hpn_dream8",
        files="*_main.csv",
        sha256="a72206ccf0000f9fe2d386f293d6b1adfd5cf456c00286f2f7916d2efa0ba386",
        licence="none stated (a copy of Synapse syn1720047): cite the paper, do not redistribute",
        cite="doi:10.1038/nmeth.3773",
        archive=_github("szairis/DREAM8", "43478718499b1f52964db86fc054710f1774cad3"),
        inside="dat/experimental/CSV",
        keep="",
    ),
    KnownSet(
        name="parpi",
        title="Olaparib withdrawal schedules, 72 wells (Strobl et al.)",
        folder="tissue/parpi_schedules",
        files="intermittentTreatmentDf_cleaned.csv",
        sha256="d3ec6a6b58ff5542b7c4c2ca587feca6b8ecd2e53cd58a144f92ef72da577235",
        licence="none stated: cite the paper, do not redistribute",
        cite="doi:10.1016/j.cels.2024.04.003",
        archive=_github("MathOnco/PARPi_Model", "7a686dccf97e9a84dfbb634f72bc9174bd190400"),
        inside="data",
        keep="",
    ),
    KnownSet(
        name="parpi-mice",
        title="Thirty mice in five arms of olaparib, tumour volumes and daily doses for 107 days (Strobl et al.)",
        folder="tissue/parpi_schedules",
        files="mouseDataDf_oc3.csv",
        sha256="ccfdbd2a7a36e6645b7b07fa2e5d2199d14e4c6427eba581a16309132f05e772",
        licence="none stated: cite the paper, do not redistribute",
        cite="doi:10.1016/j.cels.2024.04.003",
        archive=_github("MathOnco/PARPi_Model", "7a686dccf97e9a84dfbb634f72bc9174bd190400"),
        inside="data",
        keep="",
    ),
    KnownSet(
        name="organoid",
        title="Pancreatic cancer organoids under gemcitabine, 1,963 tracks of area and death signal (Matthews et al.)",
        folder="tissue/organoid_gemcitabine",
        files="OrganoidMeasurements.csv",
        sha256="8db529daff334d28e40b24354f316bab1ab0e5d611f96c49ef70d9779ea55c21",
        licence="none stated: cite the paper (CC BY), do not redistribute",
        cite="doi:10.1371/journal.pcbi.1010584",
        archive=_github("jono-m/OrganoID", "deb7aeaac08107d3d462c936cd8d085228108d37"),
        inside="Publication/Figure3",
        keep="",
    ),
    KnownSet(
        name="oxygen",
        title="Melanoma spheroids under switched oxygen, 511 of three lines, each read once (Murphy et al.)",
        folder="tissue/murphy_oxygen",
        files="ExpOA_*.xlsx",
        sha256="56167e27aa35cb83a8b3dd433f78ca88698ee59aea81b4b87bef76aadd385c72",
        licence="none stated: cite the paper (CC BY), do not redistribute",
        cite="doi:10.1371/journal.pcbi.1010833",
        archive=_github("ryanmurphy42/Murphy2022SpheroidOxygenAdaptation", "4ccd486c7f7a4071047ee5f82d96b66a1d59f9c4"),
        inside="1Data",
        keep="",
    ),
    KnownSet(
        name="glioma",
        title="Two glioma lines under fractionated radiotherapy, 638 wells (Liu et al.)",
        folder="tissue/glioma_rt",
        files="raw_data_fractionated.xlsx",
        sha256="377605ef6ed76c7df13fb8c421dfc0dbfd6df50d6fe5532e1596311a8038a801",
        licence="none stated: cite the paper, do not redistribute",
        cite="doi:10.3389/fonc.2022.811415",
        archive=_github("JunyanReplica/gliomaRadiationModel", "da9387f185a156d86940046c68b000d3d265b153"),
        inside="data",
        keep="",
    ),
)


def known(name: str) -> KnownSet:
    """The set called `name`. Raises BadInput listing the names there are."""
    for item in SETS:
        if item.name == name:
            return item
    raise BadInput(f"no data set {name!r}{closest(name, [item.name for item in SETS])}")


def checksum(item: KnownSet, folder: Path) -> str | None:
    """sha256 over the contents of the set's files in natural order of their names; None where there are none."""
    files = sorted(folder.glob(item.files), key=lambda p: natural(p.name))
    running = hashlib.sha256()
    for file in files:
        running.update(file.read_bytes())
    return running.hexdigest() if files else None


def find(name: str, data: Path | str | None = None) -> Path:
    """The folder of a known set, looked up in `data`, $BIOWM_DATA and the user cache.

    Raises BadInput with the command that gets it, or where the files are not the ones we know.
    """
    item = known(name)
    for root in data_roots(data):
        folder = root / item.folder
        found = checksum(item, folder)
        if found == item.sha256:
            return folder
        if found is not None:
            raise BadInput(f"{folder / item.files}: found contents {found[:12]}, expected {item.sha256[:12]} ({name})")
    searched = ", ".join(str(root) for root in data_roots(data))
    raise BadInput(
        f"data set {name!r} is not in {searched}; `biowm data get {name}` fetches it, "
        "or point --data or BIOWM_DATA at the folder that holds it"
    )


def get(name: str, data: Path | str | None = None) -> Path:
    """Fetch a known set into the first data root and return its folder; what is there already is kept.

    Raises BadInput where the archive cannot be fetched or holds other files than we know.
    """
    item = known(name)
    root = data_roots(data)[0]
    folder = root / item.folder
    if checksum(item, folder) == item.sha256:
        return folder
    if not item.archive:
        raise BadInput(f"data set {name!r} has no archive that holds it as it is used: {item.by_hand} in {folder}")
    try:
        with urllib.request.urlopen(item.archive, timeout=60) as reply:
            archive = zipfile.ZipFile(io.BytesIO(reply.read()))
    except (urllib.error.URLError, OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"{item.archive}: found {error}, expected a zip of data set {name!r}") from None
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        staged = Path(scratch)
        _unpack(archive, item, staged)
        if checksum(item, staged) != item.sha256:
            raise BadInput(f"{item.archive}: the files are not the ones we know (sha256); nothing was kept")
        shutil.copytree(staged, folder, dirs_exist_ok=True)
    return folder


def _unpack(archive: zipfile.ZipFile, item: KnownSet, to: Path) -> None:
    """Write the wanted part of a zip, whose files all lie in one top folder; names that lead outside are refused."""
    for member in archive.infolist():
        within = Path(*Path(member.filename).parts[1:])
        if member.is_dir() or not within.is_relative_to(item.inside):
            continue
        file = to / item.keep / within.relative_to(item.inside)
        if not file.resolve().is_relative_to(to.resolve()):
            raise BadInput(f"{item.archive}: found the name {member.filename!r}, expected names inside the archive")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(archive.read(member))
