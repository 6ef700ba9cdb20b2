/** Secret keys made at run time. */
import type { KeyOrigin, SecretKeyRecord } from "../../domain/secret-key.js";
import type { Context } from "./context.js";
import { bytesAt, bytesToHex, hexToBytes, numberAt, optionalNumberAt, type Row, textAt } from "./database.js";

const COLUMNS = "name, environment, digest, signing_key, description, origin, created_ms, revoked_ms";

export function createSecretKey(context: Context, key: SecretKeyRecord): void {
  context.sees(key.createdAtMs);
  context.db.run(
    `INSERT OR IGNORE INTO secret_keys (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    key.name,
    key.environment,
    hexToBytes(key.digest),
    hexToBytes(key.signingKey),
    key.description,
    key.origin,
    key.createdAtMs,
    key.revokedAtMs ?? null,
  );
}

export function listSecretKeys(context: Context): readonly SecretKeyRecord[] {
  return context.db
    .all(`SELECT ${COLUMNS} FROM secret_keys ORDER BY environment, created_ms, name`)
    .map((row) => recordOf(row));
}

export function readSecretKey(context: Context, name: string): SecretKeyRecord | undefined {
  const row = context.db.get(`SELECT ${COLUMNS} FROM secret_keys WHERE name = ?`, name);
  return row === undefined ? undefined : recordOf(row);
}

export function revokeSecretKey(
  context: Context,
  { name, nowMs }: { readonly name: string; readonly nowMs: number },
): SecretKeyRecord | undefined {
  context.sees(nowMs);
  context.db.run("UPDATE secret_keys SET revoked_ms = ? WHERE name = ? AND revoked_ms IS NULL", nowMs, name);
  return readSecretKey(context, name);
}

function recordOf(row: Row): SecretKeyRecord {
  return {
    name: textAt(row, 0),
    environment: textAt(row, 1),
    digest: bytesToHex(bytesAt(row, 2)),
    signingKey: bytesToHex(bytesAt(row, 3)),
    description: textAt(row, 4),
    origin: originOf(textAt(row, 5)),
    createdAtMs: numberAt(row, 6),
    revokedAtMs: optionalNumberAt(row, 7),
  };
}

function originOf(text: string): KeyOrigin {
  return text === "firstStart" ? text : "created";
}
