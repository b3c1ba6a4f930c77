// Sliders that move the line between two pictures; see page.css.
"use strict";

document.addEventListener("input", ({target}) => {
  if (target.matches(".wipe")) document.getElementById(target.dataset.stack).style.setProperty("--wipe", `${target.value}%`);
});
