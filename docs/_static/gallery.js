// The sliders of the gallery: which two pictures lie there, and how much of the left one is shown. Nothing is asked of a server.
for (const block of document.querySelectorAll("section.gallery")) {
  const pictures = JSON.parse(block.dataset.pictures);
  const [slider, axes] = [block.querySelector(".compare input"), [...block.querySelectorAll("input[data-values]")]];
  const images = { left: block.querySelector("img.left"), right: block.querySelector("img.right") };
  const said = block.querySelector(".said");

  // The right side of a block without a choice of its own is what it began with; private parts go in pairs.
  const chosen = (side) => {
    const select = block.querySelector(`select[data-side=${side}]`);
    return select ? select.value : Object.keys(pictures).find((key) => pictures[key][0] === images[side].dataset.first)?.split(" ")[0];
  };

  const show = () => {
    const values = axes.map((axis) => axis.dataset.values.split(" ")[axis.value]);
    axes.forEach((axis, i) => {
      axis.closest("label").querySelector("output").textContent = values[i] + axis.dataset.unit;
      axis.setAttribute("aria-valuetext", values[i] + axis.dataset.unit);
    });
    const sentences = ["left", "right"].map((side) => {
      const option = chosen(side);
      const [file, says] = pictures[[option, ...values].join(" ")] || pictures[option];
      images[side].src = "_static/" + file;
      images[side].alt = says;
      return side[0].toUpperCase() + side.slice(1) + ": " + says;
    });
    said.replaceChildren(sentences[0], document.createElement("br"), sentences[1]);
  };

  for (const image of Object.values(images)) image.dataset.first = image.getAttribute("src").replace("_static/", "");
  slider.addEventListener("input", () => slider.parentElement.style.setProperty("--at", slider.value + "%"));
  for (const control of block.querySelectorAll(".controls select, .controls input")) {
    control.addEventListener("input", () => {
      const other = control.dataset.side && !axes.length && block.querySelector(`select:not([data-side=${control.dataset.side}])`);
      if (other) other.selectedIndex = control.selectedIndex;
      show();
    });
  }
  show();
}
