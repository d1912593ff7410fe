// The guided tour: a card that goes from step to step, each with its preset and the picture to look at.

import { find, onClick } from "./dom.mjs";
import { TOUR } from "./tour.mjs";

// Narrower windows show the pictures one below the other.
const NARROW = 900;

export class Guide {
  /** choose(preset): shows it; still: whether motion is to be reduced. */
  constructor({ choose, still }) {
    Object.assign(this, { choose, still, place: -1 });
    onClick("tour", () => this.visit(0));
    onClick("tour-next", () => this.visit(this.place + 1));
    onClick("tour-back", () => this.visit(this.place - 1));
    onClick("tour-close", () => this.visit(-1));
  }

  get open() {
    return this.place >= 0;
  }

  toggle() {
    this.visit(this.open ? -1 : 0);
  }

  visit(place) {
    document.querySelectorAll(".in-tour").forEach((each) => each.classList.remove("in-tour"));
    this.place = place < TOUR.length ? place : -1;
    find("tour-card").hidden = !this.open;
    if (this.open) this.show();
    else find("tour").focus();
  }

  show() {
    const { preset, at, title, text } = TOUR[this.place];
    find("tour-title").textContent = `${this.place + 1} of ${TOUR.length} · ${title}`;
    find("tour-text").textContent = text;
    find("tour-back").disabled = this.place === 0;
    find("tour-next").textContent = this.place === TOUR.length - 1 ? "done" : "next";
    const panel = find(at).closest("section");
    panel.classList.add("in-tour");
    if (innerWidth < NARROW)
      panel.scrollIntoView({ block: "start", behavior: this.still.matches ? "auto" : "smooth" });
    this.choose(preset);
    find("tour-next").focus();
  }
}
