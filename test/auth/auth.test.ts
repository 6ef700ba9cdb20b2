import { createHmac, hkdfSync } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { type Authentication, createAuthentication } from "../../server/auth/authenticate.js";
import { firstStartKey } from "../../server/auth/first-start-key.js";
import { isGranted, parseScope, scopeText } from "../../server/auth/scopes.js";
import { createKeyRing, keyEnvironment, knownKey, newSecretKey } from "../../server/auth/secret-keys.js";

const DEV_KEY = "tr_dev_abcdefghijklmnop0123";
const PROD_KEY = "tr_prod_abcdefghijklmnop0123";
const NOW_MS = Date.UTC(2026, 4, 1, 12);
const NOW = NOW_MS / 1_000;

function authentication(...keys: readonly string[]): Authentication {
  return createAuthentication({
    ring: createKeyRing(keys.length === 0 ? [DEV_KEY, PROD_KEY] : keys),
    nowMs: () => NOW_MS,
    newTokenId: () => "token-1",
  });
}

const CLAIMS = {
  iss: "hairtrigger",
  aud: "hairtrigger",
  sub: "dev",
  pub: true,
  scopes: ["read:runs:run_1"],
  iat: NOW - 60,
  exp: NOW + 60,
  jti: "j1",
};

/** A token made by the letter of AUT-1 with Node's own primitives, not by the code under test. */
function jwt(claims: object, secretKey = DEV_KEY, header: object = {}): string {
  const { keyName } = knownKey(secretKey);
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", kid: keyName, ...header })}.${part(claims)}`;
  const signingKey = Buffer.from(hkdfSync("sha256", secretKey, "", "hairtrigger public token v1", 32));
  return `${signed}.${createHmac("sha256", signingKey).update(signed).digest("base64url")}`;
}

test("AUT-1: a secret key opens its own environment and is named without being given away", async (t) => {
  const principal = await authentication().authenticate(`Bearer ${DEV_KEY}`);
  t.deepEqual(principal, { kind: "secret", environment: "dev", keyName: knownKey(DEV_KEY).keyName });
  t.false(JSON.stringify(principal).includes("abcdefghijklmnop"));
  t.like(await authentication().authenticate(`bearer ${PROD_KEY}`), { environment: "prod" });
});

test("AUT-1: a key ring holds digests and derived keys, never a key", (t) => {
  const ring = createKeyRing([DEV_KEY]);
  const known = ring.find(DEV_KEY);
  t.truthy(known);
  t.false(Buffer.from(known?.signingKey ?? []).includes(DEV_KEY));
  t.false(JSON.stringify(known, (_, value: unknown) => value).includes(DEV_KEY));
  t.is(ring.find(`${DEV_KEY}x`), undefined);
  t.is(ring.find(PROD_KEY), undefined);
});

for (const [what, header] of [
  ["no header", undefined],
  ["an empty header", ""],
  ["another scheme", `Basic ${DEV_KEY}`],
  ["a bare key", DEV_KEY],
  ["an unknown key", "Bearer tr_dev_abcdefghijklmnop9999"],
  ["the key of another environment's name", `Bearer ${DEV_KEY.replace("dev", "staging")}`],
  ["a key with a tail", `Bearer ${DEV_KEY} x`],
  ["nonsense", "Bearer nonsense"],
] as const) {
  test(`AUT-5: ${what} is INVALID_CREDENTIALS`, async (t) => {
    await t.throwsAsync(authentication().authenticate(header), { message: "Missing or invalid credentials" });
  });
}

test("AUT-1: keys have the form tr_<environment>_<random>", (t) => {
  t.is(keyEnvironment("tr_my-env2_0123456789abcdef"), "my-env2");
  for (const bad of [
    "tr_dev_short",
    "tr__0123456789abcdef",
    "tr_Dev_0123456789abcdef",
    "sk_dev_0123456789abcdef",
    "",
  ]) {
    t.is(keyEnvironment(bad), undefined, bad);
    t.false(t.throws(() => knownKey(bad), { instanceOf: RangeError }).message.includes(bad === "" ? "\0" : bad));
  }
  t.is(keyEnvironment(newSecretKey("dev", new Uint8Array(24).fill(255))), "dev");
});

