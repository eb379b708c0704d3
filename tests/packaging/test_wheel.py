"""The wheel: exactly the files that belong there, and it works in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = [
    "draftwood/__init__.py",
    "draftwood/__main__.py",
    "draftwood/_core.abi3.so",
    "draftwood/_core.pyi",
    "draftwood/cli/__init__.py",
    "draftwood/cli/prompts.json",
    "draftwood/engine.py",
    "draftwood/executors/hf.py",
    "draftwood/models/gguf.py",
    "draftwood/models/toy.py",
    "draftwood/py.typed",
]


@pytest.fixture(scope="module")
def wheel():
    wheels = list((ROOT / "dist").glob("draftwood-*.whl"))
    assert len(wheels) == 1, "make setup builds it"
    return wheels[0]


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = sorted(name for name in names if not name.split("/")[0].endswith(".dist-info"))
    sources = subprocess.run(
        ["git", "ls-files", "python/draftwood"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    expected = sorted([name.removeprefix("python/") for name in sources] + ["draftwood/_core.abi3.so"])
    assert package == expected
    assert set(NEEDED) <= set(package)
    information = {name.split("/", 1)[1] for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"} <= information
    assert "-cp311-abi3-" in wheel.name


def test_it_generates_in_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env" / "lib").glob("python3.*")) / "site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--target", str(site)]
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, "--only-binary", ":all:", "numpy"], check=True)
    program = (
        "import sys, draftwood as dw\n"
        "output = dw.testing.toy_engine().generate([1, 2, 3, 1, 2], dw.SamplingParams(max_new_tokens=8))\n"
        "assert len(output.token_ids) == 8\n"
        "assert 'torch' not in sys.modules and 'tokenizers' not in sys.modules\n"
        "print(dw.__version__)\n"
    )
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in wheel.name


@pytest.mark.long
def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    maturin = Path(sys.executable).with_name("maturin")
    subprocess.run([maturin, "sdist", "--out", tmp_path], cwd=ROOT, check=True)
    (source,) = tmp_path.glob("draftwood-*.tar.gz")
    with tarfile.open(source) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        archive.extractall(tmp_path / "src", filter="data")
    (folder,) = (tmp_path / "src").iterdir()
    assert (folder / "LICENSE").is_file()
    subprocess.run(
        [maturin, "build", "--release", "--quiet", "--interpreter", sys.executable, "--out", tmp_path / "dist"],
        cwd=folder,
        check=True,
    )
    (built,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as ours, zipfile.ZipFile(wheel) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
