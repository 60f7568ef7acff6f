"""setup/advisories.py: locked packages and a copy of the advisory database; the locks' hashes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = [
    ROOT / "requirements.lock", *sorted((ROOT / "setup").glob("*.lock")),
    *sorted((ROOT / "containers").glob("**/*.lock")),
]  # fmt: skip
# As the database of PyPA has them: listed versions; a range that ends; one that does not; one that
# ends with the last version; two faults at different times; one that was withdrawn; another's.
ADVISORIES = {
    "pillow/PYSEC-1.yaml": """
id: PYSEC-1
aliases: [CVE-2022-1, GHSA-1]
modified: "2024-01-01T00:00:00Z"
affected:
- package: {ecosystem: PyPI, name: Pillow}
  ranges:
  - {type: GIT, repo: a, events: [{introduced: "0"}]}
  - {type: ECOSYSTEM, events: [{introduced: "0"}, {fixed: 9.0.1}]}
  versions: ["1.0", 9.0.0]
""",
    "pillow/PYSEC-2.yaml": """
id: PYSEC-2
modified: 2024-10-10T17:35:05Z
affected:
- package: {ecosystem: PyPI, name: pillow}
  ranges:
  - type: ECOSYSTEM
    events: [{introduced: 10.0.0}, {fixed: 10.2.0}, {introduced: "2.0"}, {fixed: "3.0"}]
""",
    "jupyter-core/PYSEC-3.yaml": """
id: PYSEC-3
modified: 2023-10-10T17:35:05Z
affected:
- package: {ecosystem: PyPI, name: Jupyter_Core}
  ranges:
  - {type: ECOSYSTEM, events: [{introduced: "5.0"}, {last_affected: "5.2"}]}
""",
    "six/PYSEC-4.yaml": """
id: PYSEC-4
modified: 2023-10-10T17:35:05Z
withdrawn: 2023-11-10T17:35:05Z
affected:
- package: {ecosystem: PyPI, name: six}
  ranges:
  - {type: ECOSYSTEM, events: [{introduced: "0"}]}
""",
    "attrs/PYSEC-5.yaml": """
id: PYSEC-5
modified: 2023-10-10T17:35:05Z
affected:
- package: {ecosystem: PyPI, name: attrs}
  ranges:
  - {type: ECOSYSTEM, events: [{introduced: "0"}]}
""",
}


def audit(tmp_path: Path, *pins: str) -> subprocess.CompletedProcess:
    for name, text in ADVISORIES.items():
        path = tmp_path / "vulns" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lock = tmp_path / "a.lock"
    lock.write_text("".join(f"{pin} \\\n    --hash=sha256:00\n" for pin in pins))
    words = [sys.executable, ROOT / "setup/advisories.py", tmp_path, lock]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("pin", "ids"),
    [
        ("pillow==9.0.0", ["PYSEC-1"]),
        ("pillow==2.5", ["PYSEC-1", "PYSEC-2"]),
        ("pillow==3.0", ["PYSEC-1"]),
        ("pillow==9.0.1", []),
        ("pillow==9.5.0", []),
        ("pillow==10.0.0 ; python_version > '3.11'", ["PYSEC-2"]),
        ("pillow==10.2.0", []),
        ("jupyter_core==4.9", []),
        ("jupyter_core==5.2", ["PYSEC-3"]),
        ("jupyter-core==5.2.1", []),
        ("six==1.17.0", []),
        ("attrs==26.1.0", ["PYSEC-5"]),
    ],
)
def test_a_version_is_told_by_its_advisories(tmp_path, pin, ids):
    done = audit(tmp_path, "numpy==2.4.6", pin)
    assert re.findall(r"PYSEC-\d", done.stdout) == ids
    assert done.returncode == bool(ids), done.stderr
    assert f"audit: 2 pins, 5 advisories, {len(ids)} of these pins' versions" in done.stdout


def test_what_a_line_says(tmp_path):
    told = audit(tmp_path, "pillow==9.0.0", "attrs==26.1.0").stdout
    assert "pillow 9.0.0: PYSEC-1 CVE-2022-1 GHSA-1; fixed: 9.0.1\n" in told
    assert "attrs 26.1.0: PYSEC-5; fixed: in no version\n" in told
    assert "the newest advisory is of 2024-10-10" in told


def test_a_folder_without_advisories_is_no_pass(tmp_path):
    words = [sys.executable, ROOT / "setup/advisories.py", tmp_path, ROOT / "requirements.lock"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "holds no vulns/PACKAGE/ID.yaml" in done.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_every_pin_has_hashes(lock):
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9][\w.-]*==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) >= 1
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry.splitlines()[0]


def test_make_audit_reads_every_lock():
    """Those of the images are parts of the project's, but for the Census's."""
    line = re.search(r"^AUDITED = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    named = {path for pattern in line.split() for path in ROOT.glob(pattern)}
    assert {ROOT / "containers/census/requirements.lock"} < named
    of_images = set((ROOT / "containers").glob("*/requirements.lock"))
    assert set(LOCKS) - of_images <= named
