/** What a trigger's options and keys become on the wire, and what is refused before anything is sent. */
import { createHash } from "node:crypto";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { BadRequestError, idempotencyKeys, type ListRunsOptions, type TriggerOptions, timeout } from "@hairtrigger/sdk";
import test from "ava";
import { DebounceMode, IdempotencyKeyScope } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import { listRunsMessage } from "#sdk/convert/run-filter.js";
import { triggerOptionsMessage } from "#sdk/convert/trigger-options.js";
import { expirationMs, parseDuration } from "#sdk/duration.js";
import { wireKey } from "#sdk/idempotency-keys.js";
import { newRequestId } from "#sdk/request-id.js";
import { currentRun, enterRun } from "#sdk/run-context.js";
import { RUN_ID, runContext } from "./run-fixture.js";

const sha256 = (parts: unknown): string => createHash("sha256").update(JSON.stringify(parts)).digest("hex");

/** Options as JavaScript callers may give them. */
async function wireOf(options: object) {
  const message = await triggerOptionsMessage(options, undefined);
  if (message === undefined) throw new Error("no options were sent");
  return message;
}

test("DLY-1: a delay travels as written, a Date as an instant", async (t) => {
  t.deepEqual((await wireOf({ delay: "1h52m18s" })).delaySpec, { case: "delay", value: "1h52m18s" });
  t.deepEqual((await wireOf({ delay: "2024-12-01T00:00:00" })).delaySpec, {
    case: "delay",
    value: "2024-12-01T00:00:00",
  });
  const { delaySpec } = await wireOf({ delay: new Date("2030-01-01T01:00:00.250+01:00") });
  t.is(delaySpec.case === "delayUntil" ? timestampDate(delaySpec.value).toISOString() : "", "2030-01-01T00:00:00.250Z");
});

test("DLY-5: an invalid Date travels as its text, for the server to refuse", async (t) => {
  t.deepEqual((await wireOf({ delay: new Date("nonsense") })).delaySpec, { case: "delay", value: "Invalid Date" });
});

test("TTL-1, TTL-2: a ttl is a duration or seconds; a Date is sent as text, which the server refuses", async (t) => {
  t.deepEqual((await wireOf({ ttl: "1h" })).ttlSpec, { case: "ttl", value: "1h" });
  t.deepEqual((await wireOf({ ttl: 0 })).ttlSpec, { case: "ttlSeconds", value: 0 });
  t.deepEqual((await wireOf({ ttl: 1.5 })).ttlSpec, { case: "ttlSeconds", value: 1.5 });
  t.is((await wireOf({ ttl: new Date(0) })).ttlSpec.case, "ttl");
});

test("QUE-11, QUE-12: a queue is a name, a name with a limit, or a declared queue", async (t) => {
  const sent = async (queue: unknown) => {
    const { name, concurrencyLimit } = (await wireOf({ queue })).queue ?? {};
    return { name, concurrencyLimit };
  };
  t.deepEqual(await sent("emails"), { name: "emails", concurrencyLimit: undefined });
  t.deepEqual(await sent({ name: "emails", concurrencyLimit: 0 }), { name: "emails", concurrencyLimit: 0 });
  t.deepEqual(await sent({ name: { name: "emails" } }), { name: "emails", concurrencyLimit: undefined });
  t.deepEqual(await sent({ concurrencyLimit: 2 }), { name: "", concurrencyLimit: 2 });
});

test("QUE-20, TAG-1: numbers become keys, a lone string is one tag", async (t) => {
  t.is((await wireOf({ concurrencyKey: 42 })).concurrencyKey, "42");
  t.is((await wireOf({ concurrencyKey: "" })).concurrencyKey, "");
  t.deepEqual((await wireOf({ tags: "a,b" })).tags, ["a,b"]);
  t.deepEqual((await wireOf({ tags: ["a", " ", "a"] })).tags, ["a", " ", "a"]);
});

