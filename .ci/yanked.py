"""Name the entries of lock files that the index has withdrawn: ``python .ci/yanked.py LOCK ...``.

It needs the network, so it runs in the workflow `audit` and not in `.ci/run`. ``PYPI`` may name
another index with the same JSON interface.
"""

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

index = os.environ.get("PYPI", "https://pypi.org")
entries = sorted(
    {
        entry
        for lock in sys.argv[1:]
        for entry in re.findall(r"^([\w.-]+)==(\S+)", Path(lock).read_text("utf-8"), re.MULTILINE)
    }
)


def withdrawn(entry: tuple[str, str]) -> str | None:
    name, version = entry
    with urlopen(f"{index}/pypi/{name}/{version}/json", timeout=60) as answer:
        facts = json.load(answer)["info"]
    if not facts["yanked"]:
        return None
    reason = facts["yanked_reason"] or "no reason given"
    return f"{name} {version}: withdrawn ({reason}); `make lock` chooses another"


with ThreadPoolExecutor(4) as pool:
    found = [line for line in pool.map(withdrawn, entries) if line]
print(*found, f"{len(found)} of {len(entries)} entries are withdrawn", sep="\n")
sys.exit(bool(found))
