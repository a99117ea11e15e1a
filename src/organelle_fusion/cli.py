"""The command line, ``organelle-fusion``: init, check, reproduce, pack, predict and others."""

import logging
import os
import sys
import textwrap
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from organelle_fusion import __version__, completion, run_log
from organelle_fusion.config import Profile, UserError, load_profile, system_error, use_backend
from organelle_fusion.yaml_settings import is_yaml_file

if TYPE_CHECKING:
    import pandas as pd

_LOGGER = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class _Commands(typer.core.TyperGroup):
    """Commands that leave Ctrl-C to `main`, where typer would print a word of its own."""

    def invoke(self, ctx: typer.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _InterruptError from None


class _InterruptError(Exception):
    pass


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Organelle-based classification of cancer cells by data fusion, from stacks to a book.",
    epilog="Each command has a --help of its own. It ends with 0, with 1 and a line that says what "
    "to mend, with 2 where the call itself is wrong, or with 130 after Ctrl-C.",
)

BOOK, STACKS, NETWORK, DATA = "The book", "Your own stacks", "A trained network", "Data"


ProfileOption = Annotated[
    str,
    typer.Option(
        "--profile",
        help="Name of a profile, or the path of a YAML file.",
        autocompletion=completion.profiles,
    ),
]


def _um(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        expected = f"--pixel-size-um: expected a number, found {text!r}"
        raise UserError(f"{expected}; write a length in µm such as 0.1") from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"organelle-fusion {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show errors and the result alone.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also what is read, decided, timed.")
    ] = False,
) -> None:
    if quiet and verbose:
        raise UserError("--quiet, --verbose: expected one of them, found both; leave one out")
    context.with_resource(run_log.on_terminal(quiet=quiet, verbose=verbose))
    context.obj = {"quiet": quiet}


@app.command(rich_help_panel=BOOK)
def reproduce(
    profile: ProfileOption = "quick",
    manifest: Annotated[
        str, typer.Option(help="CSV that lists your own stacks; without it the phantom is used.")
    ] = "",
    chapter: Annotated[
        str,
        typer.Option(
            help="Number of one chapter to execute again, such as 06.",
            autocompletion=completion.chapters,
        ),
    ] = "",
    scheduler: Annotated[
        str,
        typer.Option(help="Address of a running Dask scheduler to compute on: tcp://host:8786."),
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would be trained, and what it would take."),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(help="Time for this call, of a profile that runs in steps: reference."),
    ] = None,
) -> None:
    """Execute the chapters and build the book.

    Chapters that nothing has changed for are left alone. With the profile reference, do the next
    steps of the reference run. A log of each run is kept in data/runs/PROFILE/logs.
    """
    settings = load_profile(profile)
    if settings.reference is not None:
        if manifest or chapter or scheduler:
            raise UserError(
                f"profile {settings.name}: expected no --manifest, --chapter or --scheduler, since "
                "it runs steps of its own; leave them out"
            )
        typer.echo(_reference(settings, dry_run, minutes))
        return
    if minutes is not None:
        raise UserError(
            f"--minutes: expected a profile with steps, such as reference, found {settings.name}; "
            "leave it out"
        )
    from organelle_fusion import book
    from organelle_fusion.manifest import named_path, read_manifest, validate_manifest

    if scheduler:
        from organelle_fusion.cluster import SCHEDULER_VARIABLE

        os.environ[SCHEDULER_VARIABLE] = scheduler
    stacks = None
    if dry_run and chapter:
        raise UserError("--dry-run: expected no --chapter, since it plans all; leave out one")
    if is_yaml_file(profile):
        profile = str(Path(profile).resolve())  # the chapters run in the repository's folder
    if manifest:
        path = named_path(manifest)
        sizes = {"channels": settings.channels, "n_splits": settings.folds.n_splits}
        stacks = validate_manifest(read_manifest(path), **sizes, source=path)
        manifest = str(path)
    if dry_run:
        typer.echo(_plan(settings, manifest, stacks))
        return
    with _run_file(settings, "reproduce"):
        made = book.reproduce(settings, profile, manifest, chapter)
    typer.echo(made)


