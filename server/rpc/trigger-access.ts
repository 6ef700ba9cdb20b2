/**
 * What a caller may trigger, and how: the one place for single triggers and for batches (AUT-2…4, AUT-8). A secret key changes nothing; a
 * public token names the tasks, fixes options, keeps its bearer from choosing others, and is answered with a token that reads what it made.
 */
import { clone, create, fromJson, isFieldSet, type JsonValue } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { type TriggerOptions, TriggerOptionsSchema } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import type { Authentication } from "../auth/authenticate.js";
import { requireTrigger, type TriggerAction } from "../auth/authorise.js";
import type { Principal, PublicPrincipal } from "../auth/principal.js";
import { type Scope, scopeText } from "../auth/scopes.js";
import { invalidCredentials, optionNotFixed, secretKeyRequired } from "../domain/error.js";
import { type TokenCaller, tokenCaller } from "../domain/token-caller.js";

export interface TriggerAccess {
  readonly environment: string;
  /** For the engine; undefined: the holder of the secret key. */
  readonly caller: TokenCaller | undefined;
  /** Scopes of the token that let it trigger; empty for the holder of the secret key. */
  readonly scopes: readonly string[];
  /**
   * The options in force for a trigger of this task.
   * @throws AppError SCOPE_MISSING for a task that the token may not trigger and for an option that it may not choose; SECRET_KEY_REQUIRED
   * for a parent: a token does not act for a run.
   */
  allow(trigger: AskedTrigger): TriggerOptions | undefined;
  /** A token that reads what was made, for an hour (TRG-3, AUT-6); empty for the holder of the secret key, who signs it. */
  readToken(scope: Scope): Promise<string>;
}

export interface AskedTrigger {
  readonly taskId: string;
  readonly options?: TriggerOptions | undefined;
  /** Empty or undefined: a root. */
  readonly parentRunId?: string | undefined;
}

/** TRG-3. */
const READ_TOKEN_MS = 3_600_000;

/** Members of the options that only a token's maker may set (AUT-8), as the contract and as callers call them. */
const MAKERS_OWN = [
  ["queue", "queue"],
  ["concurrencyKey", "concurrencyKey"],
  ["prioritySeconds", "priority"],
  ["maxAttempts", "maxAttempts"],
  ["maxDurationSeconds", "maxDuration"],
  ["ttl", "ttl"],
  ["ttlFor", "ttl"],
  ["ttlSeconds", "ttl"],
] as const;

/** What a fixed key brings along, so that nothing of the caller's key is left beside it. */
const OF_KEY: ReadonlySet<string> = new Set(["idempotencyKeyText", "idempotencyKeyScope"]);

export function triggerAccess(
  principal: Principal,
  action: TriggerAction,
  deps: { readonly authentication: Authentication; readonly nowMs: number },
): TriggerAccess {
  const { environment } = principal;
  if (principal.kind === "secret") {
    return { environment, caller: undefined, scopes: [], allow: ({ options }) => options, readToken: async () => "" };
  }
  const fixed = fixedOptions(principal);
  const { keyName } = principal;
  return {
    environment,
    caller: tokenCaller({ ...principal, id: principal.tokenId }),
    scopes: principal.scopes.filter((scope) => scope.action === action).map(scopeText),
    allow({ taskId, options, parentRunId = "" }) {
      requireTrigger(principal, action, taskId);
      if (parentRunId !== "") throw secretKeyRequired("A trigger with parentRunId");
      return optionsInForce(options, fixed);
    },
    readToken: (scope) =>
      deps.authentication.createPublicToken({ keyName, scopes: [scope], expiresAtMs: deps.nowMs + READ_TOKEN_MS }),
  };
}

/** @throws AppError INVALID_CREDENTIALS for options that this server does not know: leaving them out would grant more than was meant. */
function fixedOptions({ options }: PublicPrincipal): TriggerOptions | undefined {
  if (options === undefined) return undefined;
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a claim of a token is JSON
    return fromJson(TriggerOptionsSchema, options as JsonValue, { ignoreUnknownFields: false });
  } catch {
    throw invalidCredentials("The options of the access token cannot be read");
  }
}

function optionsInForce(
  asked: TriggerOptions | undefined,
  fixed: TriggerOptions | undefined,
): TriggerOptions | undefined {
  for (const [name, option] of MAKERS_OWN) {
    if (asked !== undefined && isSet(asked, name) && !isFixed(fixed, option)) throw optionNotFixed(option);
  }
  if (fixed === undefined) return asked;
  const inForce = asked === undefined ? create(TriggerOptionsSchema) : clone(TriggerOptionsSchema, asked);
  const merged = reflect(TriggerOptionsSchema, inForce);
  const own = reflect(TriggerOptionsSchema, fixed);
  const fixesKey = fixed.idempotencyKey !== "";
  for (const field of TriggerOptionsSchema.fields) {
    if (fixesKey && OF_KEY.has(field.localName)) merged.clear(field);
    // Of alternatives the set one takes the place of the others.
    if (own.isSet(field)) merged.set(field, own.get(field));
  }
  return inForce;
}

function isFixed(fixed: TriggerOptions | undefined, option: string): boolean {
  return fixed !== undefined && MAKERS_OWN.some(([name, known]) => known === option && isSet(fixed, name));
}

function isSet(options: TriggerOptions, name: (typeof MAKERS_OWN)[number][0]): boolean {
  return isFieldSet(options, TriggerOptionsSchema.field[name]);
}
