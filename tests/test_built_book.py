"""A look at the built book: run by `make pages`, after `make book`."""

import ast
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from matplotlib.image import imread

from organelle_fusion import plan, plan_data
from organelle_fusion.book import toc_pages
from organelle_fusion.colophon import grouped
from organelle_fusion.config import load_profile
from organelle_fusion.pages import open_run
from organelle_fusion.scorecard import CANNOT_TELL, PROPERTY, REFUTED, SUPPORTED
from organelle_fusion.wording import METRIC_TITLES, title

pytestmark = pytest.mark.pages

ROOT = Path(__file__).parents[1]
EXECUTED = ROOT / "book" / "executed"
HTML = ROOT / "_build" / "html"
PAGES = toc_pages(ROOT)
CHAPTERS = [Path(name).name for name in PAGES if name.startswith("book/executed/")]

# What every chapter promises: the name of a figure or table, and words of its caption.
PROMISED = {
    "01_data": {
        "tab-images": "Images per class",
        "fig-classes": "plane per class",
    },
    "02_preprocessing": {
        "fig-otsu": "Otsu threshold",
        "fig-pipeline": "Fig. 1 of the paper",
        "tab-patches": "per class",
        "fig-attrition": "Fig. 7 of the paper",
        "tab-attrition": "share removed",
    },
    "03_patch_size": {
        "fig-patch-size": "Fig. 8 of the paper",
        "tab-patch-size": "yield on the scored images",
    },
    "04_tuning": {
        "tab-trials": "trial",
        "fig-tuning": "trial",
        "tab-tuned": "of the paper",
        "tab-tuned-scores": "with either settings",
    },
    "05_handcrafted": {
        "tab-features": "Features of an object",
        "tab-mlp-trials": "trials",
        "tab-objects": "by zoom of the microscope and cell line",
        "tab-dropped": "left out",
        "fig-handcrafted": "subset of features, protocol",
        "tab-handcrafted": "95 % interval",
        "fig-zooms": "each zoom alone",
        "fig-contacts": "in contact with mitochondria",
        "fig-importance": "Loss of balanced accuracy",
        "fig-zoom-told": "predicts the zoom",
        "fig-z-step": "Heights of boxes along z",
        "fig-cells": "Cells that are measured",
        "fig-objects": "outlines of its objects",
        "tab-measured": "Objects measured",
        "tab-left-out": "left out, and why",
        "tab-planted-objects": "planted and measured",
        "tab-topology": "scored by object",
        "fig-topology": "topological parameters",
    },
    "06_fusion_cv5": {
        "tab-folds5": "Groups in each fold",
        "fig-early": "Fig. 2 of the paper",
        "fig-fusion": "Fig. 3 of the paper",
        "fig-spatial": "Spatial fusion .ours.",
        "tab-parameters": "Trainable parameters",
        "tab-fusion5": "Table 1 of the paper",
        "fig-scores5": "95 % group-bootstrap intervals",
        "tab-fusion5-image": "by image",
        "tab-folds5-scores": "single folds",
        "fig-confusion5": "Fig. 4 of the paper",
        "fig-pr5": "Fig. 5 of the paper",
        "tab-comparisons5": "p-values of the paired bootstrap",
        "fig-calibration": "reliability|calibration",
        "tab-calibration": "calibration error",
        "tab-ablations": "under other choices",
    },
    "07_fusion_cv30": {
        "tab-fusion30": "Table 2 of the paper",
        "fig-groupings": "by the way the folds were made",
        "fig-confusion30": "keep images whole.*Fig. 9 of the paper",
        "fig-confusion30-patch": "by patch.*Fig. 9 of the paper",
        "fig-pr30": "keep images whole.*Fig. 10 of the paper",
        "fig-pr30-patch": "by patch.*Fig. 10 of the paper",
        "tab-comparisons30": "Differences in balanced accuracy",
    },
    "08_gradcam": {
        "fig-gradcam-tiles": "Fig. 6 of the paper, without overlap",
        "fig-gradcam-overlap": "Fig. 6 of the paper, with overlap",
        "tab-gradcam": "Correlation of each organelle.s map",
    },
    "09_real_cells": {
        "tab-real": "real cells",
        "fig-real-scores": "real cells",
        "fig-real-confusion": "real cells",
        "fig-real-pr": "real cells",
    },
    "10_leakage": {
        "tab-applicability": "can be asked",
        "fig-leakage": "by the way the folds were made.*null phantom",
        "tab-leakage": "by the way the folds were made",
        "fig-nested": "of a nested choice",
        "tab-nested": "chosen nested",
        "fig-leakage-real": "on real data by the way the folds were made",
        "tab-leakage-real": "Real data by the way the folds were made",
    },
    "11_planted_truth": {
        "fig-contact": "Contact phantom",
        "fig-named": "Which organelle is named",
        "fig-removal": "Deletion and insertion",
        "tab-named": "what was planted",
        "tab-map-tests": "Methods and tests",
    },
    "12_beyond": {
        "fig-umap": "UMAP",
        "tab-clusters": "Neighbours among features",
        "tab-subsets": "Fusion of some organelles",
        "fig-subsets": "every set between",
        "tab-student": "teacher",
        "tab-export": "Exported networks",
        "tab-backbone": "Early fusion with either encoder",
    },
    "13_speed": {
        "fig-ratios": "as a multiple of",
        "tab-side-by-side": "side by side",
        "tab-functions": "single functions",
        "tab-workers": "beside one",
        "fig-projection": "by number of workers",
        "tab-projection": "Projected hours",
        "tab-storage": "Projected space",
    },
    "14_scorecard": {
        "tab-rules": "the rule for each",
        "tab-scorecard": "what was found for each",
        "fig-scorecard": "Findings that decide",
    },
    "15_own_images": {
        "tab-template": "as init wrote it",
        "tab-confounding": "tells the class of an image",
        "fig-next-image": "an image that the network has not seen",
        "tab-next-image": "with the class that the image has",
    },
}
# The paper's figures and tables, and the names under which this book makes them again.
PAPER = {
    "Fig. 1": "fig-pipeline",
    "Fig. 2": "fig-early",
    "Fig. 3": "fig-fusion",
    "Fig. 4": "fig-confusion5",
    "Fig. 5": "fig-pr5",
    "Fig. 6": "fig-gradcam-tiles",
    "Fig. 7": "fig-attrition",
    "Fig. 8": "fig-patch-size",
    "Fig. 9": "fig-confusion30",
    "Fig. 10": "fig-pr30",
    "Table 1": "tab-fusion5",
    "Table 2": "tab-fusion30",
}
OUT_OF_REACH = "Not computed: the data were out of reach"
NOT_AT_HAND = "otccp-eea1 is not shown: the table is not at hand"
NEEDS_TABLE = (
    *("tab-objects", "tab-dropped", "fig-handcrafted", "tab-handcrafted", "fig-zooms"),
    *("fig-contacts", "fig-importance", "fig-zoom-told", "fig-z-step"),
)


