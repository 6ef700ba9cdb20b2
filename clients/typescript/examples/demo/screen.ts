/** What the demo shows: lines in columns, coloured where a person looks at them, and one line that moves. */
import type { RunStatus } from "@hairtrigger/sdk";

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, cyan: 36 } as const;
export type Style = keyof typeof STYLES;

const { stdout } = process;
const hasColors = stdout.isTTY && (process.env.NO_COLOR ?? "") === "";

export function paint(style: Style, text: string): string {
  return hasColors ? `\u001b[${STYLES[style]}m${text}\u001b[0m` : text;
}

export function say(line = ""): void {
  stdout.write(`${line}\n`);
}

export function chapter(number: number, title: string, why: string): void {
  say();
  say(`${paint("cyan", `${number}`)}  ${paint("bold", title)}`);
  say(`   ${paint("dim", why)}`);
}

const STATUS_STYLES: Partial<Record<RunStatus, Style>> = {
  COMPLETED: "green",
  EXECUTING: "blue",
  DELAYED: "cyan",
  QUEUED: "cyan",
  EXPIRED: "yellow",
  CANCELED: "yellow",
};

/** Wide enough for a status and a pair of words. */
const WORD_WIDTH = 10;

/** `+  12 ms  COMPLETED  what there is to say` */
export function event(sinceMs: number, word: string, text: string, style: Style = "dim"): void {
  const time = `+${Math.round(sinceMs).toLocaleString("en").padStart(6)} ms`;
  say(`   ${paint("dim", time)}  ${paint(style, word.padEnd(WORD_WIDTH))}  ${text}`);
}

export function statusEvent(sinceMs: number, status: RunStatus, text: string): void {
  event(sinceMs, status, text, STATUS_STYLES[status] ?? "red");
}

export function detail(text: string): void {
  say(`${" ".repeat(27)}${text}`);
}

/** Rows in columns two spaces apart; numbers stand right. */
export function columns(rows: readonly (readonly (string | number)[])[], indent = 3): readonly string[] {
  const text = (cell: string | number | undefined): string =>
    typeof cell === "number" ? cell.toLocaleString("en") : (cell ?? "");
  const count = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, column) => Math.max(...rows.map((row) => text(row[column]).length)));
  return rows.map((row) =>
    `${" ".repeat(indent)}${row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return typeof cell === "number" ? text(cell).padStart(width) : text(cell).padEnd(width);
      })
      .join("  ")}`.trimEnd(),
  );
}

/** A line that is written again and again in place; on something that is no terminal only when `isMilestone`. */
export function moving(line: string, isMilestone: boolean): void {
  if (stdout.isTTY) stdout.write(`\r\u001b[K${line}`);
  else if (isMilestone) say(line);
}

export function endMoving(): void {
  if (stdout.isTTY) stdout.write("\n");
}

/** `█████░░░░░` */
export function bar(part: number, whole: number, width: number): string {
  const filled = whole === 0 ? 0 : Math.round((width * part) / whole);
  return "█".repeat(filled) + "░".repeat(width - filled);
}
