/** What was promised and what was seen: the end of the demo, and its exit code. */
import { columns, paint } from "./screen.js";

export interface Finding {
  /** What was done. */
  readonly what: string;
  /** What had to happen. */
  readonly promise: string;
  /** What did. */
  readonly seen: string;
  readonly isKept: boolean;
  readonly tookMs: number;
}

export interface Summary {
  readonly lines: readonly string[];
  /** 0 only if every promise was kept. */
  readonly exitCode: number;
}

export function summarise(findings: readonly Finding[], tookMs: number): Summary {
  const [head = "", ...rows] = columns([
    ["", "what", "promise", "seen", "took"],
    ...findings.map(({ what, promise, seen, isKept, tookMs: ms }) => [
      isKept ? "✔" : "✘",
      what,
      promise,
      seen,
      `${Math.round(ms).toLocaleString("en")} ms`,
    ]),
  ]);
  const kept = findings.filter(({ isKept }) => isKept).length;
  const isAll = kept === findings.length && findings.length > 0;
  const verdict = `   ${kept} of ${findings.length} promises kept in ${(tookMs / 1_000).toFixed(1)} s`;
  const lines = [
    "",
    paint("bold", "Summary"),
    paint("dim", head),
    ...rows.map((row, index) =>
      findings[index]?.isKept === true ? row.replace("✔", paint("green", "✔")) : paint("red", row),
    ),
    "",
    paint(isAll ? "green" : "red", verdict),
  ];
  return { lines, exitCode: isAll ? 0 : 1 };
}
