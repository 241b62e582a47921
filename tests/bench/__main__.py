"""Runs benchmarks by name: `python -m tests.bench pipeline large`, or all of them without a name; options go to each of them."""

import subprocess
import sys
from pathlib import Path

PREFIX = "bench_"


def main() -> int:
    """Runs each benchmark in a process of its own and returns how many failed."""
    known = sorted(path.stem.removeprefix(PREFIX) for path in Path(__file__).parent.glob(f"{PREFIX}*.py"))
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)  # noqa: T201
        return 2
    failed = 0
    for name in names or known:
        command = [sys.executable, "-m", f"tests.bench.{PREFIX}{name}", *options]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
