"""``python -m organelle_fusion``: the command line where the package is not installed."""

from organelle_fusion.cli import main

if __name__ == "__main__":  # not in the processes that it starts
    main()
