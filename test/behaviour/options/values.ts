/** One grammar for every duration (section 7); tags, metadata and payloads as they are kept (10.1, 16, 17). */
import { fromBinary } from "@bufbuild/protobuf";
import test from "ava";
import { RunSpecSchema } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, startApi, timeMs } from "../../support/api.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test("DUR-G1, DUR-G2, DUR-G3, DUR-G8: delay, ttl and idempotencyKeyTTL share one grammar", async (t) => {
  const api = await startApi(t);
  const accepted: readonly (readonly [text: string, ms: number])[] = [
    ["18s1h", HOUR + 18 * SECOND],
    ["1w", 7 * DAY],
    ["1d", DAY],
    ["2hr", 2 * HOUR],
    ["36500d", 36_500 * DAY],
    ["007m", 7 * MINUTE],
  ];
  for (const [text, ms] of accepted) {
    const options = { delay: text, ttl: text, idempotencyKey: `k ${text}`, idempotencyKeyTtl: text };
    const run = await api.run(await api.triggered("work", options));
    t.is(timeMs(run.delayedUntilTime), api.nowMs() + ms, text);
    t.is(run.ttl, text);
  }
  const long = `1h${"0".repeat(97)}1m`;
  t.is(long.length, 101);
  for (const text of [
    "1h2h",
    "1h1hr",
    "1H",
    "1 h",
    "+1h",
    "1.5h",
    "5ms",
    "3mo",
    "1y",
    "h",
    "1",
    "36501d",
    "9".repeat(99),
    long,
  ]) {
    const options = { delay: text, ttl: text, idempotencyKey: "k", idempotencyKeyTtl: text };
    const refused = await refusal(api.trigger("work", { options }));
    t.deepEqual(
      refused.violations.map(({ reason }) => reason).toSorted(),
      ["INVALID_DELAY", "INVALID_IDEMPOTENCY_KEY_TTL", "INVALID_TTL"],
      text,
    );
  }
  t.is(await api.count(), accepted.length);
});

test("TAG-1, TAG-4, TAG-7: tags are kept unique, in the order first set, whatever their characters; blank ones are dropped", async (t) => {
  const api = await startApi(t);
  const tags = ["b", " ", "a,c", "b", "", "B", "ü".repeat(128)];
  t.deepEqual((await api.run(await api.triggered("work", { tags }))).tags, ["b", "a,c", "B", "ü".repeat(128)]);
  const ten = Array.from({ length: 10 }, (_, index) => `t${index}`);
  t.deepEqual((await api.run(await api.triggered("work", { tags: [...ten, "t3", ""] }))).tags, ten);
});

test("TAG-2, TAG-3: tags are added to a live run, all or none, never beyond 10, and not to a final one", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { tags: ["a", "b"] });
  t.deepEqual((await api.runs.addRunTags({ runId, tags: ["b", "c"] })).tags, ["a", "b", "c"]);
  const many = Array.from({ length: 8 }, (_, index) => `t${index}`);
  const refused = await refusal(api.runs.addRunTags({ runId, tags: many }));
  t.is(refused.reason, "TOO_MANY_TAGS");
  t.true(refused.message.includes("Runs can only have 10 tags, you're trying to set 11."));
  t.deepEqual((await api.run(runId)).tags, ["a", "b", "c"]);
  await api.runs.cancelRun({ runId });
  const final = await refusal(api.runs.addRunTags({ runId, tags: ["d"] }));
  t.is(final.reason, "RUN_FINAL");
  t.true(final.message.includes("for a completed run"));
});

test("MET-1, MET-2: metadata is kept as triggered, up to its limit and as an object only", async (t) => {
  const api = await startApi(t);
  const padding = "x".repeat(262_144 - '{"a":""}'.length);
  const largest = JSON.stringify({ a: padding });
  t.is((await api.run(await api.triggered("work", { metadataJson: largest }))).metadataJson, largest);
  const over = await refusal(api.trigger("work", { options: { metadataJson: JSON.stringify({ a: `${padding}x` }) } }));
  t.is(over.code, "RESOURCE_EXHAUSTED");
  t.is(over.reason, "METADATA_TOO_LARGE");
  t.true(over.message.includes("Metadata exceeds maximum size of 262144 bytes"));
  for (const metadataJson of ["[]", '"text"', "null", "1", "{", "nonsense"]) {
    t.is((await refusal(api.trigger("work", { options: { metadataJson } }))).reason, "INVALID_METADATA", metadataJson);
  }
  t.is(await api.count(), 1);
});

test("PAY-13, PAY-1: null, undefined and every JSON value reach the worker as they were sent", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 10 });
  const payloads: readonly { readonly json?: string; readonly jsonTypes?: string }[] = [
    {},
    { json: "null" },
    { json: '"text"' },
    { json: '{"a":[1,2,{"b":null}]}' },
    { json: '"2026-01-01T00:00:00.000Z"', jsonTypes: '{"":"date"}' },
  ];
  for (const { json, jsonTypes } of payloads) {
    await api.trigger("work", json === undefined ? {} : { payload: { json, jsonTypes: jsonTypes ?? "" } });
    const { spec } = await worker.begin();
    const sent = fromBinary(RunSpecSchema, spec).payload;
    t.deepEqual([sent?.data.case, sent?.data.value], json === undefined ? [undefined, undefined] : ["json", json]);
    t.is(sent?.jsonTypes ?? "", jsonTypes ?? "");
  }
});
