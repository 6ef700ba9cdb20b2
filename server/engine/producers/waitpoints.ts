/**
 * Tokens that outsiders complete, and instants that runs wait for (section 15). Both are waitpoints: who waits for one is found by its id,
 * and woken by the one write that ends it (`wakes.ts`).
 */
import { type DelayInput, parseDelay } from "../../domain/delay.js";
import { appError, rejectIfAny, shown, staleLease, type Violation } from "../../domain/error.js";
import {
  checkIdempotencyKey,
  type IdempotencyKeyInput,
  keyRecordHash,
  keyTtlViolation,
  parseKeyTtl,
} from "../../domain/idempotency.js";
import { derivedId, newId } from "../../domain/ids.js";
import type { Lease } from "../../domain/lease.js";
import { type PayloadInput, payloadViolations } from "../../domain/payload.js";
import type { RunKey } from "../../domain/run.js";
import { isLegal, placeOf } from "../../domain/run-machine.js";
import { checkTags } from "../../domain/tags.js";
import { type Waitpoint, waitTimeViolation } from "../../domain/waitpoint.js";
import type { TokenPage, TokenQuery } from "../../store/store.js";
import type { EngineDeps } from "../engine.js";
import { requestMark } from "./request.js";

export interface CreateTokenParams {
  readonly environment: string;
  /** Undefined: the default of WAI-6. */
  readonly timeout: DelayInput | undefined;
  readonly key: IdempotencyKeyInput | undefined;
  readonly keyTtl: string | undefined;
  readonly tags: readonly string[];
  readonly requestId: string | undefined;
}

export interface CreateTimerParams {
  readonly environment: string;
  /** Of the run that is about to wait. */
  readonly lease: Lease;
  readonly until: DelayInput;
  readonly key: IdempotencyKeyInput | undefined;
  readonly keyTtl: string | undefined;
  readonly requestId: string | undefined;
}

export interface CreatedWaitpoint {
  readonly waitpoint: Waitpoint;
  readonly isCached: boolean;
}

/** Tokens and instants share a memory of requests, as they share keys (WAI-3). */
const FAMILY = "waitpoint";