test("DUR-1: a maxDuration of 0, null or undefined is not given; timeout.None is the largest", async (t) => {
  for (const maxDuration of [0, null, undefined])
    t.is((await wireOf({ maxDuration, ttl: 1 })).maxDurationSeconds, undefined);
  t.is((await wireOf({ maxDuration: timeout.None })).maxDurationSeconds, 2_147_483_647);
  t.is((await wireOf({ maxDuration: 1 })).maxDurationSeconds, 1, "raised by the server");
});

test("ATT-1: attempts out of range travel and are cut by the server; no integer is refused", async (t) => {
  t.is((await wireOf({ maxAttempts: -3 })).maxAttempts, -3);
  t.is((await wireOf({ maxAttempts: 1e12 })).maxAttempts, 2_147_483_647);
  const error = await t.throwsAsync(wireOf({ maxAttempts: 1.5 }), { instanceOf: BadRequestError });
  t.is(error.reason, "INVALID_REQUEST");
  t.regex(error.message, /maxAttempts/);
});

test("MET-1: metadata is sent as JSON: dates as ISO strings, without undefined members", async (t) => {
  const { metadataSpec } = await wireOf({ metadata: { at: new Date(0), gone: undefined } });
  t.deepEqual(metadataSpec, { case: "metadataJson", value: '{"at":"1970-01-01T00:00:00.000Z"}' });
  const error = await t.throwsAsync(wireOf({ metadata: () => 1 }), { instanceOf: BadRequestError });
  t.is(error.reason, "INVALID_METADATA");
});

test("CFG-6: unknown option keys are not sent", async (t) => {
  const misspelt: TriggerOptions = Object.assign({ ttl: 1 }, { maxAttemps: 7, debouce: { key: "k", delay: "1s" } });
  t.deepEqual(await wireOf(misspelt), await wireOf({ ttl: 1 }));
});

test("CFG-6: a value of a type that an option never has throws a TypeError naming the option", async (t) => {
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ tags: 5 }, /tags/],
    [{ tags: ["a", 5] }, /tags/],
    [{ queue: 5 }, /queue/],
    [{ concurrencyKey: {} }, /concurrencyKey/],
    [{ priority: "high" }, /priority/],
    [{ idempotencyKeyTTL: 60 }, /idempotencyKeyTTL/],
    [{ idempotencyKey: 5 }, /idempotencyKey/],
    [{ idempotencyKey: {} }, /idempotencyKey/],
  ];
  for (const [options, message] of cases) await t.throwsAsync(wireOf(options), { instanceOf: TypeError, message });
});

test("IDM-2: the hash is that of the JSON of material, run and attempt", async (t) => {
  const inRun = <T>(attempt: number, fn: () => T): T => enterRun(runContext({ attempt }), fn);
  const hashOf = async (attempt: number, material: string | string[], scope?: "run" | "attempt" | "global") =>
    String(await inRun(attempt, () => idempotencyKeys.create(material, { scope })));
  t.is(await hashOf(1, "order-1", "global"), sha256(["order-1"]));
  t.is(await hashOf(2, "order-1"), sha256(["order-1", RUN_ID]));
  t.is(await hashOf(2, "order-1", "attempt"), sha256(["order-1", RUN_ID, 2]));
  t.is(await hashOf(1, ["a", "b"], "global"), sha256([["a", "b"]]));
  // Fixed values: keys must be the same in every process, language and version.
  t.is(await hashOf(1, "order-1", "global"), "2f0427f3c479d57238a796881b10f6c35f5af271a2933dbd7483b73e25e7e7b8");
  const three = new Set([await hashOf(1, ["a", "b"]), await hashOf(1, "a-b"), await hashOf(1, ["a-b"])]);
  t.is(three.size, 3);
});

test("IDM-3, IDM-4: run keys last over attempts, attempt keys do not, and outside a task all scopes are one", async (t) => {
  const make = (attempt: number, scope: "run" | "attempt") =>
    enterRun(runContext({ attempt }), () => idempotencyKeys.create("k", { scope }));
  t.is(String(await make(1, "run")), String(await make(2, "run")));
  t.not(String(await make(1, "attempt")), String(await make(2, "attempt")));
  const outside = await Promise.all(
    (["run", "attempt", "global"] as const).map((scope) => idempotencyKeys.create("k", { scope })),
  );
  t.deepEqual([...new Set(outside.map(String))], [sha256(["k"])]);
});

