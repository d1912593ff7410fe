// How the search of the site orders what it found: Sphinx gives every page with one word of the query in its title the
// same score. Here the share of the query's words in the headings of a page counts, and what kind of page it is.
const KINDS = [
  [/^(how-to|start$|question$)/, 12],
  [/^(results\/index|concepts\/|glossary|limits)/, 8],
  [/^(gallery|theory)\//, -4],
];
const SKIPPED = new Set(["a", "an", "and", "for", "i", "in", "is", "my", "of", "the", "to", "which"]);
let headings = null;

function wordsOf(text) {
  return text.toLowerCase().split(/[^\p{L}\p{N}_]+/u).filter((word) => word && !SKIPPED.has(word));
}

function headingsOf(page) {
  if (!headings) {
    headings = {};
    const { alltitles, docnames } = Search._index;
    for (const [title, places] of Object.entries(alltitles))
      for (const [place] of places) (headings[docnames[place]] ??= []).push(...wordsOf(title));
  }
  return headings[page] ?? [];
}

var Scorer = {
  score([page, , , , score]) {
    const query = wordsOf(new URLSearchParams(location.search).get("q") ?? "");
    const known = headingsOf(page);
    const found = query.filter((word) => known.some((each) => each.startsWith(word) || word.startsWith(each + "s")));
    const kind = KINDS.find(([pattern]) => pattern.test(page));
    return score + (20 * found.length) / Math.max(query.length, 1) + (kind ? kind[1] : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
