// From disk a browser may not read other pages: search results come without an excerpt there.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// The search, where the page has one; scorer.js says how.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof forgiving === "function") forgiving(Search);
});

// The table of results: what is chosen lives in the address, so that a filtered table can be linked to.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".claim-filter");
  if (!form) return;
  const rows = [...document.querySelectorAll(".claim-table tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const selects = [...form.querySelectorAll("select")];

  function show() {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, place) => {
      const chosen = selects.every((each) => each.value === "*" || row.dataset[each.name] === each.value);
      row.hidden = !chosen || !words.every((word) => texts[place].includes(word));
      count += row.hidden ? 0 : 1;
    });
    form.querySelector("output").textContent = `${count} of ${rows.length} claims`;
  }

  function keep() {
    const state = new URLSearchParams();
    for (const each of [form.elements.words, ...selects])
      if (each.value && each.value !== "*") state.set(each.name, each.value);
    history.replaceState(null, "", `#${state}`);
    show();
  }

  function restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    form.elements.words.value = state.get("words") ?? "";
    for (const each of selects) {
      const wanted = state.get(each.name);
      each.value = [...each.options].some((option) => option.value === wanted) ? wanted : "*";
    }
    show();
  }

  form.addEventListener("input", keep);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", restore);
  restore();
});
