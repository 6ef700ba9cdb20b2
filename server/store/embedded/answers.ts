/** Answers to requests that their repeat could not derive (design 6): hits and resets, written with their effect. */
import type { RequestMark } from "../store.js";
import type { Context } from "./context.js";
import { bytesAt, hexToBytes } from "./database.js";

/** The run that the request was answered with. */
export function answeredBefore(context: Context, requestHash: string, nowMs: number): Uint8Array | undefined {
  const row = context.db.get(
    "SELECT run FROM answers WHERE request = ? AND expires_ms > ?",
    hexToBytes(requestHash),
    nowMs,
  );
  return row === undefined ? undefined : bytesAt(row, 0);
}

export function rememberAnswer(context: Context, request: RequestMark, run: Uint8Array): void {
  context.db.run(
    "INSERT OR REPLACE INTO answers (request, run, expires_ms) VALUES (?, ?, ?)",
    hexToBytes(request.hash),
    run,
    request.expiresAtMs,
  );
}

export function purgeAnswers(context: Context, nowMs: number, limit: number): void {
  context.db.run(
    "DELETE FROM answers WHERE request IN (SELECT request FROM answers WHERE expires_ms <= ? LIMIT ?)",
    nowMs,
    limit,
  );
}
