"""What importing scwhatif adds to importing scvi-tools.

    python benchmarks/import_time.py [--repeats 5]

CPU seconds of the import in a fresh process that has scvi-tools already, median over repeats: of the package, whose
namespaces load on first use, and of all its namespaces.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

TIMED = """
import time
import scvi
start = time.process_time()
import scwhatif
package = time.process_time() - start
for name in scwhatif.__all__:
    getattr(scwhatif, name)
print(package, time.process_time() - start)
"""


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    runs = [
        subprocess.run([sys.executable, "-c", TIMED], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(arguments.repeats)
    ]
    package, everything = (statistics.median(float(run[i]) for run in runs) for i in range(2))
    print("| import | CPU s over scvi-tools |")
    print("|---|---|")
    print(f"| scwhatif | {package:.3f} |")
    print(f"| scwhatif and all its namespaces | {everything:.3f} |")


if __name__ == "__main__":
    main()
