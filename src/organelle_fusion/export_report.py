"""What the table of exported networks reads like on a page."""

import pandas as pd

from organelle_fusion.significance import interval_texts


def export_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format an `export.export_table` for a page.

    Returns
    -------
    DataFrame
        Network, Format, Balanced accuracy (with its interval), Largest deviation, Other class (per
        cent), Size in kB, and latencies in ms.
    """
    return pd.DataFrame(
        {
            "Network": table["network"],
            "Format": table["format"],
            "Balanced accuracy": interval_texts(table, ""),
            "Largest deviation": [f"{value:.1g}" for value in table["deviation"]],
            "Other class": [f"{share:.1%}" for share in table["changed"]],
            "Size, kB": table["size_kb"].round(1),
            "One patch, ms": table["latency_1"].round(3),
            "In batches of 32, ms": table["latency_32"].round(3),
        }
    )


def size_sentence(table: pd.DataFrame) -> str:
    """Say how large the student and the teacher of an `export.export_table` are as ``int8``."""
    size_kb = table[table["format"] == "int8"].set_index("network")["size_kb"]
    return (
        f"Exported with 8-bit integers, the student is a file of {size_kb['student']:.0f} kB and "
        f"the teacher one of {size_kb['teacher']:.0f} kB."
    )
