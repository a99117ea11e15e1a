"""What the shell completes options to; light, since each Tab asks anew."""

from pathlib import Path

from organelle_fusion.config import profile_names


def profiles(incomplete: str) -> list[str]:
    """For ``--profile``: names that begin so; if none does, the YAML files that lie here."""
    names = [name for name in profile_names() if name.startswith(incomplete)]
    return names or [path.name for path in sorted(Path().glob("*.y*ml"))]


def chapters() -> list[tuple[str, str]]:
    """For ``--chapter``: numbers and names, in the repository that this folder is part of."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if found := sorted(folder.glob("notebooks/[0-9][0-9]_*.py")):
            return [(path.stem[:2], path.stem[3:].replace("_", " ")) for path in found]
    return []