# Figures of images, which have no numbers.
PICTURES = {
    *("fig-classes", "fig-pipeline", "fig-gradcam-tiles", "fig-gradcam-overlap"),
    *("fig-cells", "fig-objects", "fig-next-image"),
}
# Figures that print their numbers in words that an SVG still holds: with a halo they are outlines.
VALUES = {"fig-groupings", "fig-subsets"}
MATRICES = {"fig-confusion5", "fig-confusion30", "fig-confusion30-patch", "fig-real-confusion"}


def csv_of(block, folder: Path) -> pd.DataFrame:
    """The CSV that a figure or table is offered as, in its caption."""
    (link,) = block.select(":is(figcaption, caption) a.download[href$='.csv']")
    path = folder / link["href"]
    assert path.stem == block["id"]
    assert path.stat().st_size < 3e6
    return pd.read_csv(path)


def numbers_in(text: str) -> list[tuple[float, float]]:
    """Numbers in the words of a cell, and half a unit of the last digit of each."""
    found = []
    pattern = r"(?<![\w.])([-+]?\d[\d,]*)(\.\d+)?(e[-+]\d+)?(\s?%)?(?!\w)"
    for whole, part, power, percent in re.findall(pattern, text.replace("−", "-")):
        unit = 0.01 if percent else float(f"1{power}")
        value = float(whole.replace(",", "") + part) * unit
        found.append((value, 0.5 * 10.0 ** -max(len(part) - 1, 0) * unit))
    return found