test("AUT-1: a token signed by the letter of the rule is accepted, with its scopes", async (t) => {
  const token = jwt({ ...CLAIMS, scopes: ["read:runs:run_1", "read:tags:a:b", "trigger:tasks", "fly:planes", 7] });
  t.deepEqual(await authentication().authenticate(`Bearer ${token}`), {
    kind: "public",
    environment: "dev",
    tokenId: "j1",
    keyName: knownKey(DEV_KEY).keyName,
    expiresAtMs: NOW_MS + 60_000,
    subject: undefined,
    isOneTime: false,
    options: undefined,
    scopes: [
      { action: "read", resource: "runs", id: "run_1" },
      { action: "read", resource: "tags", id: "a:b" },
      { action: "trigger", resource: "tasks", id: undefined },
    ],
  });
});

test("AUT-1: a token that the server makes passes its own check and no other key's", async (t) => {
  const scopes = [{ action: "write", resource: "runs", id: undefined }] as const;
  const token = await authentication().createPublicToken({
    keyName: knownKey(PROD_KEY).keyName,
    scopes,
    expiresAtMs: NOW_MS + 60_000,
    isOneTime: true,
    subject: "user-1",
    options: { queue: { name: "q" } },
  });
  t.deepEqual(await authentication().authenticate(`Bearer ${token}`), {
    kind: "public",
    environment: "prod",
    tokenId: "token-1",
    keyName: knownKey(PROD_KEY).keyName,
    expiresAtMs: NOW_MS + 60_000,
    subject: "user-1",
    isOneTime: true,
    options: { queue: { name: "q" } },
    scopes,
  });
  await t.throwsAsync(authentication(DEV_KEY).authenticate(`Bearer ${token}`), { message: /invalid credentials/ });
});

test("AUT-5: an expired token is TOKEN_EXPIRED, at its second", async (t) => {
  const expired = jwt({ ...CLAIMS, exp: NOW });
  t.like(await t.throwsAsync(authentication().authenticate(`Bearer ${expired}`)), { reason: "TOKEN_EXPIRED" });
  t.like(await authentication().authenticate(`Bearer ${jwt({ ...CLAIMS, exp: NOW + 1 })}`), { kind: "public" });
});

const [head, body, signature] = jwt(CLAIMS).split(".");
for (const [what, token] of [
  ["alg none", `${Buffer.from('{"alg":"none"}').toString("base64url")}.${body}.`],
  [
    "alg none with our kid",
    `${Buffer.from(JSON.stringify({ alg: "none", kid: knownKey(DEV_KEY).keyName })).toString("base64url")}.${body}.`,
  ],
  ["another algorithm", jwt(CLAIMS, DEV_KEY, { alg: "HS512" })],
  [
    "changed claims",
    `${head}.${Buffer.from(JSON.stringify({ ...CLAIMS, scopes: ["write:runs"] })).toString("base64url")}.${signature}`,
  ],
  ["a changed signature", `${head}.${body}.${signature?.slice(0, -2)}AA`],
  ["no signature", `${head}.${body}.`],
  ["an unknown kid", jwt(CLAIMS, "tr_dev_anotherkeyanotherkey")],
  ["no kid", jwt(CLAIMS, DEV_KEY, { kid: undefined })],
  ["the kid of another key", jwt(CLAIMS, DEV_KEY, { kid: knownKey(PROD_KEY).keyName })],
  ["the environment of another key", jwt({ ...CLAIMS, sub: "prod" })],
  ["another issuer", jwt({ ...CLAIMS, iss: "someone" })],
  ["another audience", jwt({ ...CLAIMS, aud: "someone" })],
  ["no pub claim", jwt({ ...CLAIMS, pub: undefined })],
  ["no expiry", jwt({ ...CLAIMS, exp: undefined })],
  ["no id", jwt({ ...CLAIMS, jti: undefined })],
  ["a use that is no yes or no", jwt({ ...CLAIMS, otu: 1 })],
  ["an empty subject", jwt({ ...CLAIMS, subject: "" })],
  ["a subject that is too long", jwt({ ...CLAIMS, subject: "x".repeat(257) })],
  ["options that are no object", jwt({ ...CLAIMS, options: "queue" })],
] as const) {
  test(`AUT-1: a token with ${what} is INVALID_CREDENTIALS`, async (t) => {
    const error = await t.throwsAsync(authentication().authenticate(`Bearer ${token}`));
    t.like(error, { reason: "INVALID_CREDENTIALS", code: "UNAUTHENTICATED" });
  });
}

