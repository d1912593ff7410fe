// Light and dark, by the system or by hand.

import { onClick } from "./dom.mjs";
import { themeOf } from "./looks.mjs";

/** A function that gives the colours as they are now; changed() is called after they became others. */
export function buildTheme(changed) {
  const root = document.documentElement;
  let theme = themeOf(root);
  const recolour = () => {
    theme = themeOf(root);
    changed();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  onClick("theme", () => {
    root.dataset.theme = theme.dark ? "light" : "dark";
    recolour();
  });
  return () => theme;
}