@pytest.fixture(scope="module")
def soup():
    """The parsed HTML of a page, each read once."""
    pages: dict[str, BeautifulSoup] = {}

    def read(name: str) -> BeautifulSoup:
        if name not in pages:
            path = HTML / f"{name}.html"
            assert path.is_file(), f"{path.relative_to(ROOT)}: not built; run `make book`"
            pages[name] = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        return pages[name]

    return read


@pytest.mark.parametrize("page", PAGES)
def test_page_is_built_and_has_a_title(page, soup):
    assert soup(page).select_one("article h1")


def test_the_book_opens_at_its_first_page():
    index = (HTML / "index.html").read_text("utf-8")
    assert f"{PAGES[0]}.html" in index


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_ran_to_its_end(chapter):
    notebook = nbformat.read(EXECUTED / f"{chapter}.ipynb", as_version=4)
    assert not notebook.metadata.papermill.get("exception")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.evalue for output in outputs if output.output_type == "error"] == []


def test_every_planned_file_of_predictions_is_there():
    """The plan of a dry run is what the run has left; public data may have been out of reach."""
    notebook = nbformat.read(EXECUTED / "06_fusion_cv5.ipynb", as_version=4)
    given = notebook.metadata.papermill.parameters
    if given["manifest"]:
        pytest.skip("the pages are of own stacks")
    settings = load_profile(given["profile"])
    run = open_run(settings)
    stacks = plan_data.phantom_stacks(settings.phantom, settings.channels)
    planned = plan.planned_trainings(settings, stacks, run)
    own = planned[planned["folder"].str.startswith("phantom")]
    compared = plan.compare_with_files(own, ROOT / run.folder.parent)
    assert compared["found"].tolist() == compared["planned"].tolist()
    assert compared["planned"].sum() > 100


def test_no_failed_chapter_is_left():
    assert list(EXECUTED.glob("failed-*.ipynb")) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_is_on_the_list_of_promises(chapter):
    assert chapter in PROMISED


@pytest.mark.parametrize(
    ("chapter", "name", "words"),
    [(chapter, *entry) for chapter in PROMISED for entry in PROMISED[chapter].items()],
)
def test_promised_figure_or_table_is_on_the_page(chapter, name, words, soup):
    page = soup(f"book/executed/{chapter}")
    if OUT_OF_REACH in page.get_text():
        pytest.skip("its public data were out of reach, and the page says so")
    block = page.find(id=name)
    # In bold it is said of this page; elsewhere it is code that is shown.
    absent = any(NOT_AT_HAND in tag.get_text() for tag in page.select("strong"))
    if absent and name in NEEDS_TABLE:
        pytest.skip("the study's table is not at hand, and the page says so")
    assert block is not None, f"{chapter}: nothing is named {name}"
    caption = block.find(["figcaption", "caption"])
    assert caption is not None, f"{name} has no caption"
    assert re.search(words, caption.get_text(" ", strip=True), flags=re.IGNORECASE)
    content = block.select("img") if block.name == "figure" else block.select("tbody tr")
    assert content, f"{name} is empty"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_says_which_data_it_shows(chapter, soup):
    page = soup(f"book/executed/{chapter}")
    assert page.select_one("div.data-banner")
    numbered = [
        caption.get_text(" ", strip=True)
        for caption in page.select("article figcaption, article caption")
    ]
    silent = [
        text for text in numbered if not re.search("phantom|real|own stacks|network", text, re.I)
    ]
    assert silent == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_output_shows_as_an_object_of_python(chapter, soup):
    """An empty text is shown by the name of its class."""
    page = soup(f"book/executed/{chapter}")
    shown = [tag.get_text() for tag in page.select("div.cell_output")]
    assert [text for text in shown if "IPython.core.display" in text] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_opens_with_its_question_and_ends_with_its_answer(chapter, soup):
    page = soup(f"book/executed/{chapter}")
    opening = page.select_one("article h1").find_next("p")
    assert opening.get_text().startswith("Question.")
    if OUT_OF_REACH in page.get_text():
        return
    last = page.select("article div.cell_output")[-1]
    assert last.get_text(" ", strip=True).startswith("Answer.")