export function createWaitpoints(deps: EngineDeps) {
  const { store, clock, limits } = deps;

  async function createToken(params: CreateTokenParams): Promise<CreatedWaitpoint> {
    const nowMs = clock.nowMs();
    const { tags, violations: tagViolations } = checkTags("tags", params.tags, limits);
    const violations: Violation[] = [...tagViolations];
    const timeoutAtMs =
      params.timeout === undefined
        ? nowMs + limits.tokenTimeoutMs
        : instantOf("timeout", params.timeout, nowMs, violations);
    const key = keyOf(params, { nowMs, ttlMs: limits.tokenKeyTtlMs }, violations);
    rejectIfAny(violations);
    return insert(params, { kind: "token", timeoutAtMs: timeoutAtMs ?? nowMs, key, tags, nowMs });
  }

  async function createTimer(params: CreateTimerParams): Promise<CreatedWaitpoint> {
    const nowMs = clock.nowMs();
    const violations: Violation[] = [];
    const untilMs = instantOf("until", params.until, nowMs, violations);
    const key = keyOf(params, { nowMs, ttlMs: limits.idempotencyKeyTtlMs }, violations);
    rejectIfAny(violations);
    const { runId, fence } = params.lease;
    const [run] = await store.readRuns([{ environment: params.environment, runId }]);
    if (run?.fence !== fence || !isLegal("wait", placeOf(run))) throw staleLease(runId);
    return insert(params, { kind: "time", timeoutAtMs: untilMs ?? nowMs, key, tags: [], nowMs });
  }

  async function insert(
    { environment, requestId }: { readonly environment: string; readonly requestId: string | undefined },
    made: Pick<Waitpoint, "kind" | "timeoutAtMs" | "key" | "tags"> & { readonly nowMs: number },
  ): Promise<CreatedWaitpoint> {
    const { kind, timeoutAtMs, key, tags, nowMs } = made;
    const id =
      requestId === undefined
        ? newId("waitpoint", nowMs, deps.entropy.bytes(10))
        : derivedId("waitpoint", environment, FAMILY, requestId);
    const request = requestMark({ environment, family: FAMILY, requestId, nowMs }, limits);
    const waitpoint: Waitpoint = {
      environment,
      id,
      kind,
      status: "WAITING",
      createdAtMs: nowMs,
      timeoutAtMs,
      completedAtMs: undefined,
      output: undefined,
      key,
      tags,
    };
    const [result] = await store.insertWaitpoints([{ waitpoint, request, nowMs }]);
    if (result === undefined) throw new Error("the store answered fewer items than it was asked");
    if (result.kind === "created") deps.nudge("timeout", timeoutAtMs);
    return { waitpoint: asOf(result.waitpoint, nowMs), isCached: result.kind === "cached" };
  }

  /** @param output encoded hairtrigger.v1.Payload; undefined: the value `undefined`. @param payload the same, as the domain counts it. */
  async function completeToken(params: {
    readonly environment: string;
    readonly tokenId: string;
    readonly output: Uint8Array | undefined;
    readonly payload: PayloadInput;
  }): Promise<void> {
    const { environment, tokenId: waitpointId, output } = params;
    rejectIfAny(payloadViolations("data", params.payload, limits));
    await requireToken(environment, waitpointId);
    const end = { kind: "complete", output, nowMs: clock.nowMs() } as const;
    const [result] = await store.endWaitpoints([{ environment, waitpointId, end }]);
    if (result?.isApplied === true && result.waitpoint !== undefined) deps.wakes.over(result.waitpoint);
  }

  async function requireToken(environment: string, waitpointId: string): Promise<Waitpoint> {
    const [waitpoint] = await store.readWaitpoints([{ environment, waitpointId }]);
    if (waitpoint?.kind !== "token") throw waitpointNotFound(waitpointId);
    return asOf(waitpoint, clock.nowMs());
  }

  return {
    createToken,
    createTimer,
    completeToken,
    retrieveToken: requireToken,
    listTokens: (query: TokenQuery): Promise<TokenPage> => {
      const { limit } = query;
      if (Number.isInteger(limit) && limit >= 1 && limit <= limits.pageSizeMax) return store.listTokens(query);
      throw appError("INVALID_PAGE", `A page has 1 to ${limits.pageSizeMax} tokens, got ${limit}`, {
        metadata: { got: String(limit), allowed: `1 to ${limits.pageSizeMax}` },
      });
    },
  };

  /** Undefined, and noted: malformed or too far ahead. Past instants are no mistake: they are over at once. */
  function instantOf(field: string, value: DelayInput, nowMs: number, violations: Violation[]): number | undefined {
    const parsed = parseDelay(value, nowMs, limits.durationMaxMs);
    if (parsed.ok) return parsed.dueMs ?? nowMs;
    const got =
      typeof value === "string" ? value : "durationMs" in value ? `${value.durationMs / 1_000}s` : "an instant";
    violations.push(waitTimeViolation(field, got));
    return undefined;
  }

  function keyOf(
    params: Pick<CreateTokenParams, "environment" | "key" | "keyTtl">,
    { nowMs, ttlMs }: { readonly nowMs: number; readonly ttlMs: number },
    violations: Violation[],
  ): RunKey | undefined {
    const { keyTtl } = params;
    const lifeMs = keyTtl === undefined ? ttlMs : parseKeyTtl(keyTtl, limits.durationMaxMs);
    if (lifeMs === undefined) violations.push(keyTtlViolation("idempotencyKeyTtl", keyTtl ?? ""));
    const key = checkIdempotencyKey(params.key, "idempotencyKey", limits, violations);
    if (key === undefined) return undefined;
    return {
      recordHash: keyRecordHash("wait", params.environment, "", key.hash),
      text: key.text,
      scope: key.scope,
      expiresAtMs: nowMs + (lifeMs ?? ttlMs),
    };
  }
}

/** From its instant on a waitpoint is over, whether or not the clock's duty has been by. */
function asOf(waitpoint: Waitpoint, nowMs: number): Waitpoint {
  if (waitpoint.status !== "WAITING" || waitpoint.timeoutAtMs > nowMs) return waitpoint;
  return {
    ...waitpoint,
    status: waitpoint.kind === "time" ? "COMPLETED" : "TIMED_OUT",
    completedAtMs: waitpoint.timeoutAtMs,
  };
}

export function waitpointNotFound(id: string) {
  return appError("WAITPOINT_NOT_FOUND", `Waitpoint token ${shown(id)} not found`, { metadata: { id: shown(id) } });
}
