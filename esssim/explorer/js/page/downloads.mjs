// The buttons that take a run away: TOML, CSV, PNG, SVG, and the address that holds its settings.

import { find, onClick } from "./dom.mjs";
import { save, toCsv, toToml } from "./export.mjs";

/** The run as TOML for `esssim run`. */
export function tomlOf({ settings, run, table }) {
  const own = settings.data === "own" ? { name: table.file, target: settings.target } : null;
  return toToml(settings, { eta: run.ready.eta, second: run.ready.second, table: own }, run.changes);
}

export function buildDownloads(session, pictures, theme) {
  const name = () => `esssim-${session.preset?.id ?? session.settings.model}`;
  const actions = {
    toml: () => save(`${name()}.toml`, tomlOf(session), "application/toml"),
    csv: () => save(`${name()}.csv`, toCsv(session.run.records, session.run.flow, session.settings), "text/csv"),
    png: () => pictures.sheet(theme()).toBlob((blob) => save(`${name()}.png`, blob)),
    svg: () => save(`${name()}.svg`, pictures.svg(theme()), "image/svg+xml"),
    link: async () => {
      await navigator.clipboard?.writeText(location.href).catch(() => null);
      find("status").textContent = "the address of this run is copied";
    },
  };
  for (const [id, act] of Object.entries(actions)) onClick(id, () => session.run.ready && act());
}