def test_opening_page_gives_answer_figure_and_verdicts_of_the_run(soup):
    """The figure shows the scores of table 1, the table has a row per claim, as the scorecard."""
    page = soup(PAGES[0])
    given = nbformat.read(EXECUTED / "14_scorecard.ipynb", as_version=4).metadata.papermill
    settings = load_profile(given.parameters["profile"])
    run = open_run(settings, given.parameters["manifest"])
    banner = page.select_one("div.data-banner").get_text(" ", strip=True)
    assert banner.startswith("Phantom." if run.is_phantom else "Own stacks.")
    assert f"Profile {settings.name}" in banner
    assert "Answer." in [tag.get_text() for tag in page.select("article strong")]
    figure = page.find(id="fig-answer")
    assert run.data in figure.figcaption.get_text(" ", strip=True)
    drawing = (HTML / "book" / figure.select_one("a.download")["href"]).read_text("utf-8")
    for name in (*settings.channels, "early", "intermediate", "late", "spatial"):
        assert f"<!-- {title(name)[0].upper()}{title(name)[1:]} -->" in drawing
    of_claim = [
        [cell.get_text(" ", strip=True) for cell in row.select("td")]
        for row in page.find(id="tab-answer").select("tbody tr")
    ]
    assert [row[0] for row in of_claim] == [f"C{number}" for number in range(1, 14)]
    card = soup("book/executed/14_scorecard").find(id="tab-scorecard")
    for row in card.select("tbody tr"):
        cells = [cell.get_text(" ", strip=True) for cell in row.select("td")]
        found = dict((name, told) for name, _, told in of_claim)[cells[0]]
        assert cells[-1] in found
        assert cells[-1] == PROPERTY or cells[2] == "none" or cells[2] in found


@pytest.mark.parametrize(("item", "name"), PAPER.items())
def test_opening_page_leads_to_every_figure_and_table_of_the_paper(item, name, soup):
    """By its number in this book, which is the number that stands there."""
    rows = soup(PAGES[0]).find(id="tab-paper").select("tbody tr")
    (row,) = [row for row in rows if row.select_one("td").get_text(strip=True) == item]
    (link,) = [tag for tag in row.select("a") if tag["href"].endswith(f"#{name}")]
    there = soup((Path("book") / link["href"].partition("#")[0]).with_suffix("").as_posix())
    number = there.find(id=name).select_one(".caption-number").get_text(strip=True)
    assert link.get_text(" ", strip=True) == number


@pytest.mark.parametrize(
    ("chapter", "name"), [("06_fusion_cv5", "tab-fusion5"), ("07_fusion_cv30", "tab-fusion30")]
)
def test_tables_1_and_2_have_the_rows_of_handcrafted_features(chapter, name, soup):
    """Three organelles and contacts, each with four scores and their intervals."""
    table = soup(f"book/executed/{chapter}").find(id=name)
    rows = [row.get_text(" ", strip=True) for row in table.select("tbody tr")]
    measured = [row for row in rows if row.startswith("OTCCP")]
    assert len(measured) == 4
    assert all(len(re.findall(r"\d\.\d\d+ \[", row)) == 4 for row in measured)


def test_every_claim_has_a_verdict_out_of_four(soup):
    """C1 to C13, each with a verdict; nothing on a phantom is called supported of cell lines."""
    table = soup("book/executed/14_scorecard").find(id="tab-scorecard")
    rows = [
        [cell.get_text(" ", strip=True) for cell in row.select("th, td")]
        for row in table.select("tbody tr")
    ]
    assert {row[0] for row in rows} == {f"C{number}" for number in range(1, 14)}
    assert {row[-1] for row in rows} <= {SUPPORTED, REFUTED, CANNOT_TELL, PROPERTY}
    assert [row for row in rows if row[2] == "phantom" and row[-1] == SUPPORTED] == []
    for row in rows:
        if row[0] in ("C3", "C5", "C6", "C8"):  # they concern the paper's cell lines
            assert row[-1] == CANNOT_TELL


