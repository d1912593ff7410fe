// A table of one's own: text with a line of names, as `esssim.data.read_table` reads it, or a sentence on what is
// wrong.

import { standardised } from "../core/data.mjs";

const MOST_ROWS = 256,
  MOST_COLUMNS = 65;

/**
 * {names, columns} of a text of numbers separated by commas, semicolons or tabs. Throws an Error for people to read.
 */
export function readTable(text) {
  const lines = text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .filter((line) => line.trim());
  if (lines.length < 3) throw new Error("The table needs a line of names and at least two rows.");
  const separator = [",", ";", "\t"].reduce(
    (best, sign) => (lines[0].split(sign).length > lines[0].split(best).length ? sign : best),
    ",",
  );
  const cells = (line) => line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
  const names = cells(lines[0]),
    rows = lines.slice(1).map(cells);
  if (names.length < 2) throw new Error("The table needs an input column beside the one to predict.");
  if (new Set(names).size < names.length || names.some((name) => !name))
    throw new Error("Every column needs a name of its own in the first line.");
  if (names.length > MOST_COLUMNS)
    throw new Error(
      `The table has ${names.length} columns; the page takes at most ${MOST_COLUMNS}. esssim measure takes more.`,
    );
  if (rows.length > MOST_ROWS)
    throw new Error(
      `The table has ${rows.length} rows; the page takes at most ${MOST_ROWS}. esssim measure takes more.`,
    );
  const columns = names.map((name, k) =>
    Float64Array.from(rows, (row, i) => {
      const cell = row[k],
        value = Number(separator === ";" ? cell?.replace(",", ".") : cell);
      if (row.length !== names.length)
        throw new Error(`Line ${i + 2} has ${row.length} cells, the first line ${names.length}.`);
      // Number takes 0x10 as well, which no table means.
      if (cell === "" || /^[+-]?0[xbo]/i.test(cell) || !Number.isFinite(value))
        throw new Error(`Column "${name}", line ${i + 2}: ${cell === "" ? "empty" : `"${cell}"`} is no number.`);
      return value;
    }),
  );
  return { names, columns };
}

/** {inputs, targets, n, d}: every column to mean 0 and variance 1, one of them the target. */
export function problemOf({ names, columns }, target) {
  const others = columns.filter((_, k) => names[k] !== target),
    n = columns[0].length,
    d = others.length;
  const inputs = new Float64Array(n * d);
  others.forEach((column, k) => column.forEach((value, i) => (inputs[i * d + k] = value)));
  const scaled = standardised(inputs, n, d);
  if (scaled.every((value) => value === 0))
    throw new Error("Every input column is constant: nothing can be learned.");
  const targets = standardised(columns[names.indexOf(target)], n, 1);
  return { inputs: scaled, targets, n, d };
}
