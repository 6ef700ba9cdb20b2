/** Waits for a time or a token, and what completes tokens (section 15). */
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type ApiAnswer, ApiPromise } from "./api-promise.js";
import { call } from "./call.js";
import { systemClock } from "./clock.js";
import { callSettings } from "./configuration.js";
import { payloadMessage, payloadValue } from "./convert/payload.js";
import { listedToken, listTokensMessage, retrievedToken, timeoutSpec } from "./convert/token.js";
import { InternalServerError } from "./errors.js";
import { type WaitingFor, WaitingForSchema } from "./gen/hairtrigger/v1/run_pb.js";
import { IdempotencyKeyScope as WireScope } from "./gen/hairtrigger/v1/trigger_options_pb.js";
import type { Token } from "./gen/hairtrigger/v1/waitpoint_pb.js";
import {
  type CreateTimerRequest,
  CreateTimerRequestSchema,
  CreateTokenRequestSchema,
} from "./gen/hairtrigger/v1/waitpoint_service_pb.js";
import type { WaitOutcome } from "./gen/hairtrigger/worker/v1/worker_pb.js";
import type { IdempotencyKey } from "./idempotency-key.js";
import { wireKey } from "./idempotency-keys.js";
import { Page, PagePromise } from "./page.js";
import { isSecretKey, tokenSigner } from "./public-token.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";
import type { UntypedValue } from "./run.js";
import { currentRun, type RunContext } from "./run-context.js";
import {
  type CreatedToken,
  type CreateTokenOptions,
  type ListedToken,
  type ListTokensOptions,
  type RetrievedToken,
  TokenPromise,
  type TokenReference,
  type TokenResult,
  timeoutError,
} from "./token.js";
import { requireRun } from "./trigger-and-wait.js";
import { dateMs, type WaitDuration, waitMs } from "./wait-duration.js";

/** A wait that is remembered by its key. */
export interface WaitKeyOptions {
  /** With the key of a finished wait it returns at once, with that of a running one it waits for its end. Forms as in triggers. */
  readonly idempotencyKey?: string | readonly string[] | IdempotencyKey;
  /** How long the key names the wait, a duration of at least `"1s"`. Default 30 days. */
  readonly idempotencyKeyTTL?: string;
}

/**
 * Waits, inside a task: the run gives up its slot and its place until then. Zero or less returns at once.
 *
 * ```ts
 * await wait.for({ hours: 1.5 });
 * ```
 * @throws TypeError for none or several units, or a number that is not finite; Error outside of a task.
 */
async function waitFor(options: WaitDuration & WaitKeyOptions): Promise<void> {
  const run = requireRun("wait.for");
  const ms = waitMs(options);
  if (ms <= 0) return;
  await waitForTime(run, ["for", String(ms)], options, { case: "for", value: durationFromMs(ms) });
}

export interface WaitUntilOptions extends WaitKeyOptions {
  readonly date: Date;
  /** Throw for a date that is not in the future, instead of returning at once. Default false. */
  readonly throwIfInThePast?: boolean;
}

/**
 * Waits until a date, inside a task. One that is not in the future returns at once.
 * @throws Error `Date is in the past`, if asked to; TypeError for an invalid date; Error outside of a task.
 */
async function waitUntil(options: WaitUntilOptions): Promise<void> {
  const run = requireRun("wait.until");
  const ms = dateMs(options.date);
  if (ms <= run.nowMs()) {
    if (options.throwIfInThePast === true) throw new Error("Date is in the past");
    return;
  }
  await waitForTime(run, ["until", String(ms)], options, { case: "until", value: timestampFromMs(ms) });
}

