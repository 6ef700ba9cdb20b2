/** Hints as they travel between servers: JSON, signed with a key that only servers of one store have. */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Signal } from "./signals.js";

export interface Message {
  /** Who sends it, and where it is reached, so that a new server is known by its first message. */
  readonly from: { readonly id: string; readonly address: string };
  /** By the clock of the database, which all servers share. */
  readonly atMs: number;
  readonly signals: readonly Signal[];
}

/** A copy of an old message would repeat old hints; they are harmless, and cost something. */
const AGE_MAX_MS = 60_000;

/** @param secret of the store. */
export function hintKey(secret: Uint8Array): Buffer {
  return createHmac("sha256", secret).update("hairtrigger hints").digest();
}

export function signatureOf(key: Uint8Array, body: Uint8Array | string): string {
  return createHmac("sha256", key).update(body).digest("hex");
}

/** The message, if it was signed with the key and is fresh. */
export function openMessage(params: {
  readonly key: Uint8Array;
  readonly body: Uint8Array;
  readonly signature: string | undefined;
  readonly nowMs: number;
}): Message | undefined {
  const { key, body, signature = "", nowMs } = params;
  const expected = Buffer.from(signatureOf(key, body));
  const given = Buffer.from(signature);
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const message = messageOf(JSON.parse(Buffer.from(body).toString("utf8")));
  return message === undefined || Math.abs(nowMs - message.atMs) > AGE_MAX_MS ? undefined : message;
}

function messageOf(value: unknown): Message | undefined {
  if (!isRecord(value) || !isRecord(value.from) || !Array.isArray(value.signals)) return undefined;
  const { id, address } = value.from;
  if (typeof id !== "string" || typeof address !== "string" || typeof value.atMs !== "number") return undefined;
  const signals = value.signals.map(signalOf).filter((signal) => signal !== undefined);
  return { from: { id, address }, atMs: value.atMs, signals };
}

/** A kind that this version does not know is left out: a newer server may send it. */
function signalOf(value: unknown): Signal | undefined {
  if (!isRecord(value)) return undefined;
  const { kind, environment, taskId, runId, version, sessionId, fence, reason, connectionEpoch, keyName } = value;
  if (typeof environment !== "string") return undefined;
  switch (kind) {
    case "claimable":
      return typeof taskId === "string" || taskId === undefined ? { kind, environment, taskId } : undefined;
    case "changed":
      return typeof runId === "string" && typeof version === "number"
        ? { kind, environment, runId, version, ...belongingOf(value) }
        : undefined;
    case "cancel":
      return typeof sessionId === "string" &&
        typeof runId === "string" &&
        typeof fence === "number" &&
        typeof reason === "string"
        ? { kind, environment, sessionId, runId, fence, reason }
        : undefined;
    case "lost":
      return typeof sessionId === "string" && typeof runId === "string" && typeof fence === "number"
        ? { kind, environment, sessionId, runId, fence }
        : undefined;
    case "superseded":
      return typeof sessionId === "string" && typeof connectionEpoch === "number"
        ? { kind, environment, sessionId, connectionEpoch }
        : undefined;
    case "keyRevoked":
      return typeof keyName === "string" ? { kind, environment, keyName } : undefined;
    default:
      return undefined;
  }
}

/** What a changed run belongs to. */
function belongingOf({ tags, batchId }: Readonly<Record<string, unknown>>) {
  return {
    ...(Array.isArray(tags) ? { tags: tags.filter((tag) => typeof tag === "string") } : {}),
    ...(typeof batchId === "string" ? { batchId } : {}),
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/** Signals of one key say the same, and the newer one is enough. */
export function signalKey(signal: Signal): string {
  switch (signal.kind) {
    case "claimable":
      return `q/${signal.environment}/${signal.taskId ?? ""}`;
    case "changed":
      return `r/${signal.environment}/${signal.runId}`;
    case "cancel":
    case "lost":
      return `${signal.kind}/${signal.runId}/${signal.fence}`;
    case "superseded":
      return `s/${signal.sessionId}`;
    case "keyRevoked":
      return `k/${signal.keyName}`;
  }
}