test("AUT-2: scopes are read as they are written, and unknown ones grant nothing", (t) => {
  for (const text of [
    "read:runs",
    "read:runs:run_1",
    "read:tasks:a",
    "read:tags:user:1",
    "read:batch:batch_1",
    "write:runs",
    "write:waitpoints:waitpoint_1",
    "trigger:tasks:a",
    "batchTrigger:tasks:a",
  ]) {
    const scope = parseScope(text);
    t.is(scope === undefined ? undefined : scopeText(scope), text);
  }
  for (const text of [
    "",
    "read",
    "read:",
    "read:planes",
    "write:tasks",
    "trigger:runs",
    "read:runs:",
    "toString:runs",
  ]) {
    t.is(parseScope(text), undefined, text);
  }
});

test("AUT-2: a scope for one object does not reach the others; one for all does", (t) => {
  const one = [parseScope("read:runs:run_1") ?? t.fail()].flatMap((scope) => scope || []);
  t.true(isGranted(one, { action: "read", resource: "runs", id: "run_1" }));
  t.false(isGranted(one, { action: "read", resource: "runs", id: "run_2" }));
  t.false(isGranted(one, { action: "read", resource: "runs" }));
  t.false(isGranted(one, { action: "write", resource: "runs", id: "run_1" }));
  const all = [{ action: "read", resource: "runs", id: undefined }] as const;
  t.true(isGranted(all, { action: "read", resource: "runs" }));
  t.true(isGranted(all, { action: "read", resource: "runs", id: "run_2" }));
  t.false(isGranted([], { action: "read", resource: "runs" }));
});

test("AUT-9: a first start makes a key for dev, readable by its owner alone, and later starts keep it", async (t) => {
  const folder = join(await mkdtemp(join(tmpdir(), "hairtrigger-")), "store");
  t.teardown(() => rm(join(folder, ".."), { recursive: true }));
  const random = (length: number): Uint8Array => new Uint8Array(length).fill(7);
  const first = await firstStartKey(folder, random);
  t.true(first.isNew);
  t.is(keyEnvironment(first.secretKey), "dev");
  t.is(first.path, join(folder, "secret-key"));
  t.is((await stat(first.path)).mode & 0o777, 0o600);
  t.is((await readFile(first.path, "utf8")).trim(), first.secretKey);
  t.is(await readFile(join(folder, ".gitignore"), "utf8"), "*\n");

  const second = await firstStartKey(folder, () => {
    throw new Error("a second key is made");
  });
  t.deepEqual(second, { ...first, isNew: false });
});

test("AUT-9: a damaged key file is named, and not overwritten", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "hairtrigger-"));
  t.teardown(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "secret-key"), "damaged\n");
  const error = await t.throwsAsync(firstStartKey(folder, (length) => new Uint8Array(length)));
  t.regex(error?.message ?? "", /secret-key does not hold a secret key/);
  t.is(await readFile(join(folder, "secret-key"), "utf8"), "damaged\n");
});
