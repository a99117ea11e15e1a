"""The report of one predicted image: one HTML file that needs no network, no script, no other file.

Whatever comes from a file or from its name is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template

from organelle_fusion.model_file import ModelFacts, score_sentence
from organelle_fusion.wording import percent, title

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src data:; style-src 'unsafe-inline'">
<title>$image: $headline</title>
<style>
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --faint: #5a5a5a; --line: #d8d8d8;
  --bar: #0072B2; --other: #8fb8d4; --warn: #fff3dc; --edge: #d98a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --faint: #a9a9a9;
  --line: #3a3d41; --bar: #56B4E9; --other: #2f5f7c; --warn: #3a2f17; --edge: #E69F00; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 52rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; }
.faint { color: var(--faint); font-size: .9rem; }
.note { background: var(--warn); border-left: 4px solid var(--edge); padding: .6rem .9rem;
  margin: 1rem 0; }
.note ul { margin: .2rem 0; padding-left: 1.2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); font-weight: normal; }
.facts th { width: 30%; color: var(--faint); }
.bars th { width: 38%; }
.bars th, .bars td { vertical-align: middle; }
.bars td.number { width: 4rem; text-align: right; font-variant-numeric: tabular-nums; }
.bars .first { font-weight: bold; }
.bar { height: .9rem; background: var(--other); min-width: 1px; }
.first .bar { background: var(--bar); }
.wide { overflow-x: auto; }
img { display: block; width: 100%; min-width: 40rem; height: auto; background: #fff; }
code { font-size: .82rem; }
</style>
</head>
<body>
<h1>$image: $headline</h1>
<p class="faint">$below</p>
$notes
<h2>Probability of each class</h2>
<table class="bars">
$bars
</table>
<p class="faint">Mean over the patches that are kept; it is as sure as the network is, which is not
the share of images of which it is right.</p>
<h2>Where in the image</h2>
<div class="wide"><img alt="$alt" src="data:image/png;base64,$picture"></div>
<p class="faint">The plane with most patches. Maps are from patches that overlap by half; the file
<code>probabilities.ome.tif</code> holds those of all planes.</p>
<h2>The network</h2>
<table class="facts">
$network
</table>
<h2>Where this comes from</h2>
<table class="facts">
$sources
</table>
</body>
</html>
""")


def report_page(
    facts: ModelFacts,
    *,
    image: str,
    label: str,
    probabilities: Mapping[str, float],
    patches: int,
    share_kept: float,
    warnings: Sequence[str],
    picture: bytes,
    sources: Mapping[str, str],
) -> str:
    """Write the page of one image.

    Parameters
    ----------
    facts
        Of the network.
    image, label
        Names of the image and of the class it is given.
    probabilities
        Class → mean over the kept patches.
    patches, share_kept
        Number and share of the kept patches.
    warnings
        Of `image_checks`; shown first.
    picture
        A PNG.
    sources
        Name → value of what the page comes from: files, hashes, versions, date.

    Returns
    -------
    str
        HTML, all names escaped.
    """
    notes = [_phantom_note()] if facts.is_phantom else []
    if warnings:
        items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
        notes.append(
            '<div class="note"><b>Read with care.</b> The image differs from those that the '
            f"network was trained on, or says little:<ul>{items}</ul></div>"
        )
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return PAGE.substitute(
        image=escape(image),
        headline=escape(title(label)),
        below=escape(
            f"Probability {probabilities[label]:.0%}, from {patches} patches; "
            f"{share_kept:.0%} of the patches of the image are kept."
        ),
        notes="\n".join(notes),
        bars="\n".join(_bar(name, value, name == label) for name, value in ranked),
        alt=escape(f"One plane of {image}, and for each class a map of its probability"),
        picture=base64.b64encode(picture).decode("ascii"),
        network=_rows(network_rows(facts)),
        sources=_rows(sources),
    )


def network_rows(facts: ModelFacts) -> dict[str, str]:
    """What is said of a network: what it was trained on, and how good it is."""
    kind = "one channel" if facts.strategy == "single" else title(facts.strategy)
    return {
        "Kind": f"{kind}, of fold {facts.fold} of {facts.n_folds}",
        "Trained on": f"{facts.data}, {facts.seen.images} images; profile {facts.profile}; "
        f"{facts.trained[:10]}",
        "Its own score": f"{score_sentence(facts.score)}; on images that it has not seen",
        "Score of all folds": f"{score_sentence(facts.score_of_all_folds)}; each image by the "
        "network that has not seen it",
        "Channels": ", ".join(map(title, facts.channels)),
        "Patch": f"{facts.patch_um:.4g} µm, {facts.input_px} × {facts.input_px} pixels; kept with "
        f"{percent(facts.min_foreground)} foreground or more",
        "Intensities": "each channel scaled by the percentiles "
        f"{facts.percentiles[0]:g} and {facts.percentiles[1]:g} of the whole stack",
    }


def _phantom_note() -> str:
    return (
        '<div class="note"><b>Trained on a phantom.</b> The classes were planted in synthetic '
        "stacks and stand for no cell. What the network says of other images says nothing about "
        "biology.</div>"
    )


def _bar(name: str, value: float, first: bool) -> str:
    row = ' class="first"' if first else ""
    return (
        f'<tr{row}><th scope="row">{escape(title(name))}</th>'
        f'<td><div class="bar" style="width: {100 * value:.1f}%"></div></td>'
        f'<td class="number">{value:.1%}</td></tr>'
    )


def _rows(facts: Mapping[str, str]) -> str:
    return "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in facts.items()
    )
