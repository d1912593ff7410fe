// The table that filters: rows, and the claims that they lead to.
const filters = document.querySelector(".filters");
const rows = [...document.querySelectorAll(".listing tbody tr")];
const cards = new Map([...document.querySelectorAll("article")].map((card) => [card.id, card]));
const count = document.querySelector("#shown");

function apply() {
  const [words, statistic, setting, verdict] = filters.querySelectorAll("input, select");
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits =
      wanted.every((word) => text.includes(word)) &&
      (!statistic.value || row.dataset.about.split(" ").includes(statistic.value)) &&
      (!setting.value || row.dataset.setting === setting.value) &&
      (!verdict.value || row.dataset.tone === verdict.value);
    row.hidden = !fits;
    cards.get(row.dataset.claim)?.toggleAttribute("hidden", !fits);
    shown += fits;
  }
  for (const family of document.querySelectorAll("section.family")) {
    family.hidden = !family.querySelector("article:not([hidden])");
  }
  count.textContent = `${shown} of ${rows.length}`;
}

// A link leads to its claim, whatever is filtered.
function reveal() {
  // The browser decodes the address, and finds nothing in a broken one.
  const card = cards.get(document.querySelector(":target")?.id);
  if (card?.hidden) {
    filters.reset();
    apply();
    card.scrollIntoView();
  }
}

filters.hidden = false;
filters.addEventListener("input", apply);
filters.addEventListener("reset", () => setTimeout(apply));
filters.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", reveal);
count.textContent = `${rows.length} of ${rows.length}`;
