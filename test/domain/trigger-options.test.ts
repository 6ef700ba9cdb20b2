/** What a caller may ask of a run: options, queues, tags, metadata, payloads; and the limits of section 1. */
import test from "ava";
import * as fc from "fast-check";
import type { Violation } from "../../server/domain/error.js";
import { jsonKind } from "../../server/domain/json.js";
import { CENTURY_MS, defaultLimits } from "../../server/domain/limits.js";
import { MAX_DURATION_NONE } from "../../server/domain/max-duration.js";
import { metadataViolation } from "../../server/domain/metadata.js";
import { outputFailure, payloadBytes, payloadViolations } from "../../server/domain/payload.js";
import {
  cleanQueueName,
  concurrencyLimitViolation,
  effectiveLimit,
  orderOf,
  queueLabel,
  queueNameForTask,
  queueNameOf,
} from "../../server/domain/queue.js";
import { checkTags, normaliseTags } from "../../server/domain/tags.js";
import {
  type CheckedOptions,
  checkTriggerOptions,
  type TriggerOptionsInput,
} from "../../server/domain/trigger-options.js";

const NOW = Date.UTC(2025, 5, 15, 12, 0, 0);

function violationsOf(input: TriggerOptionsInput, path?: string): readonly Violation[] {
  const result = checkTriggerOptions(input, defaultLimits, NOW, path);
  return result.ok ? [] : result.violations;
}

function optionsOf(input: TriggerOptionsInput): CheckedOptions | undefined {
  const result = checkTriggerOptions(input, defaultLimits, NOW);
  return result.ok ? result.options : undefined;
}

/** `reason message` of the only violation, or all of them. */
function refusal(input: TriggerOptionsInput): string {
  return violationsOf(input)
    .map(({ reason, message }) => `${reason} ${message}`)
    .join("; ");
}

test("TRG-10: no options are the defaults", (t) => {
  t.deepEqual(optionsOf({}), {
    dueMs: undefined,
    ttl: undefined,
    key: undefined,
    keyTtlMs: 30 * 24 * 3_600_000,
    debounce: undefined,
    queueName: undefined,
    queueLimit: undefined,
    concurrencyKey: undefined,
    maxAttempts: undefined,
    tags: [],
    metadataJson: undefined,
    maxDurationSeconds: undefined,
    prioritySeconds: 0,
  });
});

test("TRG-10: every option comes out as the value in force", (t) => {
  const options = optionsOf({
    delay: "10m",
    ttl: { seconds: 5_400 },
    idempotencyKey: { key: "order-1" },
    idempotencyKeyTtl: "24h",
    queue: { name: "my emails!", concurrencyLimit: 3 },
    concurrencyKey: "tenant-1",
    maxAttempts: 1_000,
    tags: ["a", "a", " ", "b"],
    metadataJson: '{"a":1}',
    maxDurationSeconds: 2,
    prioritySeconds: -1.5,
  });
  t.like(options, {
    dueMs: NOW + 600_000,
    ttl: { ms: 5_400_000, text: "1h30m" },
    key: { text: "order-1", scope: "global" },
    keyTtlMs: 86_400_000,
    queueName: "myemails",
    queueLimit: 3,
    concurrencyKey: "tenant-1",
    maxAttempts: 250,
    metadataJson: '{"a":1}',
    maxDurationSeconds: 5,
    prioritySeconds: -1.5,
  });
  t.deepEqual(options?.tags, ["a", "b"]);
});

