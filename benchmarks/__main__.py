"""``python -m benchmarks``: measure everything, and write the tables of the page on speed."""

import sys

from benchmarks import ROOT, collecting
from organelle_fusion.config import UserError
from organelle_fusion.provenance import write_csv, write_json
from organelle_fusion.speed import FOLDER


def main() -> None:
    """Write all four files, when all has been measured: they belong together."""
    side_by_side = collecting.side_by_side()
    functions = collecting.functions()
    stages = collecting.stages()
    folder = ROOT / FOLDER
    write_csv(folder / "side-by-side.csv", side_by_side)
    write_csv(folder / "functions.csv", functions)
    write_csv(folder / "stages.csv", stages)
    write_json(folder / "machine.json", collecting.machine())
    print(f"Written to {FOLDER}/; `make chapter N=13` shows it")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"benchmarks: {error}")