test("IDM-1: a created key is immutable, and its text and its JSON are the hash", async (t) => {
  const key = await idempotencyKeys.create(["order", "1"]);
  const hash = sha256([["order", "1"]]);
  t.regex(hash, /^[0-9a-f]{64}$/);
  t.is(String(key), hash);
  t.is(["key", key].join(" "), `key ${hash}`);
  t.is(JSON.stringify({ key }), JSON.stringify({ key: hash }));
  t.true(Object.isFrozen(key));
});

test("IDM-5, IDM-8: raw material means create(): within the run inside a task, global outside", async (t) => {
  t.deepEqual(await wireKey("order-1", undefined), { key: "order-1", text: undefined, scope: undefined });
  t.deepEqual(await wireKey(["a", "b"], undefined), { key: sha256([["a", "b"]]), text: "a-b", scope: "global" });
  const inside = await enterRun(runContext(), () => wireKey("order-1", currentRun()));
  t.deepEqual(inside, { key: sha256(["order-1", RUN_ID]), text: "order-1", scope: "run" });
  const { idempotencyKeyScope, idempotencyKeyText } = await enterRun(runContext(), async () =>
    wireOf({ idempotencyKey: await idempotencyKeys.create("k", { scope: "attempt" }) }),
  );
  t.is(idempotencyKeyScope, IdempotencyKeyScope.ATTEMPT);
  t.is(idempotencyKeyText, "k");
});

test("IDM-6: 64 lower-case hex characters are a finished hash everywhere, other 64 characters are material", async (t) => {
  const hash = sha256(["x"]);
  t.deepEqual(await enterRun(runContext(), () => wireKey(hash, currentRun())), {
    key: hash,
    text: undefined,
    scope: undefined,
  });
  const upper = hash.toUpperCase();
  t.is((await enterRun(runContext(), () => wireKey(upper, currentRun())))?.key, sha256([upper, RUN_ID]));
});

test("IDM-7: an empty string, array or created key is no key", async (t) => {
  for (const empty of ["", [], undefined, await idempotencyKeys.create(""), await idempotencyKeys.create([])]) {
    t.is(await wireKey(empty, undefined), undefined);
    t.is(await enterRun(runContext(), () => wireKey(empty, currentRun())), undefined);
  }
});

test("IDM-1: material of 2,048 characters is legal, one more is refused", async (t) => {
  await t.notThrowsAsync(idempotencyKeys.create("😀".repeat(2_048)));
  await t.notThrowsAsync(idempotencyKeys.create(["a".repeat(2_000), "b".repeat(48)]));
  const error = await t.throwsAsync(idempotencyKeys.create(["a".repeat(2_000), "b".repeat(49)]), {
    instanceOf: BadRequestError,
  });
  t.is(error.message, "idempotencyKey must be 2048 characters or less");
  t.is(error.reason, "INVALID_IDEMPOTENCY_KEY");
});

test("IDM-29: a reset outside a task names the option that its scope lacks, without a request", async (t) => {
  const nowhere = { clientConfig: { accessToken: "tr_dev_0123456789abcdef", baseURL: "http://127.0.0.1:1" } };
  const reset = (options: Parameters<typeof idempotencyKeys.reset>[2]) =>
    idempotencyKeys.reset("task", "k", options, nowhere);
  await t.throwsAsync(reset({ scope: "run" }), { message: /parentRunId/ });
  await t.throwsAsync(reset({ scope: "attempt", parentRunId: RUN_ID }), { message: /attemptNumber/ });
});