@pytest.mark.parametrize(
    ("chapter", "name"), [("06_fusion_cv5", "tab-fusion5"), ("07_fusion_cv30", "tab-fusion30")]
)
def test_downloaded_table_holds_the_numbers_of_the_page(chapter, name, soup):
    """To two digits, cell by cell; what is not computed, or not at hand, is empty."""
    page = soup(f"book/executed/{chapter}")
    records = csv_of(page.find(id=name), HTML / "book/executed")
    scored = ["value", "low", "high", "published"]
    assert list(records.columns[:7]) == ["model", "title", "metric", *scored]
    table = page.find(id=name)
    heads = [cell.get_text(" ", strip=True) for cell in table.select("thead th")]
    assert set(METRIC_TITLES.values()) <= set(heads)
    for line in table.select("tbody tr"):
        cells = [cell.get_text(" ", strip=True) for cell in line.select("th, td")]
        shown = dict(zip(heads, cells, strict=True))
        of_row = records[records["title"] == shown["Model"]]
        if "Folds" in heads:  # a model without scores has no folds
            of_row = of_row[of_row["grouping"].fillna(shown["Folds"]) == shown["Folds"]]
        assert list(of_row["metric"]) == list(METRIC_TITLES)
        for metric, values in of_row.set_index("metric")[scored].iterrows():
            found = re.findall(r"-?\d\.\d+", shown[METRIC_TITLES[metric]])
            # with two decimals, or three where an end is near 0
            expected = pytest.approx(values.dropna().tolist(), abs=0.00501)
            assert list(map(float, found)) == expected


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_and_internal_link_leads_somewhere(page, soup):
    folder = (HTML / page).parent
    targets = [tag["src"] for tag in soup(page).select("article img[src]")]
    targets += [tag["href"] for tag in soup(page).select("article a[href]")]
    files = {target.partition("#")[0].partition("?")[0] for target in targets}
    missing = [
        file
        for file in files
        if file and not re.match(r"[a-z]+:", file) and not (folder / file).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_has_an_alternative_text(page, soup):
    silent = [tag["src"] for tag in soup(page).select("article img") if not tag.get("alt")]
    assert silent == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_is_offered_as_a_drawing(chapter, soup):
    """The SVG is there, shows the figure of the page, and is small enough to be opened."""
    folder = (HTML / f"book/executed/{chapter}").parent
    for figure in soup(f"book/executed/{chapter}").select("article figure:has(img)"):
        (link,) = figure.select("figcaption a.download[href$='.svg']")
        path = folder / link["href"]
        assert path.stem == figure["id"]
        assert path.stat().st_size < 3e6
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        width, height = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
        rows, columns = imread(folder / figure.select_one("img")["src"]).shape[:2]
        assert width / height == pytest.approx(columns / rows, rel=0.01)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_of_numbers_is_offered_as_csv(chapter, soup):
    """All but pictures of images; the numbers that a figure prints are those of the file."""
    folder = HTML / "book/executed"
    for figure in soup(f"book/executed/{chapter}").select("article figure:has(img)"):
        if figure["id"] in PICTURES:
            assert figure.select("a.download[href$='.csv']") == []
            continue
        data = csv_of(figure, folder)
        assert np.isfinite(data.select_dtypes("number")).to_numpy().any(), figure["id"]
        drawing = folder / figure.select_one("a.download[href$='.svg']")["href"]
        words = re.findall(r"<!-- (.*?) -->", drawing.read_text("utf-8"))
        if figure["id"] in VALUES:
            printed = [word for word in words if re.fullmatch(r"-?\d\.\d\d", word)]
            assert sorted(printed) == sorted(f"{value:.2f}" for value in data["value"])
        if figure["id"] in MATRICES:
            printed = [word for word in words if re.fullmatch(r"\d+", word)]
            filled = data[data["count"] > 0]
            expected = [*(f"{100 * share:.0f}" for share in filled["share"])]
            expected += [*filled["count"].astype(str), *["0"] * (len(data) - len(filled))]
            assert sorted(printed) == sorted(expected)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_table_is_offered_as_csv(chapter, soup):
    """Each number that a table shows is one of the file, which may have more digits and rows."""
    for table in soup(f"book/executed/{chapter}").select("article table:has(caption)"):
        data = csv_of(table, HTML / "book/executed")
        cells = [str(cell) for cell in [*data.columns, *data.to_numpy().ravel()]]
        held = np.array([value for cell in cells for value, _ in numbers_in(cell)])
        cells = [cell.get_text(" ", strip=True) for cell in table.select("tbody :is(td, th)")]
        for cell in cells:
            for value, half in numbers_in(cell):
                assert (np.abs(held - value) <= half * 1.001).any(), (table["id"], cell)


def test_tables_of_other_pages_are_offered_as_csv(soup):
    """With the rows that they show, but for a last one of totals."""
    blocks = [soup(PAGES[0]).find(id=name) for name in ("tab-answer", "fig-answer")]
    for page in ("book/environment", "book/provenance"):
        blocks += soup(page).select("article table:has(caption)")
    assert len(blocks) > 2 + 3
    for block in blocks:
        data = csv_of(block, HTML / "book")
        rows = [row for row in block.select("tbody tr") if "All chapters" not in row.get_text()]
        assert len(data) == (len(rows) or 7), block["id"]  # of the figure: seven networks


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_launch_buttons_lead_to_committed_notebooks(chapter, soup):
    """Where the repository has an address; without one, a chapter has none."""
    links = [tag["href"] for tag in soup(f"book/executed/{chapter}").select("a[href]")]
    links = [link for link in links if re.match(r"https://(mybinder|colab)\.", link)]
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    if not config["repository"]["url"]:
        assert links == []
        return
    assert len(links) == 2
    for link in links:
        (path,) = re.findall(r"notebooks/\w+\.ipynb$", link)
        assert (ROOT / path).is_file()
        assert chapter in path


def test_real_cells_are_never_drawn():
    """The licence of the crops does not allow pictures of them, only numbers and plots."""
    notebook = nbformat.read(EXECUTED / "09_real_cells.ipynb", as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert not re.search(r"imshow|composite|stack_overview|pipeline_figure", code)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_machine_or_shows_a_traceback(page, soup):
    text = soup(page).select_one("article").get_text(" ")
    assert not re.search(r"/(home|Users|root|work|tmp)/[a-z]|Traceback \(most recent", text)


# --- reference, methods, provenance -------------------------------------------------------------


def test_every_public_function_and_class_is_in_the_reference(soup):
    """Of every module of the package, by its full name, once."""
    entries = [
        tag["id"]
        for page in PAGES
        if page.startswith("book/api/")
        for tag in soup(page).select("dl.py dt[id]")
    ]
    public = [
        f"organelle_fusion.{path.stem}.{node.name}"
        for path in sorted((ROOT / "src/organelle_fusion").glob("*.py"))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert len(public) > 600
    assert [name for name in public if entries.count(name) != 1] == []


def test_every_equation_leads_to_the_function_that_computes_it(soup):
    """Between an equation and the next heading stands a link into the reference."""
    page = soup("book/methods")
    equations = page.select("article div.math[id]")
    assert len(equations) >= 35
    for equation in equations:
        links = []
        for tag in equation.find_all_next(["a", "h2", "h3"]):
            if tag.name != "a":
                break
            links.append(tag.get("href", ""))
        assert [link for link in links if "api/" in link and "#organelle_fusion." in link], (
            equation["id"]
        )


def test_provenance_lists_every_chapter_and_its_files(soup):
    page = soup("book/provenance")
    rows = page.find(id="tab-provenance").select("tbody tr")
    assert len(rows) == len(CHAPTERS)
    for chapter in CHAPTERS:
        record = EXECUTED / f"{chapter}.json"
        if not record.is_file():
            continue
        shown = page.find(id=f"tab-files-{chapter[:2]}").get_text(" ").split()
        files = json.loads(record.read_text("utf-8"))["files"]
        told = {word for _, _, found in grouped(files) for word in found.split()}
        assert told <= set(shown)
