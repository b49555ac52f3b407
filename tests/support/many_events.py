"""A MEDS folder of as many events as one likes, and what reading it as a study costs.

    python -m tests.support.many_events FOLDER EVENTS

writes the folder (one batch in memory at a time), reads it in a fresh process and prints what that took.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .meds_folder import TYPES, write

CODES = 500
_SUBJECTS = 250  # in one batch
_EACH = 1000  # events of a subject
_SHARD = 10_000_000
STUDY = {
    "subject": "subject_id",
    "time": {"column": "time", "unit": "h"},
    "channels": {f"c{k}": {"unit": "1", "code": f"LAB//{k:03d}"} for k in range(5)},
    "actions": {"drug": {"unit": "mg", "kind": "bolus", "code": "LAB//005"}},
}
_READ = """
import json, resource, sys, time
from biowm.data.study import load
start = time.perf_counter()
study = load(sys.argv[1], json.loads(sys.argv[2]))
print(json.dumps({
    "subjects": len(study.subjects),
    "rows": sum(len(p.t) for p in study.paths),
    "seconds": time.perf_counter() - start,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def write_many(root: Path, events: int, seed: int = 0) -> None:
    """A folder of `events` events, a thousand a subject; one in ten is of a channel or an action."""
    rng = np.random.default_rng(seed)
    names = pa.array([f"LAB//{k:03d}" for k in range(CODES)])
    weight = np.where(np.arange(CODES) < 6, 0.1 / 6, 0.9 / (CODES - 6))
    write(root, codes=names.to_pylist())
    (root / "data").mkdir()
    schema, batch, subject = pa.schema(list(TYPES.items())), _SUBJECTS * _EACH, 0
    for k, start in enumerate(range(0, events, _SHARD)):
        with pq.ParquetWriter(root / "data" / f"{k}.parquet", schema) as shard:
            for _ in range(min(_SHARD, events - start) // batch):
                ids = np.repeat(np.arange(subject, subject + _SUBJECTS), _EACH)
                minutes = np.cumsum(rng.integers(1, 30, (_SUBJECTS, _EACH)), axis=1).ravel()
                code = pa.array(rng.choice(CODES, batch, p=weight).astype(np.int32))
                columns = (
                    pa.array(ids),
                    pa.array(minutes * 60_000_000).cast(pa.timestamp("us")),
                    pa.DictionaryArray.from_arrays(code, names).cast(pa.string()),
                    pa.array(rng.random(batch, dtype=np.float32)),
                )
                shard.write_table(pa.table(columns, schema=schema))
                subject += _SUBJECTS


def read_many(root: Path) -> dict[str, float]:
    """Subjects, rows of paths, seconds and peak memory (MB) of reading the folder as a study in a fresh process."""
    command = [sys.executable, "-W", "error", "-c", _READ, str(root), json.dumps(STUDY)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_many(folder, int(float(sys.argv[2])))
    print(sum(f.stat().st_size for f in folder.rglob("*.parquet")) / 2**20, "MB on disk", flush=True)
    print(read_many(folder))