async function waitForTime(
  run: RunContext,
  identity: readonly string[],
  options: WaitKeyOptions,
  untilSpec: Exclude<CreateTimerRequest["untilSpec"], { readonly case: undefined }>,
): Promise<void> {
  const { idempotencyKey, idempotencyKeyTTL } = options;
  const keyed = idempotencyKey === undefined ? [] : [JSON.stringify(idempotencyKey)];
  await run.wait<void>({
    identity: [...identity, ...keyed],
    async begin({ requestId, lease }) {
      const key = await keyMembers(idempotencyKey, idempotencyKeyTTL, run);
      const timer = await call(
        undefined,
        () => create(CreateTimerRequestSchema, { lease, untilSpec, ...key, requestId }),
        ({ waitpoints }, request, callOptions) => waitpoints.createTimer(request, callOptions),
      );
      if (timer.isOver) return { result: undefined };
      const date = timer.untilTime === undefined ? new Date(Number.NaN) : timestampDate(timer.untilTime);
      return { waitingFor: forWaitpoint(timer.waitpointId), description: { type: "duration", date } };
    },
    finish: () => undefined,
  });
}

function forWaitpoint(id: string): WaitingFor {
  return create(WaitingForSchema, { waitpoint: { case: "waitpointId", value: id } });
}

const WIRE_SCOPES = { run: WireScope.RUN, attempt: WireScope.ATTEMPT, global: WireScope.GLOBAL } as const;

async function keyMembers(
  option: WaitKeyOptions["idempotencyKey"],
  ttl: string | undefined,
  run: RunContext | undefined,
) {
  const key = await wireKey(option, run);
  const idempotencyKeyTtl = ttl ?? "";
  if (key === undefined) return { idempotencyKeyTtl };
  return {
    idempotencyKey: key.key,
    idempotencyKeyText: key.text ?? "",
    idempotencyKeyScope: key.scope === undefined ? WireScope.UNSPECIFIED : WIRE_SCOPES[key.scope],
    idempotencyKeyTtl,
  };
}

// ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Life of the public token of a token (WAI-12). */
const COMPLETION_TOKEN_MS = 24 * 3_600_000;

/**
 * Makes a token that somebody else completes: from anywhere, inside a task or not.
 * @throws BadRequestError INVALID_DURATION, INVALID_IDEMPOTENCY_KEY, INVALID_IDEMPOTENCY_KEY_TTL, TOO_MANY_TAGS, INVALID_TAG.
 */
function createToken(options: CreateTokenOptions = {}, requestOptions?: RequestOptions): ApiPromise<CreatedToken> {
  return new ApiPromise(createdToken(options, requestOptions));
}

async function createdToken(
  options: CreateTokenOptions,
  requestOptions: RequestOptions | undefined,
): Promise<ApiAnswer<CreatedToken>> {
  const { timeout, idempotencyKey, idempotencyKeyTTL, tags = [] } = options;
  const requestId = newRequestId(systemClock);
  const { data, response } = await call(
    requestOptions,
    async () =>
      create(CreateTokenRequestSchema, {
        timeoutSpec: timeoutSpec(timeout),
        ...(await keyMembers(idempotencyKey, idempotencyKeyTTL, currentRun())),
        tags: typeof tags === "string" ? [tags] : [...tags],
        requestId,
      }),
    ({ waitpoints }, request, callOptions) => waitpoints.createToken(request, callOptions),
  ).withResponse();
  const { id, url } = present(data.token);
  const publicAccessToken = await completionToken(requestOptions, id, requestId);
  return { data: { id, url, isCached: data.isCached, publicAccessToken }, response };
}

async function completionToken(
  requestOptions: RequestOptions | undefined,
  id: string,
  tokenId: string,
): Promise<string> {
  const { accessToken } = callSettings(requestOptions);
  if (!isSecretKey(accessToken)) return "";
  const issuedAtMs = systemClock.nowMs();
  const signer = await tokenSigner(accessToken);
  const scopes = [`write:waitpoints:${id}`];
  return signer.sign({ scopes, issuedAtMs, expiresAtMs: issuedAtMs + COMPLETION_TOKEN_MS, tokenId });
}

/**
 * Completes a token: whoever waits for it gets the data. The first completion counts; another one, or one after the timeout, has no effect.
 * @throws TypeError naming the path if the data cannot be serialised; NotFoundError WAITPOINT_NOT_FOUND.
 */
function completeToken(
  token: TokenReference,
  data?: unknown,
  requestOptions?: RequestOptions,
): ApiPromise<{ readonly success: true }> {
  return call(
    requestOptions,
    () => ({ tokenId: idOf(token), data: payloadMessage(data, "data"), requestId: newRequestId(systemClock) }),
    async ({ waitpoints }, request, options) => {
      await waitpoints.completeToken(request, options);
      return { success: true } as const;
    },
  );
}