def _reference(settings: Profile, dry_run: bool, minutes: float | None) -> str:
    from organelle_fusion.repository import project_root

    root = project_root()
    use_backend(settings)
    if dry_run:
        from organelle_fusion import reference_plan

        return reference_plan.dry_run(settings, root)
    from organelle_fusion import reference

    with _run_file(settings, "reproduce"), run_log.prints_are_progress():
        done = reference.run_steps(settings, root, minutes=minutes)
    return f"{done}\nNo page is built: `make book` shows these results beside those of its profile."


def _run_file(settings: Profile, command: str) -> AbstractContextManager[None]:
    from organelle_fusion.repository import RUNS, project_root

    return run_log.run_file(project_root() / RUNS / settings.name / "logs", command)


def _plan(settings: Profile, manifest: str, stacks: "pd.DataFrame | None") -> str:
    from organelle_fusion import chatter, dry_run, plan_data
    from organelle_fusion.pages import open_run

    run = open_run(settings, manifest)
    if stacks is None:
        stacks = plan_data.phantom_stacks(settings.phantom, settings.channels)
    use_backend(settings)
    chatter.import_keras()
    return dry_run.dry_run(settings, stacks, run)


@app.command(rich_help_panel=BOOK)
def pdf() -> None:
    """Print the built book as one PDF, by a Chromium of this machine, and offer it on the pages."""
    from organelle_fusion.pdf import make_pdf
    from organelle_fusion.repository import project_root

    typer.echo(f"The book: {make_pdf(project_root())}")


@app.command(rich_help_panel=STACKS)
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images, as label/group/image.")],
    output: Annotated[Path, typer.Option(help="The manifest to write.")] = Path("manifest.csv"),
) -> None:
    """List the images of a folder in a table to fill in.

    The table, a manifest, has a row per image; what is printed says what has to be filled in.
    """
    from organelle_fusion.check_report import template_text, text_width
    from organelle_fusion.manifest_template import write_template

    typer.echo(template_text(write_template(folder, output), output, text_width()))


@app.command(rich_help_panel=STACKS)
def check(
    context: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="CSV that lists your own stacks.")],
    profile: ProfileOption = "quick",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document in place of text.")
    ] = False,
) -> None:
    """Find what is wrong with the images of a table.

    Every voxel of every image is looked at. The exit code is 1 if there are errors.
    """
    from organelle_fusion import check_report
    from organelle_fusion.checking import check_data_set

    settings = load_profile(profile)
    report = check_data_set(manifest, settings, progress=True)
    if as_json:
        typer.echo(check_report.as_json(report))
    elif context.obj["quiet"]:
        typer.echo(check_report.errors_text(report, check_report.text_width()))
    else:
        typer.echo(check_report.as_text(report, settings.channels, check_report.text_width()))
    raise typer.Exit(1 if report.errors else 0)


@app.command(rich_help_panel=NETWORK)
def pack(
    file: Annotated[Path, typer.Argument(help="File to write, such as network.keras.")],
    profile: ProfileOption = "quick",
    manifest: Annotated[
        str, typer.Option(help="CSV of your own stacks that the chapters were run with.")
    ] = "",
    model: Annotated[
        str, typer.Option(help="early, intermediate, spatial, or the name of one channel.")
    ] = "intermediate",
    fold: Annotated[int, typer.Option(help="Number of the fold whose network it is.")] = 0,
) -> None:
    """Put a trained network into one file."""
    from organelle_fusion import packing
    from organelle_fusion.check_report import text_width
    from organelle_fusion.manifest import named_path
    from organelle_fusion.pages import open_run

    settings = load_profile(profile)
    if manifest and not Path(manifest).is_file():
        raise UserError(f"{manifest}: expected a manifest, found no such file; check the path")
    run = open_run(settings, str(named_path(manifest)) if manifest else "")
    facts = packing.pack(file, settings, run, model=model, fold=fold)
    for line in packing.pack_lines(file, facts, model):
        typer.echo(textwrap.fill(line, text_width(), break_on_hyphens=False))


