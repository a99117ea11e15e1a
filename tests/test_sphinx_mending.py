"""What is mended on a page before Sphinx writes it."""

from types import SimpleNamespace

from organelle_fusion.sphinx_mending import setup


def mended(**context):
    """What the extension makes of the context of a page."""
    connected = {}
    app = SimpleNamespace(connect=lambda event, act, priority: connected.update({event: act}))
    setup(app)
    connected["html-page-context"](app, "page", "page.html", context, None)
    return context


def file(filename, **attributes):
    return SimpleNamespace(filename=filename, attributes=attributes)


def test_scripts_of_thebe_are_left_out_and_others_stay():
    zoom, inline = file("zoom.js"), file(None, body="let toggleHintShow = 'Click to show';")
    settings = file(None, body='const THEBE_JS_URL = ""; const thebe_selector = ".cell"')
    scripts = [zoom, settings, file("sphinx-thebe.js"), settings, inline]
    context = mended(script_files=scripts, css_files=[file("book.css"), file("sphinx-thebe.css")])
    assert context["script_files"] == [zoom, inline]
    assert [style.filename for style in context["css_files"]] == ["book.css"]
    assert "body" not in context


def test_what_sets_equations_is_kept_where_some_are():
    """Its settings, too: a script without a file."""
    scripts = [file(None, body='window.MathJax = {"options": {}}'), file("mathjax/tex-chtml.js")]
    none = mended(script_files=scripts, css_files=[], body="<p>no equation</p>")
    some = mended(script_files=scripts, css_files=[], body='<span class="math">a</span>')
    assert none["script_files"] == []
    assert some["script_files"] == scripts


def test_bibliography_is_a_list_of_items():
    body = (
        '<div role="list"><div id="a" role="doc-biblioentry">He</div></div><p>doc-biblioentry</p>'
    )
    context = mended(script_files=[], css_files=[], body=body)
    expected = '<div role="list"><div id="a" role="listitem">He</div></div><p>doc-biblioentry</p>'
    assert context["body"] == expected


def test_parameters_of_a_signature_are_lines_and_definitions_stay():
    signature = "<dt>f(\n<dl>\n<dd><em>a</em>,</dd>\n<dd>b,</dd>\n</dl>\n)</dt>"
    body = f"{signature}<dl><dt>a</dt><dd>c</dd></dl>"
    context = mended(script_files=[], css_files=[], body=body)
    expected = (
        '<dt>f(\n<span class="sig-lines"><span class="sig-line"><em>a</em>,</span>\n'
        '<span class="sig-line">b,</span>\n</span>\n)</dt><dl><dt>a</dt><dd>c</dd></dl>'
    )
    assert context["body"] == expected


def test_what_unfolds_the_list_of_pages_has_a_name():
    """As the theme calls the function, and as it makes the list."""
    toggle = '<details><summary><span class="toctree-toggle" role="presentation"></span></summary>'

    def make_list(kind, startdepth=1):
        return f"<ul>{kind}{startdepth}<li>API{toggle}</details></li></ul>"

    context = mended(script_files=[], css_files=[], generate_toctree_html=make_list)
    made = context["generate_toctree_html"]("sidebar", startdepth=0)
    assert made.startswith("<ul>sidebar0<li>API<details><summary aria-label=")
    assert made.count("<summary") == 1
