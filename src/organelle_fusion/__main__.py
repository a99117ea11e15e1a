"""``python -m organelle_fusion``: the command line where the package is not installed."""

from organelle_fusion.cli import main

main()