@app.command(rich_help_panel=NETWORK)
def predict(
    model: Annotated[Path, typer.Argument(help="File of a network, which `pack` wrote.")],
    images: Annotated[
        list[Path], typer.Argument(help="Stacks, or a manifest (.csv) that lists some.")
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the results: new, empty, or to go on in.")
    ] = Path("predictions"),
    channel_map: Annotated[
        str, typer.Option(help="Which channel is which, such as 'mitochondria=Tom20;…'.")
    ] = "",
    pixel_size_um: Annotated[
        float | None,
        typer.Option(
            parser=_um,
            metavar="<float>",
            help="Edge of a pixel, µm, where the files do not say it.",
        ),
    ] = None,
    maps: Annotated[bool, typer.Option(help="Make maps and reports, or the tables only.")] = True,
) -> None:
    """Predict the class of other images.

    A table, maps and a report are written for each image, and a log for all. The exit code is 1 if
    an image fails.
    """
    from organelle_fusion import listing, model_file, predicted_files, predicting
    from organelle_fusion.manifest_cells import read_channel_map

    rows = listing.list_images(
        images, channel_map=read_channel_map(channel_map), pixel_size_um=pixel_size_um
    )
    facts = model_file.read_facts(model)
    os.environ.setdefault("KERAS_BACKEND", facts.backend)
    network, facts = model_file.read_model(model)
    if facts.is_phantom:
        _LOGGER.warning("the network was trained on a phantom: no class is of a cell")
    failed = 0
    found = predicting.predict_images(network, facts, rows, output, model=model, maps=maps)
    for row in run_log.kept(found, output, "predict"):
        for text in filter(None, row["warnings"].split("; ")):
            _LOGGER.warning("%s: %s", row["image"], text)
        if row["error"]:
            failed += 1
            _LOGGER.error("%s: %s", row["image"], row["error"])
        else:
            _LOGGER.info(
                f"{row['image']}: {row['label']}, probability {row['p:' + row['label']]:.2f} "
                f"({row['patches']} patch{'es' * (row['patches'] != 1)}, "
                f"{row['share_kept']:.0%} kept)"
            )
    typer.echo(f"Results: {output / predicted_files.TABLE}")
    if failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=DATA)
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder for stacks, labels and manifest.csv.")],
    profile: ProfileOption = "quick",
    variant: Annotated[str, typer.Option(help="full, null, only-<organelle> or contact.")] = "full",
) -> None:
    """Write a phantom: stacks, what was planted, a table."""
    from organelle_fusion.phantom import simulate_dataset

    settings = load_profile(profile)
    if settings.phantom is None:
        raise UserError(
            f"profile {settings.name}: expected a section phantom to simulate from, found none; "
            "choose another profile, such as quick"
        )
    with run_log.prints_are_progress():
        path = simulate_dataset(folder, settings.phantom, variant=variant)
    typer.echo(f"The manifest: {path}")


@app.command(rich_help_panel=DATA)
def fetch(
    name: Annotated[
        str, typer.Argument(help="Public data set: cell-lines-9, mcf10a-mcf7 or otccp-eea1.")
    ],
) -> None:
    """Download a public data set, or find it, and verify it.

    It is looked for in the folder that ORGANELLE_FUSION_DATA names and in data/sources, and only
    then downloaded; a log of a download is kept in data/sources/logs.
    """
    from organelle_fusion import sources
    from organelle_fusion.repository import downloads_folder

    with run_log.run_file(downloads_folder() / "logs", "fetch"):
        place = sources.fetch(name)
    typer.echo(f"{name}: verified in {place}")


def main() -> None:
    """Entry point: an error the user can mend is one line and exit code 1, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Names and signs that the terminal's encoding lacks are written as their number.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_, **__: _LOGGER.warning("%s", message)
    try:
        app()
    except (KeyboardInterrupt, _InterruptError):
        # Of tasks that were given up, it would tell when this process ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        typer.echo("interrupted: results that were finished are kept", err=True)
        sys.exit(INTERRUPTED)
    except UserError as error:
        _end(str(error), error)
    except OSError as error:
        _end(system_error(error), error)


def _end(message: str, error: Exception) -> NoReturn:
    """Say what is wrong, and where the log is, if there is one."""
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    typer.echo(run_log.labelled("error", message + notes, sys.stderr), err=True)
    sys.exit(1)
