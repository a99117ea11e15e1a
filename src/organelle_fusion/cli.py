"""The command line, ``organelle-fusion``: init, check, reproduce, pack, predict and others."""

import logging
import os
import sys
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from organelle_fusion import __version__
from organelle_fusion.config import (
    Profile,
    UserError,
    load_profile,
    system_error,
    use_backend,
)

if TYPE_CHECKING:
    import pandas as pd

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
    """Execute the chapters in order and build the book; or, with `reference`, the next steps."""
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
    from organelle_fusion.manifest import read_manifest, validate_manifest

    if scheduler:
        from organelle_fusion.cluster import SCHEDULER_VARIABLE

        os.environ[SCHEDULER_VARIABLE] = scheduler
    stacks = None
    if dry_run and chapter:
        raise UserError("--dry-run: expected no --chapter, since it plans all; leave out one")
    if profile.endswith((".yaml", ".yml")):
        profile = str(Path(profile).resolve())  # the chapters run in the repository's folder
    if manifest:
        path = Path(manifest).resolve()
        images = read_manifest(path)
        stacks = validate_manifest(
            images, channels=settings.channels, n_splits=settings.folds.n_splits, source=path
        )
        manifest = str(path)
    if dry_run:
        typer.echo(_plan(settings, manifest, stacks))
        return
    index = book.reproduce(settings, profile, manifest, chapter)
    typer.echo(f"The book: {index}")


def _reference(settings: Profile, dry_run: bool, minutes: float | None) -> str:
    from organelle_fusion.pages import project_root

    root = project_root()
    use_backend(settings)
    if dry_run:
        from organelle_fusion import reference_plan

        return reference_plan.dry_run(settings, root)
    from organelle_fusion import reference

    done = reference.run_steps(settings, root, minutes=minutes)
    return f"{done}\nNo page is built: `make book` shows these results beside those of its profile."


def _plan(settings: Profile, manifest: str, stacks: "pd.DataFrame | None") -> str:
    from organelle_fusion import dry_run, plan_data
    from organelle_fusion.pages import open_run

    run = open_run(settings, manifest)
    if stacks is None:
        stacks = plan_data.phantom_stacks(settings.phantom, settings.channels)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as in `book.execute_chapters`
    use_backend(settings)
    return dry_run.dry_run(settings, stacks, run)


@app.command()
def pdf() -> None:
    """Print the built book as one PDF, by a Chromium of this machine, and offer it on the pages."""
    from organelle_fusion.pages import project_root
    from organelle_fusion.pdf import make_pdf

    typer.echo(f"The book: {make_pdf(project_root())}")


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder for stacks, labels and manifest.csv.")],
    profile: ProfileOption = "quick",
    variant: Annotated[str, typer.Option(help="full, null, only-<organelle> or contact.")] = "full",
) -> None:
    """Write a phantom data set: OME-TIFF stacks, ground truth, manifest."""
    from organelle_fusion.phantom import simulate_dataset

    settings = load_profile(profile)
    if settings.phantom is None:
        raise UserError(
            f"profile {settings.name}: expected a section phantom to simulate from, found none; "
            "choose another profile, such as quick"
        )
    path = simulate_dataset(folder, settings.phantom, variant=variant)
    typer.echo(f"The manifest: {path}")


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="Public data set: cell-lines-9, mcf10a-mcf7 or otccp-eea1.")
    ],
) -> None:
    """Bring a public data set here, or find it here, and verify the whole of it."""
    from organelle_fusion import sources

    typer.echo(f"{name}: verified in {sources.fetch(name)}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images, as label/group/image.")],
    output: Annotated[Path, typer.Option(help="The manifest to write.")] = Path("manifest.csv"),
) -> None:
    """Write a manifest of the images in a folder, and say what has to be filled in."""
    from organelle_fusion.check_report import template_text, text_width
    from organelle_fusion.manifest_template import write_template

    typer.echo(template_text(write_template(folder, output), output, text_width()))


