/** The diagram and the table of docs/lifecycle.md, drawn from the run machine. `npm run generate` writes them; the tidy test compares. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { RUN_MACHINE, type RunPlace } from "../../server/domain/run-machine.js";
import { repositoryFolder } from "./source.js";

const PAGE = join(repositoryFolder, "docs/lifecycle.md");
const BEGIN = "<!-- generated from server/domain/run-machine.ts: begin -->";
const END = "<!-- generated from server/domain/run-machine.ts: end -->";

export function readLifecyclePage(): string {
  return readFileSync(PAGE, "utf8");
}

/** The page with its generated part as the table has it now. */
export function withLifecycle(page: string): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/lifecycle.md lacks the marks of its generated part: ${BEGIN}`);
  return `${page.slice(0, begin + BEGIN.length)}\n\n${diagram()}\n\n${table()}\n\n${page.slice(end)}`;
}

function diagram(): string {
  const lines = new Map<string, string[]>();
  for (const [event, { from, to }] of Object.entries(RUN_MACHINE)) {
    for (const start of from.length === 0 ? ["[*]"] : from) {
      for (const place of to)
        lines.set(`${start} --> ${place}`, [...(lines.get(`${start} --> ${place}`) ?? []), event]);
    }
  }
  const places = Object.values(RUN_MACHINE).flatMap(({ to }): readonly RunPlace[] => to);
  const starts = new Set(Object.values(RUN_MACHINE).flatMap(({ from }): readonly RunPlace[] => from));
  const finals = [...new Set(places)].filter((place) => !starts.has(place));
  const drawn = [
    ...[...lines].map(([line, events]) => `  ${line}: ${events.join(", ")}`),
    ...finals.map((place) => `  ${place} --> [*]`),
  ];
  return ["```mermaid", "stateDiagram-v2", ...drawn, "```"].join("\n");
}

function table(): string {
  const rows = Object.entries(RUN_MACHINE).map(([event, { from, to, by, when }]) =>
    [event, from.length === 0 ? "–" : from.join(", "), to.join(", "), by, when].join(" | "),
  );
  return [
    "| event | from | to | asked by | when |",
    "| --- | --- | --- | --- | --- |",
    ...rows.map((row) => `| ${row} |`),
  ].join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  writeFileSync(PAGE, withLifecycle(readLifecyclePage()));
