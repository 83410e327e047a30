"""Looks up known vulnerabilities of requirements.lock with pip-audit. `make audit`.

pip-audit asks pypi.org. Where that cannot be reached, one line says so, and that is no failure.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

SERVICE = "https://pypi.org/pypi/pip/24.0/json"
UNREACHABLE = "The versions are not audited, because pip-audit or its service on pypi.org cannot be reached."
LOCK = Path(__file__).parents[1] / "requirements.lock"


def main() -> int:
    """The exit status: 1 if there are vulnerabilities."""
    try:
        urlopen(SERVICE, timeout=10).close()
    except OSError:
        print(UNREACHABLE)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder, "bin", "python"))
        audit = [python, "-m", "pip_audit", "-r", str(LOCK), "--no-deps", "--disable-pip", "--format", "json"]
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "pip-audit"]
        for step in ([sys.executable, "-m", "venv", folder], install, audit):
            done = subprocess.run(step, check=False, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    audited = [one for one in packages if "vulns" in one]
    if not audited:
        print(UNREACHABLE)
        return 0
    found = [(one, vulnerability) for one in audited for vulnerability in one["vulns"]]
    for one, vulnerability in found:
        mended = ", ".join(vulnerability["fix_versions"]) or "none yet"
        print(f"{one['name']} {one['version']}: {vulnerability['id']}, mended in {mended}")
    print(f"{len(found)} known vulnerabilities in {len(audited)} of {len(packages)} packages of requirements.lock")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
