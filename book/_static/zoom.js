/* Every figure opens enlarged: by click, Enter or the space bar. Escape closes, focus returns. */
(() => {
  "use strict";

  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  dialog.setAttribute("aria-label", "Figure, enlarged");
  dialog.innerHTML =
    '<button type="button" class="zoom-close">Close</button>' +
    '<div class="zoom-picture" tabindex="0" role="group" aria-label="Picture"><img alt=""></div>' +
    '<p class="zoom-caption"></p>';
  const [close, frame, caption] = dialog.children;
  const enlarged = frame.firstElementChild;

  function open(picture) {
    const figure = picture.closest("figure");
    const words = figure?.querySelector("figcaption p, figcaption")?.cloneNode(true);
    words?.querySelectorAll("a").forEach((link) => link.remove());
    caption.textContent = words ? words.textContent.trim() : "";
    // Drawn from the SVG, where one is offered, since that stays sharp at every size.
    const drawing = figure?.querySelector('figcaption a[href$=".svg"]');
    enlarged.src = drawing ? drawing.href : picture.src;
    enlarged.alt = picture.alt;
    // As large as the window allows; if that is hardly larger than on the page, larger, and the
    // frame scrolls.
    const ratio = picture.naturalWidth / picture.naturalHeight;
    const fitting = Math.min(0.94 * innerWidth - 32, (0.94 * innerHeight - 140) * ratio);
    const least = Math.max(1.5 * picture.clientWidth, Math.min(800, picture.naturalWidth));
    enlarged.style.width = `${Math.round(Math.max(fitting, least))}px`;
    dialog.showModal();
    frame.scrollTo(0, 0);
    frame.focus();
  }

  function prepare(picture) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom-open";
    button.title = "Enlarge";
    button.setAttribute("aria-haspopup", "dialog");
    picture.replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => open(picture));
  }

  document.addEventListener("DOMContentLoaded", () => {
    const pictures = document.querySelectorAll(".bd-article figure > img");
    pictures.forEach(prepare);
    document.body.append(dialog);
    close.addEventListener("click", () => dialog.close());
    // The browser closes it by itself, unless the listener of the search keeps Escape from it.
    dialog.addEventListener("keydown", (event) => event.key === "Escape" && event.stopPropagation());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  });
})();
