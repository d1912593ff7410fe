// How the search of the site orders what it found. Sphinx gives every page with one word of the query in its title the
// same score, and finds nothing where one word of the query is on no page. Here a name or title that is the query comes
// first; then the share of the query's words in the headings of a page counts, and what kind of page it is.
const KINDS = [
  [/^(how-to|start$|question$)/, 12],
  [/^(results\/index|concepts\/|glossary|limits)/, 8],
  [/^(gallery|theory|_modules)\//, -4],
];
// Of what is named exactly as the query: a page, a function, a section of a page.
const EXACT = { page: 110, object: 100, section: 30 };
const PHRASE = 15,
  HEADINGS = 20,
  // Entries of the glossary come with up to 100.
  GLOSSARY = 0.6,
  // With fewer results than these, pages with some of the words are shown too.
  FEW = 5;
const SKIPPED = new Set(
  ("a an and are at be can do does for from how i in is it make me much my of on or own set should the to too use " +
    "what which with your").split(" "),
);
// What newcomers say, and what the pages say.
const SYNONYMS = [
  [/\b(learning rates?|lr)\b/g, "step size"],
  [/\b(minibatch(es)?)\b/g, "mini-batch"],
  [/\b(torch)\b/g, "pytorch"],
  [/\b(hyperparameters?|grid search)\b/g, "sweep"],
  [/\b(max|maximum|largest)( stable)? (step size)/g, "critical $3"],
  [/\b(dataset|spreadsheet|excel)\b/g, "table"],
  [/\b(plots?|charts?)\b/g, "figure"],
  [/\bcitation\b/g, "cite"],
  [/\btoo (high|large|big)\b/g, "stable"],
  [/\b(settles?|sits|stays|hovers) (at|around|near) (the )?(2\s*\/\s*(eta|η|lr)|edge)/g, "question answer edge"],
];
// The names of statistics, as ids of claims have them. In this order: the longer name first.
const IN_IDS = [
  [/\bmini-?batch(es)? sharpness\b/g, "minibs"],
  [/\b(mean-square sharpness|q_b|qb)\b/g, "mean-square"],
  [/\bbatch sharpness\b/g, "batch-sharpness"],
];
// Of a claim whose id has every word of the query: much where a number among them asks for one claim.
const CLAIM = 5,
  ONE_CLAIM = 60;
let headings = null,
  // The words of the query, as the pages say them, and as ids of claims do.
  asked = [],
  inIds = [];

const inOurWords = (query) => SYNONYMS.reduce((text, [theirs, ours]) => text.replace(theirs, ours), query.toLowerCase());

function wordsOf(text) {
  const words = text.toLowerCase().split(/[^\p{L}\p{N}]+/u);
  return words.filter((word) => word && !SKIPPED.has(word) && !/^\d+$/.test(word));
}

function headingsOf(page) {
  if (!headings) {
    headings = {};
    const { alltitles, docnames } = Search._index;
    for (const [title, places] of Object.entries(alltitles))
      for (const [place] of places) (headings[docnames[place]] ??= []).push(wordsOf(title));
  }
  return headings[page] ?? [];
}

/** The query as the words of an id: "MiniBS diabetes b = 4" is minibs, diabetes, b=4. */
function wordsOfId(query) {
  const spaced = IN_IDS.reduce((text, [theirs, ours]) => text.replace(theirs, ours), query.toLowerCase());
  return spaced.replace(/\s*=\s*/g, "=").split(/[\s,/]+/).filter((word) => word && !SKIPPED.has(word));
}

/** Claims with every word in their id, as a whole word, so that b=4 is not b=442. */
function claimsOf(words) {
  const { docnames, filenames, indexentries } = Search._index;
  // Sphinx itself finds an id that is written out.
  if (words.length < 2 || words.join("/") in indexentries) return [];
  const score = words.some((word) => /\d/.test(word)) ? ONE_CLAIM : CLAIM;
  return Object.entries(indexentries).flatMap(([id, [[page, anchor]]]) => {
    if (!docnames[page].startsWith("results/")) return [];
    const known = `-${id.replaceAll("/", "-")}-`;
    const isMeant = words.every((word) => known.includes(`-${word}-`));
    return isMeant ? [[docnames[page], id, `#${anchor}`, null, score, filenames[page], "index"]] : [];
  });
}

const isOne = (word, other) => word === other || `${word}s` === other || word === `${other}s`;
const isQuery = (query, words) => query.length === words.length && query.every((word, k) => isOne(word, words[k]));
const holds = (words, query) => words.some((_, k) => isQuery(query, words.slice(k, k + query.length)));

/** How much of a title or name is the query. */
function exactness(query, title, anchor, kind) {
  if (kind === "object") {
    const [owner, name] = title.split(".").slice(-2);
    if (!isQuery(query, wordsOf(name))) return 0;
    // An attribute of a class is not what people ask for first.
    return /^[A-Z]/.test(owner) ? EXACT.section : EXACT.object;
  }
  if (kind === "index" || !isQuery(query, wordsOf(title.split(" > ").at(-1)))) return 0;
  return title.includes(" > ") || anchor ? EXACT.section : EXACT.page;
}

/** Claims by the words of their ids; pages with some of the words, where hardly any has all of them; synonyms in the words of the pages. */
function forgiving(search) {
  const { performTermsSearch, _parseQuery } = search;
  search._parseQuery = (query) => {
    const ours = inOurWords(query);
    asked = wordsOf(ours);
    inIds = wordsOfId(query);
    return _parseQuery(ours);
  };
  search.performTermsSearch = (terms, excluded) => {
    const found = [...claimsOf(inIds), ...performTermsSearch(terms, excluded)],
      known = new Set(found.map(([page]) => page)),
      some = new Map();
    if (found.length >= FEW || terms.size < 2) return found;
    for (const term of terms)
      for (const result of performTermsSearch(new Set([term]), excluded)) {
        const [page, , , , score] = result;
        if (known.has(page)) continue;
        if (!some.has(page)) some.set(page, [...result.slice(0, 4), 0, ...result.slice(5)]);
        some.get(page)[4] += score / terms.size;
      }
    return [...found, ...some.values()];
  };
}

var Scorer = {
  score([page, title, anchor, , score, , kind]) {
    if (!asked.length) return score;
    const known = headingsOf(page),
      all = known.flat(),
      found = asked.filter((word) => all.some((each) => each.startsWith(word) || word.startsWith(`${each}s`))),
      phrase = asked.length > 1 && known.some((words) => holds(words, asked));
    const [, ofKind] = KINDS.find(([pattern]) => pattern.test(page)) ?? [null, 0];
    return (
      (page === "glossary" && kind === "index" ? GLOSSARY * score : score) +
      exactness(asked, title, anchor, kind) +
      (HEADINGS * found.length) / asked.length +
      (phrase ? PHRASE : 0) +
      ofKind
    );
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
