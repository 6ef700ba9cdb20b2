/** AuthService: tokens for clients that cannot sign, and secret keys for whoever has the administrator key (AUT-9). */
import { create, toJson } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { type Key, KeyOrigin, KeySchema } from "#proto/hairtrigger/v1/auth_pb.js";
import type { AuthService, CreatePublicTokenRequest } from "#proto/hairtrigger/v1/auth_service_pb.js";
import { TriggerOptionsSchema } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import { TOKEN_LIFE_DEFAULT_MS } from "../auth/authenticate.js";
import { requireSecretKey } from "../auth/authorise.js";
import type { KeyView } from "../auth/keys.js";
import { SUBJECT_LENGTH_MAX } from "../auth/principal.js";
import { parseScope, type Scope } from "../auth/scopes.js";
import { parseDuration } from "../domain/duration.js";
import { rejectIfAny, shown, type Violation } from "../domain/error.js";
import type { Limits } from "../domain/limits.js";
import { isLonger } from "../domain/text.js";
import { checkTriggerOptions } from "../domain/trigger-options.js";
import { assertAdministrator, principalOf } from "./call-scope.js";
import { msOfTimestamp, timestampOf } from "./convert/time.js";
import { decodeOptions } from "./convert/trigger-options.js";
import { pageOf } from "./page-of.js";
import type { ServiceDeps } from "./services.js";

export function createAuthService(deps: ServiceDeps): ServiceImpl<typeof AuthService> {
  const { authentication, keys, clock, limits, pageTokens } = deps;
  return {
    async createPublicToken(request, context) {
      const { keyName } = requireSecretKey(principalOf(context), "CreatePublicToken");
      const violations: Violation[] = [];
      const scopes = scopesOf(request.scopes, violations);
      const nowMs = clock.nowMs();
      const expiresAtMs = expiryOf(request, nowMs, violations);
      const subject = subjectOf(request, violations);
      violations.push(...optionViolations(request, limits, nowMs));
      rejectIfAny(violations);
      const token = await authentication.createPublicToken({
        keyName,
        scopes,
        expiresAtMs,
        isOneTime: request.oneTime,
        subject,
        options: optionsClaim(request),
      });
      return { token, expireTime: timestampOf(Math.floor(expiresAtMs / 1_000) * 1_000) };
    },
    async createKey({ environment, description }, context) {
      assertAdministrator(context);
      const { key, secretKey } = await keys.create({ environment, description });
      return { key: wireKey(key), secretKey };
    },
    async listKeys(request, context) {
      assertAdministrator(context);
      const { environment } = request;
      const all = await keys.list(environment === "" ? undefined : environment);
      const list = { environment, method: "ListKeys" };
      const { items, ...tokens } = pageOf({ all, idOf: ({ name }) => name, request, list, pageTokens, limits });
      return { keys: items.map(wireKey), ...tokens };
    },
    async revokeKey({ keyId }, context) {
      assertAdministrator(context);
      return { key: wireKey(await keys.revoke(keyId)) };
    },
  };
}

const ORIGINS = {
  created: KeyOrigin.CREATED,
  firstStart: KeyOrigin.FIRST_START,
  configured: KeyOrigin.CONFIGURED,
} as const satisfies Readonly<Record<KeyView["origin"], KeyOrigin>>;

function wireKey({ name, environment, description, origin, createdAtMs, revokedAtMs }: KeyView): Key {
  return create(KeySchema, {
    id: name,
    environment,
    description,
    origin: ORIGINS[origin],
    createTime: createdAtMs === undefined ? undefined : timestampOf(createdAtMs),
    revokeTime: revokedAtMs === undefined ? undefined : timestampOf(revokedAtMs),
  });
}

function scopesOf(texts: readonly string[], violations: Violation[]): readonly Scope[] {
  return texts.flatMap((text, index) => {
    const scope = parseScope(text);
    if (scope !== undefined) return [scope];
    const got = shown(text);
    violations.push({
      field: `scopes[${index}]`,
      reason: "INVALID_REQUEST",
      message: `Unknown scope ${got}`,
      metadata: { got },
    });
    return [];
  });
}

/** Unix milliseconds; a malformed or past one is noted. */
function expiryOf({ expiration }: CreatePublicTokenRequest, nowMs: number, violations: Violation[]): number {
  const expiresAtMs = readExpiry(expiration, nowMs);
  if (expiresAtMs !== undefined && expiresAtMs > nowMs) return expiresAtMs;
  const got = expiration.case === "expiresIn" ? shown(expiration.value) : "a time that is not in the future";
  violations.push({
    field: expiration.case ?? "expiration",
    reason: "INVALID_DURATION",
    message: `Invalid expiration: ${got}`,
    metadata: { got, allowed: "a duration such as 1h, or a time in the future" },
  });
  return nowMs;
}

function readExpiry(expiration: CreatePublicTokenRequest["expiration"], nowMs: number): number | undefined {
  switch (expiration.case) {
    case "expiresIn": {
      const ms = parseDuration(expiration.value);
      return ms === undefined ? undefined : nowMs + ms;
    }
    case "expireTime":
      return msOfTimestamp(expiration.value);
    case undefined:
      return nowMs + TOKEN_LIFE_DEFAULT_MS;
  }
}

function subjectOf({ subject }: CreatePublicTokenRequest, violations: Violation[]): string | undefined {
  if (subject === "") return undefined;
  if (!isLonger(subject, SUBJECT_LENGTH_MAX)) return subject;
  const allowed = String(SUBJECT_LENGTH_MAX);
  const message = `subject must be ${allowed} characters or less`;
  violations.push({ field: "subject", reason: "INVALID_REQUEST", message, metadata: { allowed } });
  return undefined;
}

/** A token whose every trigger would be refused is not made. */
function optionViolations({ options }: CreatePublicTokenRequest, limits: Limits, nowMs: number): readonly Violation[] {
  const decoded = decodeOptions(options);
  const checked = checkTriggerOptions(decoded.input, limits, nowMs);
  return [...decoded.violations, ...(checked.ok ? [] : checked.violations)];
}

function optionsClaim({ options }: CreatePublicTokenRequest): Readonly<Record<string, unknown>> | undefined {
  if (options === undefined) return undefined;
  const json = toJson(TriggerOptionsSchema, options);
  return typeof json === "object" && json !== null && !Array.isArray(json) ? json : undefined;
}