@app.command()
def check(
    manifest: Annotated[Path, typer.Argument(help="CSV that lists your own stacks.")],
    profile: ProfileOption = "quick",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document in place of text.")
    ] = False,
) -> None:
    """Look at every image of a manifest and list all that is wrong; exit code 1 if errors are."""
    from organelle_fusion import check_report
    from organelle_fusion.checking import check_data_set

    settings = load_profile(profile)
    report = check_data_set(manifest, settings, progress=True)
    if as_json:
        typer.echo(check_report.as_json(report))
    else:
        typer.echo(check_report.as_text(report, settings.channels, check_report.text_width()))
    raise typer.Exit(1 if report.errors else 0)


@app.command()
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
    """Write a trained network of chapter 6 to one file, for `predict`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as in `book.execute_chapters`
    from organelle_fusion import packing
    from organelle_fusion.check_report import text_width
    from organelle_fusion.model_file import score_sentence
    from organelle_fusion.pages import open_run

    settings = load_profile(profile)
    if manifest and not Path(manifest).is_file():
        raise UserError(f"{manifest}: expected a manifest, found no such file; check the path")
    run = open_run(settings, str(Path(manifest).resolve()) if manifest else "")
    facts = packing.pack(file, settings, run, model=model, fold=fold)
    lines = (
        f"{file}: model {model}, the network of fold {fold} of {facts.n_folds} "
        f"(profile {facts.profile}, {facts.data}).",
        f"On images that it has not seen: {score_sentence(facts.score)}.",
        f"All {facts.n_folds} folds, each image by the network that has not seen it: "
        f"{score_sentence(facts.score_of_all_folds)}.",
    )
    for line in lines:
        typer.echo(textwrap.fill(line, text_width(), break_on_hyphens=False))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="File of a network, which `pack` wrote.")],
    images: Annotated[
        list[Path], typer.Argument(help="Stacks, or a manifest (.csv) that lists some.")
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the results: new, empty, or to go on in.")
    ] = Path("predictions"),
    channel_map: Annotated[
        str, typer.Option(help="Which channel is which: 'mitochondria=Tom20;early_endosomes=0'.")
    ] = "",
    pixel_size_um: Annotated[
        float | None, typer.Option(help="Edge of a pixel, µm, where the files do not say it.")
    ] = None,
    maps: Annotated[bool, typer.Option(help="Make maps and reports, or the tables only.")] = True,
) -> None:
    """Predict the class of images: tables, maps, a report for each; exit code 1 if one fails."""
    from organelle_fusion import listing, model_file, predicted_files, predicting
    from organelle_fusion.manifest_cells import read_channel_map

    rows = listing.list_images(
        images, channel_map=read_channel_map(channel_map), pixel_size_um=pixel_size_um
    )
    facts = model_file.read_facts(model)
    os.environ.setdefault("KERAS_BACKEND", facts.backend)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    network, facts = model_file.read_model(model)
    if facts.is_phantom:
        typer.echo("warning: the network was trained on a phantom: no class is of a cell", err=True)
    failed = 0
    for row in predicting.predict_images(network, facts, rows, output, model=model, maps=maps):
        for text in filter(None, row["warnings"].split("; ")):
            typer.echo(f"warning: {row['image']}: {text}", err=True)
        if row["error"]:
            failed += 1
            typer.echo(f"error: {row['image']}: {row['error']}", err=True)
        else:
            typer.echo(
                f"{row['image']}: {row['label']}, probability {row['p:' + row['label']]:.2f} "
                f"({row['patches']} patch{'es' * (row['patches'] != 1)}, "
                f"{row['share_kept']:.0%} kept)"
            )
    typer.echo(f"Results: {output / predicted_files.TABLE}")
    if failed:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: an error the user can mend is one line and exit code 1, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Names and signs that the terminal's encoding lacks are written as their number.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        app()
    except (KeyboardInterrupt, _InterruptError):
        # Of tasks that were given up, it would tell when this process ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        typer.echo("interrupted: results that were finished are kept", err=True)
        sys.exit(INTERRUPTED)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        typer.echo(f"error: {system_error(error)}", err=True)
        sys.exit(1)