test("ERR-1, ERR-2: every violation of a request is reported, with its field, reason and text", (t) => {
  const violations = violationsOf(
    {
      delay: "10",
      ttl: "1.5h",
      idempotencyKey: { key: "k".repeat(2_049) },
      idempotencyKeyTtl: "0s",
      queue: { name: "q".repeat(129), concurrencyLimit: -1 },
      concurrencyKey: "c".repeat(513),
      maxAttempts: 1.5,
      tags: [...Array.from({ length: 10 }, (_, index) => `t${index}`), "x".repeat(129)],
      metadataJson: "[]",
      maxDurationSeconds: 2 ** 31,
      prioritySeconds: Number.NaN,
    },
    "items[3].options",
  );
  const expected: readonly (readonly [string, string, string])[] = [
    ["delay", "INVALID_DELAY", "Invalid delay: 10"],
    ["ttl", "INVALID_TTL", "Invalid ttl: 1.5h"],
    ["idempotencyKey", "INVALID_IDEMPOTENCY_KEY", "idempotencyKey must be 2048 characters or less"],
    ["idempotencyKeyTtl", "INVALID_IDEMPOTENCY_KEY_TTL", "Invalid idempotencyKeyTTL: 0s"],
    ["queue.name", "INVALID_QUEUE_NAME", "Queue name must be 128 characters or less"],
    ["queue.concurrencyLimit", "INVALID_CONCURRENCY_LIMIT", "from 0 to 100000, got -1"],
    ["concurrencyKey", "INVALID_REQUEST", "concurrencyKey must be 512 characters or less"],
    ["maxAttempts", "INVALID_REQUEST", "maxAttempts must be an integer, got 1.5"],
    ["tags", "TOO_MANY_TAGS", "Runs can only have 10 tags, you're trying to set 11."],
    ["tags", "INVALID_TAG", "Tags must be less than 128 characters"],
    ["metadata", "INVALID_METADATA", "Metadata must be a JSON object, got array"],
    ["maxDurationSeconds", "INVALID_REQUEST", "maxDuration must be whole seconds"],
    ["prioritySeconds", "INVALID_REQUEST", "priority must be a finite number of seconds, got NaN"],
  ];
  t.deepEqual(
    violations.map(({ field, reason }) => [field, reason]),
    expected.map(([field, reason]) => [`items[3].options.${field}`, reason]),
  );
  for (const [index, [, , text]] of expected.entries()) {
    t.true(violations[index]?.message.includes(text), text);
    t.truthy(violations[index]?.metadata?.allowed, text);
  }
});

test("IDM-21: a key's ttl without a key is ignored, a malformed one is refused all the same", (t) => {
  t.is(optionsOf({ idempotencyKeyTtl: "1h" })?.key, undefined);
  t.is(refusal({ idempotencyKeyTtl: "1 h" }), "INVALID_IDEMPOTENCY_KEY_TTL Invalid idempotencyKeyTTL: 1 h");
});

test("DLY-4: a delay in the past is no delay", (t) => {
  t.is(optionsOf({ delay: "2024-12-01T00:00:00" })?.dueMs, undefined);
});

test("TTL-7: ttl 0 is kept as none, to override the task's", (t) => {
  t.is(optionsOf({ ttl: "0s" })?.ttl, "none");
  t.is(optionsOf({ ttl: { seconds: 0 } })?.ttl, "none");
});

test("ATT-3: maxAttempts below 1 is 1, above 250 is 250", (t) => {
  t.is(optionsOf({ maxAttempts: -3 })?.maxAttempts, 1);
  t.is(optionsOf({ maxAttempts: 0 })?.maxAttempts, 1);
  t.is(optionsOf({ maxAttempts: 251 })?.maxAttempts, 250);
  t.not(refusal({ maxAttempts: Number.POSITIVE_INFINITY }), "");
});

test("DUR-1: maxDuration 0 is not given; timeout.None is kept, to override the task's", (t) => {
  t.is(optionsOf({ maxDurationSeconds: 0 })?.maxDurationSeconds, undefined);
  t.is(optionsOf({ maxDurationSeconds: 4 })?.maxDurationSeconds, 5);
  t.is(optionsOf({ maxDurationSeconds: MAX_DURATION_NONE })?.maxDurationSeconds, MAX_DURATION_NONE);
});

test("QUE-20: a concurrency key of 512 characters passes, one more is refused, an empty one is none", (t) => {
  t.is(optionsOf({ concurrencyKey: "" })?.concurrencyKey, undefined);
  t.is(optionsOf({ concurrencyKey: "é".repeat(512) })?.concurrencyKey, "é".repeat(512));
  t.is(refusal({ concurrencyKey: "é".repeat(513) }), "INVALID_REQUEST concurrencyKey must be 512 characters or less");
});

