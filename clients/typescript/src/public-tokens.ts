/** Makes public tokens and runs code with them (section 20.1). They are signed here, with the secret key: making one needs no request. */
import { toJson } from "@bufbuild/protobuf";
import { platform } from "#platform";
import { systemClock } from "./clock.js";
import { callSettings, withAuth } from "./configuration.js";
import { triggerOptionsMessage } from "./convert/trigger-options.js";
import { expirationMs } from "./duration.js";
import { TriggerOptionsSchema } from "./gen/hairtrigger/v1/trigger_options_pb.js";
import { isSecretKey, type TokenClaims, tokenSigner } from "./public-token.js";
import { newRequestId } from "./request-id.js";
import type { TriggerOptions } from "./trigger-options.js";

/** Life of a token whose maker says nothing (section 20.1). */
const TOKEN_MS = 15 * 60_000;

/** One id, several, or `true` for all. */
export type ScopeIds = true | string | readonly string[];

/** What a token allows (AUT-2); what is not named is refused. */
export interface PublicTokenScopes {
  /** `tasks`, `tags` and `batch` mean the runs of that task, tag or batch. */
  readonly read?: {
    readonly runs?: ScopeIds;
    readonly tasks?: ScopeIds;
    readonly tags?: ScopeIds;
    readonly batch?: ScopeIds;
  };
  readonly write?: {
    /** Cancel these runs. */
    readonly runs?: ScopeIds;
    /** Complete these wait tokens. */
    readonly waitpoints?: ScopeIds;
  };
  readonly trigger?: { readonly tasks: string | readonly string[] };
  readonly batchTrigger?: { readonly tasks: string | readonly string[] };
}

export interface PublicTokenOptions {
  /** Default: none, and the token allows nothing. */
  readonly scopes?: PublicTokenScopes;
  /** A duration string such as `"1h"`, Unix seconds, or a `Date` (DUR-G7). Default 15 minutes. */
  readonly expirationTime?: string | number | Date;
}

export interface TriggerTokenOptions {
  /** The token triggers any number of times. Default `false`: once. */
  readonly multipleUse?: boolean;
  /** As for {@link PublicTokenOptions}. Default 15 minutes. */
  readonly expirationTime?: string | number | Date;
  /**
   * Whose token it is, 1 to 256 characters: idempotency keys, debounce keys and request ids that are sent with it meet those of the same
   * subject and no others (AUT-8). Default: the token's own.
   */
  readonly subject?: string;
  /**
   * Options of every trigger with this token; they win over its bearer's. Queue, concurrency key, priority, `maxAttempts`, `maxDuration`
   * and `ttl` can be set only here.
   */
  readonly options?: TriggerOptions;
}

/**
 * A public token, for browsers and others who must not have the secret key. Makes no request.
 *
 * ```ts
 * const token = await auth.createPublicToken({ scopes: { read: { runs: run.id } }, expirationTime: "1h" });
 * ```
 * @throws BadRequestError INVALID_DURATION; Error without a secret key, or in a browser.
 */
export async function createPublicToken(options: PublicTokenOptions = {}): Promise<string> {
  return sign({ scopes: scopeTexts(options.scopes) }, options.expirationTime);
}

/**
 * A token that triggers these tasks, once unless `multipleUse`. Its bearer calls `tasks.trigger` with it.
 * @throws as {@link createPublicToken}.
 */
export async function createTriggerPublicToken(
  task: string | readonly string[],
  options: TriggerTokenOptions = {},
): Promise<string> {
  return triggerToken(scopeTexts({ trigger: { tasks: task } }), options);
}

/**
 * A token that triggers batches of these tasks, one batch unless `multipleUse`.
 * @throws as {@link createPublicToken}.
 */
export async function createBatchTriggerPublicToken(
  task: string | readonly string[],
  options: TriggerTokenOptions = {},
): Promise<string> {
  return triggerToken(scopeTexts({ batchTrigger: { tasks: task } }), options);
}

/**
 * Makes such a token and runs `fn` with it, for its whole asynchronous call tree (CFG-3).
 * @throws as {@link createPublicToken}; what `fn` throws.
 */
export async function withPublicToken<R>(options: PublicTokenOptions, fn: () => R | Promise<R>): Promise<R> {
  return withAuth({ accessToken: await createPublicToken(options) }, fn);
}

/** As {@link withPublicToken}, with a token of {@link createTriggerPublicToken}. */
export async function withTriggerPublicToken<R>(
  task: string | readonly string[],
  options: TriggerTokenOptions,
  fn: () => R | Promise<R>,
): Promise<R> {
  return withAuth({ accessToken: await createTriggerPublicToken(task, options) }, fn);
}

/** As {@link withPublicToken}, with a token of {@link createBatchTriggerPublicToken}. */
export async function withBatchTriggerPublicToken<R>(
  task: string | readonly string[],
  options: TriggerTokenOptions,
  fn: () => R | Promise<R>,
): Promise<R> {
  return withAuth({ accessToken: await createBatchTriggerPublicToken(task, options) }, fn);
}

async function triggerToken(
  scopes: readonly string[],
  { multipleUse = false, expirationTime, subject, options }: TriggerTokenOptions,
): Promise<string> {
  const message = await triggerOptionsMessage(options, undefined);
  return sign(
    {
      scopes,
      isOneTime: !multipleUse,
      ...(subject === undefined ? {} : { subject: subjectOf(subject) }),
      ...(message === undefined ? {} : { options: toJson(TriggerOptionsSchema, message) }),
    },
    expirationTime,
  );
}

function subjectOf(subject: unknown): string {
  if (typeof subject === "string" && subject !== "" && Array.from(subject).length <= 256) return subject;
  throw new TypeError("The subject of a token is a text of 1 to 256 characters");
}

async function sign(
  claims: Pick<TokenClaims, "scopes" | "isOneTime" | "subject" | "options">,
  expirationTime: string | number | Date | undefined,
): Promise<string> {
  const secretKey = signingCredential();
  const issuedAtMs = systemClock.nowMs();
  const expiresAtMs = expirationTime === undefined ? issuedAtMs + TOKEN_MS : expirationMs(expirationTime, issuedAtMs);
  const signer = await tokenSigner(secretKey);
  return signer.sign({ ...claims, issuedAtMs, expiresAtMs, tokenId: newRequestId(systemClock) });
}

function signingCredential(): string {
  if (platform.name === "browser") {
    throw new Error(
      "Public tokens are made on a server, where the secret key is: in a browser everybody could read it. Ask your backend for a token",
    );
  }
  const { accessToken } = callSettings();
  if (!isSecretKey(accessToken)) {
    throw new Error("A public token is signed with a secret key (tr_…), and the access token in force is none");
  }
  return accessToken;
}

/** `read:runs:<id>` and the like (AUT-2). */
function scopeTexts(scopes: PublicTokenScopes = {}): readonly string[] {
  return Object.entries(scopes).flatMap(
    ([action, resources]: [string, Readonly<Record<string, ScopeIds | undefined>>]) =>
      Object.entries(resources).flatMap(([resource, ids]) => {
        if (ids === undefined) return [];
        if (ids === true) return [`${action}:${resource}`];
        return [ids].flat().map((id) => {
          if (typeof id !== "string" || id === "")
            throw new TypeError(`Scope ${action}:${resource} needs ids that are texts`);
          return `${action}:${resource}:${id}`;
        });
      }),
  );
}
