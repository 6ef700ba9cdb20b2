/** What commands print: tables and lines for people, JSON for scripts. */
import { hasColors } from "./environment.js";

const CODES = { red: 31, green: 32, yellow: 33, blue: 34, cyan: 36, gray: 90, bold: 1 } as const;
export type Color = keyof typeof CODES;

export function paint(color: Color, text: string): string {
  return hasColors(process.stdout) ? `\u001b[${CODES[color]}m${text}\u001b[0m` : text;
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function printError(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** One JSON value; several of them, one a line, with `isLine`. */
export function printJson(value: unknown, isLine = false): void {
  print(JSON.stringify(value, undefined, isLine ? undefined : 2) ?? "null");
}

/** Rows under their headings, columns two spaces apart; cells are not coloured, so that their width is their length. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join("  ")
      .trimEnd();
  print(paint("gray", line(headings)));
  for (const row of rows) print(line(row));
}

/** `name  value` lines; undefined values are left out. */
export function printFields(fields: Readonly<Record<string, string | undefined>>): void {
  const entries = Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  const width = Math.max(...entries.map(([name]) => name.length));
  for (const [name, value] of entries) print(`${paint("gray", name.padEnd(width))}  ${value}`);
}

const STATUS_COLORS: Readonly<Record<string, Color>> = {
  COMPLETED: "green",
  EXECUTING: "blue",
  WAITING: "blue",
  QUEUED: "cyan",
  DELAYED: "cyan",
  CANCELED: "yellow",
  EXPIRED: "yellow",
};

export function paintStatus(status: string): string {
  return paint(STATUS_COLORS[status] ?? "red", status);
}

/** 850 → `850 ms`, 61,500 → `1 m 2 s`. */
export function durationText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  const parts = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const [hours = 0, minutes = 0, rest = 0] = parts;
  return hours > 0 ? `${hours} h ${minutes} m` : `${minutes} m ${rest} s`;
}

/** Local date and time to the second. */
export function timeText(date: Date): string {
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace("T", " ");
}