test("TRG-10: options are accepted or refused, never thrown over, whatever they hold", (t) => {
  const numbers = fc.oneof(fc.double(), fc.integer());
  const inputs = fc.record(
    {
      delay: fc.oneof(
        fc.string(),
        numbers.map((instantMs) => ({ instantMs })),
        numbers.map((durationMs) => ({ durationMs })),
      ),
      ttl: fc.oneof(
        fc.string(),
        numbers.map((seconds) => ({ seconds })),
      ),
      idempotencyKey: fc.record({ key: fc.string() }),
      idempotencyKeyTtl: fc.string(),
      queue: fc.record({ name: fc.string(), concurrencyLimit: numbers }, { requiredKeys: [] }),
      concurrencyKey: fc.string(),
      maxAttempts: numbers,
      tags: fc.array(fc.string(), { maxLength: 12 }),
      metadataJson: fc.oneof(fc.string(), fc.json()),
      maxDurationSeconds: numbers,
      prioritySeconds: numbers,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(inputs, (input) => {
      const result = checkTriggerOptions(input, defaultLimits, NOW);
      if (!result.ok) {
        t.true(result.violations.length > 0);
        return;
      }
      const { dueMs, maxAttempts, tags, prioritySeconds, maxDurationSeconds } = result.options;
      t.true(dueMs === undefined || (Number.isInteger(dueMs) && dueMs > NOW && dueMs <= NOW + CENTURY_MS));
      t.true(maxAttempts === undefined || (maxAttempts >= 1 && maxAttempts <= 250));
      t.true(maxDurationSeconds === undefined || maxDurationSeconds >= 5);
      t.true(tags.length <= 10 && tags.every((tag) => tag.trim() !== ""));
      t.true(Number.isSafeInteger(orderOf(dueMs ?? NOW, prioritySeconds)));
    }),
  );
});

test("QUE-3: names keep letters, digits, _, - and /; if nothing is left the task's queue is meant", (t) => {
  t.is(cleanQueueName("emails/eu_1-a"), "emails/eu_1-a");
  t.is(cleanQueueName("my queue! (eu).x:y"), "myqueueeuxy");
  t.is(cleanQueueName(" .!? "), undefined);
  t.is(cleanQueueName(""), undefined);
  t.is(cleanQueueName("größe"), "größe");
  t.is(cleanQueueName("gro\u0308ße"), "größe");
  t.is(optionsOf({ queue: { name: "!!" } })?.queueName, undefined);
});

test("QUE-3: the length of a name is counted after cleaning", (t) => {
  const name = "q".repeat(128);
  t.is(optionsOf({ queue: { name: `${name}!!` } })?.queueName, name);
  t.is(refusal({ queue: { name: `${name}q` } }), "INVALID_QUEUE_NAME Queue name must be 128 characters or less");
  t.is(optionsOf({ queue: { name: "𝒬".repeat(128) } })?.queueName, "𝒬".repeat(128));
});

test("QUE-1, QUE-30: a task's queue is shown without task/, and found again by its type", (t) => {
  t.is(queueNameForTask("send-email"), "task/send-email");
  t.deepEqual(queueLabel("task/send-email"), { type: "task", name: "send-email" });
  t.deepEqual(queueLabel("emails"), { type: "custom", name: "emails" });
  for (const name of ["task/a", "a", "a/b", "task"]) {
    t.is(queueNameOf(queueLabel(name)), name);
  }
});

test("QUE-32: an override wins over the base, also with 0; without both there is no limit", (t) => {
  t.is(effectiveLimit({ baseLimit: 5, overrideLimit: undefined }), 5);
  t.is(effectiveLimit({ baseLimit: 5, overrideLimit: 0 }), 0);
  t.is(effectiveLimit({ baseLimit: undefined, overrideLimit: 2 }), 2);
  t.is(effectiveLimit({ baseLimit: undefined, overrideLimit: undefined }), undefined);
});

test("QUE-11, QUE-32: a concurrency limit is an integer from 0 to 100,000", (t) => {
  for (const limit of [0, 1, 100_000]) {
    t.is(concurrencyLimitViolation("limit", limit, defaultLimits), undefined);
  }
  for (const limit of [-1, 1.5, 100_001, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.is(concurrencyLimitViolation("limit", limit, defaultLimits)?.reason, "INVALID_CONCURRENCY_LIMIT");
  }
});

test("QUE-26: priority 10 beats a run queued 9 s earlier and loses to one queued 11 s earlier", (t) => {
  const run = orderOf(NOW, 10);
  t.true(run < orderOf(NOW - 9_000, 0));
  t.true(run > orderOf(NOW - 11_000, 0));
  t.is(run, orderOf(NOW - 10_000, 0));
  t.is(orderOf(NOW, -1), NOW + 1_000);
  t.is(orderOf(NOW, 0.0015), NOW - 1);
  t.is(orderOf(NOW, 1.234), NOW - 1_234);
});

test("QUE-26: any finite priority gives an exact order, and more priority never starts later", (t) => {
  const priority = fc.double({ noNaN: true, noDefaultInfinity: true });
  fc.assert(
    fc.property(priority, priority, fc.integer({ min: 0, max: NOW * 2 }), (a, b, queueTimeMs) => {
      const [orderA, orderB] = [orderOf(queueTimeMs, a), orderOf(queueTimeMs, b)];
      t.true(Number.isSafeInteger(orderA));
      t.true(a <= b ? orderA >= orderB : orderA <= orderB);
    }),
  );
});

test("TAG-1, TAG-4: blank tags are dropped, equal ones merged, the order first set is kept", (t) => {
  t.deepEqual(normaliseTags(["b", "", "a", "  ", "b", "\t\n"]), ["b", "a"]);
});

test("TAG-7: tags are case-sensitive and may hold any character", (t) => {
  t.deepEqual(normaliseTags(["a,b", "A,b", " a", "🙂"]), ["a,b", "A,b", " a", "🙂"]);
});

test("TAG-1: 10 tags of 128 characters pass; an eleventh or a 129th character does not", (t) => {
  const tags = Array.from({ length: 10 }, (_, index) => String(index).padEnd(128, "é"));
  t.deepEqual(checkTags("tags", tags, defaultLimits), { tags, violations: [] });
  const reasons = (given: readonly string[]) =>
    checkTags("tags", given, defaultLimits).violations.map(({ reason }) => reason);
  t.deepEqual(reasons([...tags, "x"]), ["TOO_MANY_TAGS"]);
  t.deepEqual(reasons([...tags, "0".padEnd(128, "é"), " "]), []);
  t.deepEqual(reasons(["é".repeat(129)]), ["INVALID_TAG"]);
});

test("MET-1: metadata is a JSON object and nothing else", (t) => {
  t.is(metadataViolation("metadata", '{"a":[1]}', defaultLimits), undefined);
  t.is(metadataViolation("metadata", " {} ", defaultLimits), undefined);
  for (const text of ["[]", '"a"', "1", "true", "null", "", "{", "{'a':1}", "undefined"]) {
    t.is(metadataViolation("metadata", text, defaultLimits)?.reason, "INVALID_METADATA", text);
  }
});

test("MET-2: 262,144 bytes of metadata pass, one more is refused, counted in UTF-8", (t) => {
  const ofBytes = (bytes: number): string => `{"a":"é${"x".repeat(bytes - 10)}"}`;
  t.is(metadataViolation("metadata", ofBytes(262_144), defaultLimits), undefined);
  const violation = metadataViolation("metadata", ofBytes(262_145), defaultLimits);
  t.is(violation?.reason, "METADATA_TOO_LARGE");
  t.is(violation?.message, "Metadata exceeds maximum size of 262144 bytes");
});

test("PAY-6: counted is the JSON in UTF-8, of a string its own bytes, without annotations", (t) => {
  t.is(payloadBytes({ json: '{"a":"é"}' }), 10);
  t.is(payloadBytes({ json: '"a\\nb"' }), 3);
  t.is(payloadBytes({ json: ' "é"' }), 2);
  t.is(payloadBytes({ json: '"\\ud83d\\ude42"', jsonTypes: '{"a":"Date"}' }), 4);
  t.is(payloadBytes({ json: '"open' }), 5);
  t.is(payloadBytes({ binary: new Uint8Array(7) }), 7);
  t.is(payloadBytes({}), 0);
});

test("PAY-6: exactly the limit passes, one byte more is refused with the size and the way out", (t) => {
  const limits = { payloadBytesMax: 10_485_760 };
  const [fits, over] = ["x".repeat(10_485_760), "x".repeat(10_485_761)].map((text) => ({ json: JSON.stringify(text) }));
  t.deepEqual(payloadViolations("payload", fits ?? {}, limits), []);
  const [violation] = payloadViolations("payload", over ?? {}, limits);
  t.is(violation?.reason, "PAYLOAD_TOO_LARGE");
  t.true(violation?.message.includes("Payload of 10485761 bytes exceeds the limit of 10485760 bytes"));
  t.regex(violation?.message ?? "", /your own storage and pass a URL/);
});

test("PAY-12, PAY-13: annotations are limited too; null is data; malformed JSON is refused", (t) => {
  const limits = { payloadBytesMax: 16 };
  const reasons = (payload: Parameters<typeof payloadViolations>[1]) =>
    payloadViolations("payload", payload, limits).map(({ field, reason }) => `${field} ${reason}`);
  t.deepEqual(reasons({ json: "null", jsonTypes: '{"":"undefined"}' }), []);
  t.deepEqual(reasons({ json: "1", jsonTypes: '{"a":"undefined"}' }), ["payload.jsonTypes PAYLOAD_TOO_LARGE"]);
  t.deepEqual(reasons({ json: "1", jsonTypes: "[]" }), ["payload.jsonTypes INVALID_REQUEST"]);
  t.deepEqual(reasons({ json: "{a:1}" }), ["payload.json INVALID_REQUEST"]);
  t.deepEqual(reasons({ json: "" }), ["payload.json INVALID_REQUEST"]);
  t.deepEqual(reasons({ binary: new Uint8Array(16) }), []);
  t.deepEqual(reasons({ binary: new Uint8Array(17) }), ["payload PAYLOAD_TOO_LARGE"]);
});

test("PAY-7: an output over the limit is TASK_OUTPUT_ERROR", (t) => {
  const limits = { outputBytesMax: 4 };
  t.is(outputFailure({ json: "1234" }, limits), undefined);
  t.like(outputFailure({ json: "12345" }, limits), { kind: "engine", code: "TASK_OUTPUT_ERROR" });
});

test("jsonKind tells what a text is at its top level", (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const kind: string = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
      t.is<string, string>(jsonKind(JSON.stringify(value)), kind);
    }),
  );
});

