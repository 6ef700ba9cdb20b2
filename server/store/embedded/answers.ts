/** Answers to requests that their repeat could not derive (design 6): hits and resets, written with their effect. */
import type { Context } from "./context.js";
import { bytesAt } from "./database.js";

/** The run that the request was answered with. */
export function answeredBefore(context: Context, requestHash: Uint8Array, nowMs: number): Uint8Array | undefined {
  const row = context.db.get("SELECT run FROM answers WHERE request = ? AND expires_ms > ?", requestHash, nowMs);
  return row === undefined ? undefined : bytesAt(row, 0);
}

export function hasAnswers(context: Context): boolean {
  return context.db.get("SELECT 1 FROM answers LIMIT 1") !== undefined;
}

export function rememberAnswer(
  context: Context,
  answer: { readonly requestHash: Uint8Array; readonly run: Uint8Array; readonly expiresAtMs: number },
): void {
  context.db.run(
    "INSERT OR REPLACE INTO answers (request, run, expires_ms) VALUES (?, ?, ?)",
    answer.requestHash,
    answer.run,
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
