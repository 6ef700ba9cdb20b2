/** Answers to requests that their repeat could not derive (design 6): hits, pushes and resets, written with their effect. */
import type { Context } from "./context.js";
import { bytesAt, numberAt } from "./database.js";

/** The run that the request was answered with, and whether as a hit. */
export function answeredBefore(
  context: Context,
  requestHash: Uint8Array,
  nowMs: number,
): { readonly run: Uint8Array; readonly isCached: boolean } | undefined {
  const row = context.db.get(
    "SELECT run, cached FROM answers WHERE request = ? AND expires_ms > ?",
    requestHash,
    nowMs,
  );
  return row === undefined ? undefined : { run: bytesAt(row, 0), isCached: numberAt(row, 1) === 1 };
}

export function hasAnswers(context: Context): boolean {
  return context.db.get("SELECT 1 FROM answers LIMIT 1") !== undefined;
}

export function rememberAnswer(
  context: Context,
  answer: {
    readonly requestHash: Uint8Array;
    readonly run: Uint8Array;
    readonly isCached: boolean;
    readonly expiresAtMs: number;
  },
): void {
  context.db.run(
    "INSERT OR REPLACE INTO answers (request, run, cached, expires_ms) VALUES (?, ?, ?, ?)",
    answer.requestHash,
    answer.run,
    answer.isCached ? 1 : 0,
    answer.expiresAtMs,
  );
}

export function purgeAnswers(context: Context, nowMs: number, limit: number): void {
  context.db.run(
    "DELETE FROM answers WHERE request IN (SELECT request FROM answers WHERE expires_ms <= ? LIMIT ?)",
    nowMs,
    limit,
  );
}
