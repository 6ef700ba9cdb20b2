/** Uses of one-time tokens (AUT-3), written with what they were used for. */
import type { Context } from "./context.js";

export interface TokenUse {
  readonly hash: Uint8Array;
  readonly forgetAtMs: number;
}

export function isTokenUsed(context: Context, { hash }: TokenUse): boolean {
  return context.db.get("SELECT 1 FROM token_uses WHERE token = ?", hash) !== undefined;
}

export function useToken(context: Context, { hash, forgetAtMs }: TokenUse): void {
  context.db.run("INSERT OR IGNORE INTO token_uses (token, forget_ms) VALUES (?, ?)", hash, forgetAtMs);
}

export function purgeTokenUses(context: Context, nowMs: number, limit: number): void {
  context.db.run(
    "DELETE FROM token_uses WHERE token IN (SELECT token FROM token_uses WHERE forget_ms <= ? LIMIT ?)",
    nowMs,
    limit,
  );
}