/**
 * Waits for a token, inside a task. On one that is completed or timed out it returns at once; waiting again gives the same.
 *
 * ```ts
 * const approval = await wait.forToken<{ approved: boolean }>(token).unwrap();
 * ```
 * @throws NotFoundError WAITPOINT_NOT_FOUND; Error outside of a task.
 */
function forToken<T = UntypedValue>(token: TokenReference): TokenPromise<T> {
  return new TokenPromise<T>(tokenResult(token));
}

async function tokenResult(token: TokenReference): Promise<TokenResult> {
  const run = requireRun("wait.forToken");
  const id = idOf(token);
  return run.wait<TokenResult>({
    identity: ["token", id],
    async begin() {
      const known = await retrieveToken(id);
      if (known.status !== "WAITING") return { result: resultOf(known) };
      return { waitingFor: forWaitpoint(id), description: { type: "token", id } };
    },
    finish: async (outcome) => outcomeResult(outcome) ?? resultOf(await retrieveToken(id)),
  });
}

/** Undefined: it has to be asked for. */
function outcomeResult(outcome: WaitOutcome | undefined): TokenResult | undefined {
  if (outcome?.outcome.case !== "token") return undefined;
  const { isTimedOut, timeoutTime, output } = outcome.outcome.value;
  if (!isTimedOut) return { ok: true, output: payloadValue(output) };
  return timeoutTime === undefined ? undefined : { ok: false, error: timeoutError(timestampDate(timeoutTime)) };
}

function resultOf({ status, output, error, timeoutAt }: RetrievedToken<UntypedValue>): TokenResult {
  return status === "COMPLETED" ? { ok: true, output } : { ok: false, error: error ?? timeoutError(timeoutAt) };
}

/** @throws NotFoundError WAITPOINT_NOT_FOUND. */
function retrieveToken<T = UntypedValue>(
  token: TokenReference,
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedToken<T>> {
  return call(
    requestOptions,
    () => ({ tokenId: idOf(token) }),
    async ({ waitpoints }, request, options): Promise<RetrievedToken<UntypedValue>> =>
      retrievedToken(present((await waitpoints.retrieveToken(request, options)).token)),
  );
}

/**
 * Lists tokens, newest first, without what they were completed with.
 * @throws BadRequestError INVALID_STATUS, without a request; INVALID_PAGE, INVALID_DURATION.
 */
function listTokens(options: ListTokensOptions = {}, requestOptions?: RequestOptions): PagePromise<ListedToken> {
  return new PagePromise(listPage(options, requestOptions));
}

async function listPage(
  options: ListTokensOptions,
  requestOptions: RequestOptions | undefined,
): Promise<ApiAnswer<Page<ListedToken>>> {
  const { data, response } = await call(
    requestOptions,
    () => listTokensMessage(options),
    ({ waitpoints }, request, callOptions) => waitpoints.listTokens(request, callOptions),
  ).withResponse();
  const { tokens, nextPageToken, previousPageToken } = data;
  const { after: _after, before: _before, ...filter } = options;
  const pagination = {
    ...(nextPageToken === "" ? {} : { next: nextPageToken }),
    ...(previousPageToken === "" ? {} : { previous: previousPageToken }),
  };
  const turn = (cursor: { readonly after: string } | { readonly before: string }): PagePromise<ListedToken> =>
    listTokens({ ...filter, ...cursor }, requestOptions);
  return { data: new Page(tokens.map(listedToken), pagination, turn), response };
}

function idOf(token: TokenReference): string {
  return typeof token === "string" ? token : token.id;
}

/** @throws InternalServerError for an answer without token. */
function present(token: Token | undefined): Token {
  if (token !== undefined) return token;
  throw new InternalServerError({ code: "internal", message: "The answer has no token" });
}

/** Waits inside a task, and tokens that end them. */
export const wait = {
  for: waitFor,
  until: waitUntil,
  forToken,
  createToken,
  completeToken,
  retrieveToken,
  listTokens,
} as const;