test("DUR-G7: a token's end is a duration from now, Unix seconds, or a Date", (t) => {
  t.is(expirationMs("24hr", 1_000), 86_401_000);
  t.is(expirationMs(60, 1_000), 60_000);
  t.is(expirationMs(new Date(5), 1_000), 5);
  for (const bad of ["1", "", "1h2h", "101w100000000000s", new Date("x"), Number.NaN]) {
    const error = t.throws(() => expirationMs(bad, 0), { instanceOf: BadRequestError });
    t.is(error.reason, "INVALID_DURATION");
  }
});

test("DUR-G1, DUR-G2: groups in any order, no unit twice, nothing else", (t) => {
  t.is(parseDuration("1h52m18s"), 6_738_000);
  t.is(parseDuration("18s1h"), 3_618_000);
  t.is(parseDuration("1w"), 604_800_000);
  for (const bad of ["1h2hr", "1 h", "-1h", "1.5h", "5ms", "H", "1y", `${"1".repeat(101)}s`])
    t.is(parseDuration(bad), undefined, bad);
});

test("RUN-20: an unknown status in a list is refused without a request", (t) => {
  const statuses: string[] = ["COMPLETED", "DONE", "LOST"];
  const error = t.throws(() => listRunsMessage(Object.assign<ListRunsOptions, object>({}, { status: statuses })), {
    instanceOf: BadRequestError,
  });
  t.is(error.message, "Invalid status values: DONE, LOST");
  t.is(error.reason, "INVALID_STATUS");
});

test("RUN-17, DUR-G5: filters take one or many, queues by full name or by type", (t) => {
  const { filter } = listRunsMessage({
    status: "FAILED",
    taskIdentifier: ["a", "b"],
    queue: ["emails", { type: "task", name: "a" }, { type: "custom", name: "b" }],
    period: 60_000,
    from: 5,
    isTest: false,
  });
  t.is(filter?.statuses.length, 1);
  t.deepEqual(filter?.taskIds, ["a", "b"]);
  t.deepEqual(filter?.queues, ["emails", "task/a", "b"]);
  t.like(filter?.periodSpec, { case: "periodFor", value: { seconds: 60n, nanos: 0 } });
  t.deepEqual(listRunsMessage({ period: "7d" }).filter?.periodSpec, { case: "period", value: "7d" });
  t.is(
    t.throws(() => listRunsMessage({ period: Number.NaN }), { instanceOf: BadRequestError }).reason,
    "INVALID_DURATION",
  );
  t.is(filter?.fromTime?.nanos, 5_000_000);
  t.false(filter?.isTest);
  const error = t.throws(() => listRunsMessage({ limit: 1.5 }), { instanceOf: BadRequestError });
  t.is(error.reason, "INVALID_PAGE");
});

test("REQ-1: request ids are UUIDv7 of their millisecond", (t) => {
  const ids = Array.from({ length: 1_000 }, (_, index) =>
    newRequestId({
      nowMs: () => 0x018f_0000_0000 + index,
      randomBytes: (length) => new Uint8Array(length).fill(index % 256),
    }),
  );
  for (const id of ids) t.regex(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  t.is(ids[1]?.slice(0, 13), "018f0000-0001");
  t.deepEqual(ids.toSorted(), ids);
});

test("DEB-1, DEB-6: debounce travels as given; an unknown mode is refused in the server's form", async (t) => {
  const { debounce } = await wireOf({ debounce: { key: "k", delay: "5s", mode: "trailing", maxDelay: "1m" } });
  t.like(debounce, { key: "k", delay: "5s", mode: DebounceMode.TRAILING, maxDelay: "1m" });
  const { debounce: plain } = await wireOf({ debounce: { key: "k", delay: "5s" } });
  t.like(plain, { mode: DebounceMode.LEADING, maxDelay: undefined });
  const refused = await t.throwsAsync(wireOf({ debounce: { key: "k", delay: "5s", mode: "middle" } }), {
    instanceOf: BadRequestError,
  });
  t.true(refused?.message.startsWith("debounce.mode"));
  await t.throwsAsync(wireOf({ debounce: "5s" }), { instanceOf: TypeError });
});
