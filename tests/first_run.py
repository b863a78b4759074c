"""What a user with an endpoint alone does first: the commands of README, in an environment and a folder of their own::

    python tests/first_run.py [--keep FOLDER]

Builds a wheel, installs it without extras into a fresh environment outside the checkout, and runs the commands under
"With an endpoint alone" as they are printed, against a server of known answers. Prints what the installation weighs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADING = "## With an endpoint alone"
UNWANTED = ("torch", "transformers", "vllm")


def main() -> int:
    """Install, run, report; 1 if a command fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    keep = parser.parse_args().keep
    if keep is not None:
        keep.mkdir(parents=True)
        return follow(keep.resolve())
    with tempfile.TemporaryDirectory() as folder:
        return follow(Path(folder).resolve())


def follow(folder: Path) -> int:
    """Run README's commands in a folder."""
    wheels, environment, work = (folder / name for name in ("dist", "venv", "work"))
    work.mkdir()
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ROOT], folder)
    run([sys.executable, "-m", "venv", environment], folder)
    [wheel] = wheels.glob("*.whl")
    run([environment / "bin" / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel], folder)
    size = sum(file.lstat().st_size for file in environment.rglob("*") if not file.is_dir())
    print(f"installed: {size / 1e6:.0f} MB")
    found = [name for name in UNWANTED if list(environment.glob(f"lib/*/site-packages/{name}"))]
    if found:
        print(f"an endpoint needs none of {', '.join(found)}")
        return 1
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.scripted_server", "--script", '{"model": null}'],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        for command in commands():
            shown = command.replace("HOST:PORT", f"127.0.0.1:{port}")
            print(f"\n$ {shown}", flush=True)
            run(["bash", "-e", "-c", shown], work, PATH=f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}")
    except subprocess.CalledProcessError as error:
        print(f"exit code {error.returncode}: {error.cmd}")
        return 1
    finally:
        server.terminate()
        server.wait()
    return 0


def commands() -> list[str]:
    """The lines of the first code block below the heading."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n(.*?)```", text[text.index(HEADING) :], re.DOTALL)
    assert block is not None, f"README.md has no commands under {HEADING!r}"
    lines = [re.sub(r"\s{2,}#.*", "", line) for line in block[1].splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def run(command: list[object], folder: Path, **environment: str) -> None:
    """Run a command without what this process has in its environment of Python's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    subprocess.run(list(map(str, command)), check=True, cwd=folder, env=own | environment)


if __name__ == "__main__":
    raise SystemExit(main())
