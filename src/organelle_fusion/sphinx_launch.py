"""An extension of Sphinx: launch buttons that lead to the notebooks in the repository.

The pages are made from ``book/executed``, which git does not keep; there the theme's buttons would
lead. Without an address of the repository (``repository: url`` in ``_config.yml``) there are none.
"""

from typing import Any

EXECUTED, COMMITTED = "/book/executed/", "/notebooks/"


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx, before the theme reads its options and after it has made its buttons."""
    app.connect("config-inited", drop_without_address)
    app.connect("html-page-context", lead_to_committed, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def drop_without_address(app: Any, config: Any) -> None:
    """Take the buttons away if the repository has no address: the theme fails without one."""
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)


def lead_to_committed(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    """Let the launch buttons of a page lead to the committed notebook of the same name."""
    for group in context.get("header_buttons", ()):
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = button["url"].replace(EXECUTED, COMMITTED)
