/**
 * Callers with a public token (AUT-3, AUT-8): what they name is theirs alone. A backend and its browsers share tasks, not names: otherwise
 * a guessed idempotency key would show, or block, somebody else's run.
 */
import { createHash } from "node:crypto";

/** Whose trigger it is, and whether the token is used up by it. */
export interface TokenCaller {
  /** Tokens of one subject share their idempotency keys, debounce keys and request ids; they meet nobody else's. */
  readonly subject: string;
  /** Set for a token that triggers once. */
  readonly oneTime: OneTimeUse | undefined;
}

/** The one use of a one-time token. */
export interface OneTimeUse {
  /** Hex SHA-256 that names the token. */
  readonly hash: string;
  /** Unix milliseconds from which no such token is accepted any more, so that its use need not be remembered. */
  readonly forgetAtMs: number;
}

/** Clocks of servers may differ by less than this. */
const FORGET_LATER_MS = 3_600_000;

/**
 * @param token.id `jti`, unique among the tokens of one key.
 * @param token.subject as its maker gave it; undefined: nobody shares anything with this token.
 */
export function tokenCaller(token: {
  readonly environment: string;
  readonly keyName: string;
  readonly id: string;
  readonly subject: string | undefined;
  readonly isOneTime: boolean;
  readonly expiresAtMs: number;
}): TokenCaller {
  const { environment, keyName, id, subject } = token;
  const hash = hashOf(["one-time token", environment, keyName, id]);
  return {
    subject: subject === undefined ? hashOf(["token", keyName, id]) : hashOf(["subject", subject]),
    oneTime: token.isOneTime ? { hash, forgetAtMs: token.expiresAtMs + FORGET_LATER_MS } : undefined,
  };
}

/** The name of a key as this caller means it: idempotency and debounce keys alike. */
export function keyOfCaller(caller: TokenCaller | undefined, key: string): string {
  return caller === undefined ? key : hashOf(["key", caller.subject, key]);
}

/**
 * The verbs that share their memory of requests, as this caller means them. The task is part of it: a token never gets an answer about a
 * task that it may not trigger.
 */
export function familyOfCaller(caller: TokenCaller | undefined, family: string, task: string): string {
  return caller === undefined ? family : JSON.stringify([family, caller.subject, task]);
}

/**
 * The caller of a batch: what it names is for these tasks alone, so that no token is answered with a batch of tasks that it may not trigger.
 */
export function batchCaller(caller: TokenCaller, tasks: readonly string[]): TokenCaller {
  return { ...caller, subject: hashOf(["batch", caller.subject, ...[...new Set(tasks)].toSorted()]) };
}

const UUID_V7 = /^([0-9a-f]{8}-[0-9a-f]{4}-7)[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

/** A request id as this caller means it, with the time of a UUIDv7. */
export function requestOfCaller(caller: TokenCaller | undefined, requestId: string): string {
  if (caller === undefined) return requestId;
  const hash = hashOf(["request", caller.subject, requestId]);
  const time = UUID_V7.exec(requestId)?.[1];
  return time === undefined ? hash : `${time}${hash.slice(0, 3)}-8${hash.slice(3, 6)}-${hash.slice(6, 18)}`;
}

/** JSON of an array keeps its parts apart, whatever they contain. */
function hashOf(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
