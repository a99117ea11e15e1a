"""The command line: ``organelle-fusion reproduce``, ``simulate``, ``fetch``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from organelle_fusion import __version__
from organelle_fusion.config import UserError, load_profile

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Organelle-based classification of cancer cells by data fusion, from stacks to a book.",
)

ProfileOption = Annotated[
    str, typer.Option("--profile", help="Name of a profile, or the path of a YAML file.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"organelle-fusion {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def reproduce(
    profile: ProfileOption = "quick",
    manifest: Annotated[
        str, typer.Option(help="CSV that lists your own stacks; without it the phantom is used.")
    ] = "",
    chapter: Annotated[
        str, typer.Option(help="Number of one chapter to execute again, such as 06.")
    ] = "",
) -> None:
    """Execute the chapters in order and build the book."""
    from organelle_fusion import book
    from organelle_fusion.manifest import read_manifest, validate_manifest

    settings = load_profile(profile)
    if profile.endswith((".yaml", ".yml")):
        profile = str(Path(profile).resolve())  # the chapters run in the repository's folder
    if manifest:
        path = Path(manifest).resolve()
        images = read_manifest(path)
        validate_manifest(
            images, channels=settings.channels, n_splits=settings.folds.n_splits, source=path
        )
        manifest = str(path)
    index = book.reproduce(settings, profile, manifest, chapter)
    typer.echo(f"The book: {index}")


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder for stacks, labels and manifest.csv.")],
    profile: ProfileOption = "quick",
    variant: Annotated[str, typer.Option(help="full, null, only-<organelle> or contact.")] = "full",
) -> None:
    """Write a phantom data set: OME-TIFF stacks, ground truth, manifest."""
    from organelle_fusion.phantom import simulate_dataset

    path = simulate_dataset(folder, load_profile(profile).phantom, variant=variant)
    typer.echo(f"The manifest: {path}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a public data set, such as cell-lines-9.")],
) -> None:
    """Bring a public data set here and verify every image of it."""
    from organelle_fusion import sources

    typer.echo(f"{name}: verified in {sources.fetch(name)}")


def main() -> None:
    """Entry point: an error the user can mend is one line and exit code 1, no traceback."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        reason = f"{error.filename or 'the operating system'}: {error.strerror or error}"
        typer.echo(f"error: {reason}; check the path, its permissions and the free space", err=True)
        sys.exit(1)