test("PAY-6, MET-2, TAG-1, IDM-1, QUE-3, QUE-20, QUE-32, ATT-3, RUN-6, RUN-7: limits are those of section 1", (t) => {
  t.like(defaultLimits, {
    payloadBytesMax: 10_485_760,
    outputBytesMax: 104_857_600,
    inlineBytesMax: 524_288,
    batchItemsMax: 500,
    batchPayloadBytesMax: 1_048_576,
    batchIdleMs: 1_800_000,
    metadataBytesMax: 262_144,
    tagsMax: 10,
    tagLengthMax: 128,
    idempotencyKeyLengthMax: 2_048,
    idempotencyKeyTtlMs: 2_592_000_000,
    requestMemoryMs: 86_400_000,
    debounceKeyLengthMax: 512,
    debounceDelayMinMs: 1_000,
    concurrencyKeyLengthMax: 512,
    queueNameLengthMax: 128,
    concurrencyLimitMax: 100_000,
    attemptsMax: 250,
    maxDurationMinSeconds: 5,
    durationMaxMs: 3_153_600_000_000,
    sessionMs: 30_000,
    heartbeatMs: 10_000,
    pickUpMs: 10_000,
    silentMs: 12_000,
    selfFenceMs: 28_000,
    pickUpFailuresMax: 5,
    shortRetryMs: 30_000,
    cancelGraceMs: 30_000,
    stopGraceMs: 25_000,
    interruptionsMax: 20,
    finishedRunsKeptMs: 2_592_000_000,
    pageSizeMax: 100,
    pageSizeDefault: 25,
    bodyBinaryBytesMax: 25_165_824,
    bodyJsonBytesMax: 67_108_864,
    attemptsKept: 10,
    logLinesKept: 200,
    logBytesKept: 16_384,
  });
  t.is(defaultLimits.queueSizeMax, undefined);
  t.is(defaultLimits.ttlMaxMs, undefined);
});
