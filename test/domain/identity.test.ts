/** What names a thing: ids, idempotency keys; and the refusals, which name what is wrong. */
import { createHash } from "node:crypto";
import test from "ava";
import * as fc from "fast-check";
import {
  AppError,
  appError,
  idempotencyKeyNotFound,
  isAppError,
  queueFull,
  queueNotFound,
  queueNotOverridden,
  REASONS,
  type Reason,
  rejectIfAny,
  runFinal,
  runNotDelayed,
  runNotFound,
  shown,
  storeUnavailable,
  type Violation,
} from "../../server/domain/error.js";
import {
  checkIdempotencyKey,
  isFinishedHash,
  isWindowOpen,
  keepsKey,
  keyRecordHash,
  parseKeyTtl,
  wireKeyHash,
} from "../../server/domain/idempotency.js";
import { batchRunId, decodeId, derivedId, encodeId, idTimeMs, isId, newId, queueId } from "../../server/domain/ids.js";
import { defaultLimits } from "../../server/domain/limits.js";
import { RUN_STATUSES } from "../../server/domain/run-status.js";
import { codePoints, cut, isLonger, utf8Bytes } from "../../server/domain/text.js";

const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });
const bytes10 = fc.uint8Array({ minLength: 10, maxLength: 10 });
const times = fc.integer({ min: 0, max: 2 ** 48 - 1 });

test("ids read back as the bytes they were made of, and are 26 characters of the alphabet", (t) => {
  fc.assert(
    fc.property(bytes16, (bytes) => {
      const id = encodeId("run", bytes);
      t.regex(id, /^run_[0-7][0-9a-hjkmnp-tv-z]{25}$/);
      t.deepEqual(decodeId("run", id), bytes);
    }),
  );
  t.is(encodeId("run", new Uint8Array(16)), `run_${"0".repeat(26)}`);
  t.is(encodeId("batch", new Uint8Array(16).fill(255)), `batch_7${"z".repeat(25)}`);
});

test("ids sort as text like their bytes, and so by time", (t) => {
  fc.assert(
    fc.property(bytes16, bytes16, (a, b) => {
      const [textA, textB] = [encodeId("run", a), encodeId("run", b)];
      const order = Math.sign(Buffer.compare(a, b));
      t.is(textA < textB ? -1 : textA > textB ? 1 : 0, order);
    }),
  );
  fc.assert(
    fc.property(times, times, bytes10, bytes10, (timeA, timeB, a, b) => {
      fc.pre(timeA < timeB);
      t.true(newId("run", timeA, a) < newId("run", timeB, b));
    }),
  );
});

test("ids tell the time they were made at", (t) => {
  fc.assert(
    fc.property(times, bytes10, (timeMs, random) => {
      t.is(idTimeMs(newId("waitpoint", timeMs, random)), timeMs);
    }),
  );
  t.is(idTimeMs("run_short"), undefined);
  t.is(idTimeMs(`other_${"0".repeat(26)}`), undefined);
});

test("a text with one wrong character is no id", (t) => {
  const id = encodeId("run", new Uint8Array(16).fill(7));
  const wrong = [
    "",
    "run_",
    id.slice(0, -1),
    `${id}0`,
    id.toUpperCase(),
    id.replace("run_", "batch_"),
    id.replace("run_", "run-"),
    `run_8${"0".repeat(25)}`,
    `run_${"0".repeat(25)}u`,
    `run_${"0".repeat(25)}l`,
    `run_${"0".repeat(25)}é`,
    `run_${"0".repeat(25)}A`,
    ` ${id}`,
  ];
  for (const text of wrong) {
    t.is(decodeId("run", text), undefined, JSON.stringify(text));
    t.false(isId("run", text));
  }
  t.true(isId("run", id));
  fc.assert(
    fc.property(fc.string({ minLength: 26, maxLength: 26 }), (text) => {
      const bytes = decodeId("run", `run_${text}`);
      t.true(bytes === undefined || encodeId("run", bytes) === `run_${text}`);
    }),
  );
});

test("ids are not made of the wrong number of bytes or of an impossible time", (t) => {
  t.throws(() => encodeId("run", new Uint8Array(15)), { instanceOf: RangeError });
  t.throws(() => newId("run", 0, new Uint8Array(16)), { instanceOf: RangeError });
  t.throws(() => newId("run", -1, new Uint8Array(10)), { instanceOf: RangeError });
  t.throws(() => newId("run", 2 ** 48, new Uint8Array(10)), { instanceOf: RangeError });
  t.throws(() => newId("run", 0.5, new Uint8Array(10)), { instanceOf: RangeError });
});

test("REQ-1: one request id gives one id; another environment, verb, id or index another", (t) => {
  const id = derivedId("run", "dev", "trigger", "r-1");
  t.is(derivedId("run", "dev", "trigger", "r-1", 0), id);
  const others = [
    derivedId("run", "prod", "trigger", "r-1"),
    derivedId("run", "dev", "replay", "r-1"),
    derivedId("run", "dev", "trigger", "r-2"),
    derivedId("run", "dev", "trigger", "r-1", 1),
    derivedId("run", "devt", "rigger", "r-1"),
  ];
  t.is(new Set([id, ...others]).size, 6);
});

test("REQ-1: the id of a UUIDv7 request carries its time, that of any other text none of it", (t) => {
  const timeMs = 0x0197_73f5_1234;
  const uuid = "019773f5-1234-7abc-8def-0123456789ab";
  t.is(idTimeMs(derivedId("run", "dev", "trigger", uuid)), timeMs);
  t.is(idTimeMs(derivedId("run", "dev", "trigger", uuid.toUpperCase())), timeMs);
  t.not(idTimeMs(derivedId("run", "dev", "trigger", uuid.replace("-7", "-4"))), timeMs);
  t.not(idTimeMs(derivedId("run", "dev", "trigger", `${uuid} `)), timeMs);
  t.not(
    derivedId("run", "dev", "trigger", uuid),
    derivedId("run", "dev", "trigger", "019773f5-1234-7abc-8def-0123456789ac"),
  );
});

test("QUE-33: a queue's id follows from environment and name", (t) => {
  t.is(queueId("dev", "task/a"), queueId("dev", "task/a"));
  t.not(queueId("dev", "task/a"), queueId("prod", "task/a"));
  t.not(queueId("dev", "task/a"), queueId("dev", "task/b"));
  t.true(isId("queue", queueId("dev", "x")));
});

const sha256 = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex");

test("IDM-2, IDM-5: material without a scope is hashed as [material]", (t) => {
  t.is(wireKeyHash("order-1"), sha256('["order-1"]'));
  t.is(wireKeyHash('a"b'), sha256('["a\\"b"]'));
  t.is(wireKeyHash("ключ"), sha256('["ключ"]'));
});

test("IDM-6: 64 lower-case hex characters are a finished hash, anything else is material", (t) => {
  const hash = sha256("x");
  t.is(wireKeyHash(hash), hash);
  for (const material of [hash.toUpperCase(), hash.slice(1), `${hash}0`, "g".repeat(64), `${hash}\n`]) {
    t.false(isFinishedHash(material));
    t.is(wireKeyHash(material), sha256(JSON.stringify([material])));
  }
});

test("IDM-9: kind, environment, task and key are all part of a key, and never run into each other", (t) => {
  t.is(keyRecordHash("run", "dev", "a", "k"), sha256('["run","dev","a","k"]'));
  const part = fc.string({ maxLength: 4 });
  fc.assert(
    fc.property(fc.tuple(part, part, part), fc.tuple(part, part, part), (a, b) => {
      const isSame = a[0] === b[0] && a[1] === b[1] && a[2] === b[2];
      t.is(keyRecordHash("run", ...a) === keyRecordHash("run", ...b), isSame);
      t.not(keyRecordHash("run", ...a), keyRecordHash("wait", ...a));
    }),
  );
});

function checkedKey(input: Parameters<typeof checkIdempotencyKey>[0]) {
  const violations: Violation[] = [];
  const key = checkIdempotencyKey(input, "options.idempotencyKey", defaultLimits, violations);
  return { key, violations };
}

test("IDM-7: an empty string is no key", (t) => {
  t.deepEqual(checkedKey({ key: "" }), { key: undefined, violations: [] });
  t.deepEqual(checkedKey(undefined), { key: undefined, violations: [] });
});

test("IDM-8: the user's string and scope stay with the key; a bare hash is shown as itself, without scope", (t) => {
  const hash = sha256("x");
  t.deepEqual(checkedKey({ key: hash, scope: "run", userKey: "a-b" }).key, { hash, text: "a-b", scope: "run" });
  t.deepEqual(checkedKey({ key: hash }).key, { hash, text: hash, scope: undefined });
  t.deepEqual(checkedKey({ key: "a" }).key, { hash: sha256('["a"]'), text: "a", scope: "global" });
});

test("IDM-1: a key of 2,048 characters passes, one more is refused, counted in code points", (t) => {
  for (const character of ["a", "é", "🙂"]) {
    t.deepEqual(checkedKey({ key: character.repeat(2_048) }).violations, []);
    const [violation] = checkedKey({ key: character.repeat(2_049) }).violations;
    t.is(violation?.reason, "INVALID_IDEMPOTENCY_KEY");
    t.is(violation?.message, "idempotencyKey must be 2048 characters or less");
    t.is(violation?.field, "options.idempotencyKey");
  }
});

test("IDM-3: material of a narrower scope is refused, since only its caller can hash it", (t) => {
  for (const scope of ["run", "attempt"] as const) {
    const { key, violations } = checkedKey({ key: "material", scope });
    t.is(key, undefined);
    t.is(violations[0]?.reason, "INVALID_IDEMPOTENCY_KEY");
  }
  t.deepEqual(checkedKey({ key: "material", scope: "global" }).violations, []);
});

test("IDM-19, IDM-20: a key holds until its window ends, and not at the instant it ends", (t) => {
  t.true(isWindowOpen(1_000, 999));
  t.false(isWindowOpen(1_000, 1_000));
  t.false(isWindowOpen(1_000, 1_001));
});

test("DUR-G4: a key's window is at least a second", (t) => {
  t.is(parseKeyTtl("1s"), 1_000);
  t.is(parseKeyTtl("1h30m"), 5_400_000);
  t.is(parseKeyTtl("0s"), undefined);
  t.is(parseKeyTtl("60"), undefined);
  t.is(parseKeyTtl("36501d"), undefined);
});

test("IDM-24, IDM-25: live, completed and cancelled runs keep their key, failed and expired ones lose it", (t) => {
  const keeping = RUN_STATUSES.filter(keepsKey);
  t.deepEqual(keeping, ["DELAYED", "QUEUED", "EXECUTING", "WAITING", "COMPLETED", "CANCELED"]);
});

/** Section 21, row by row; a reason that changes its code breaks callers. */
const CATALOGUE: Readonly<Partial<Record<Reason, string>>> = {
  INVALID_IDEMPOTENCY_KEY: "INVALID_ARGUMENT",
  INVALID_IDEMPOTENCY_KEY_TTL: "INVALID_ARGUMENT",
  INVALID_DELAY: "INVALID_ARGUMENT",
  INVALID_TTL: "INVALID_ARGUMENT",
  INVALID_DURATION: "INVALID_ARGUMENT",
  INVALID_DEBOUNCE: "INVALID_ARGUMENT",
  TOO_MANY_TAGS: "INVALID_ARGUMENT",
  INVALID_TAG: "INVALID_ARGUMENT",
  INVALID_METADATA: "INVALID_ARGUMENT",
  INVALID_QUEUE_NAME: "INVALID_ARGUMENT",
  INVALID_CONCURRENCY_LIMIT: "INVALID_ARGUMENT",
  BATCH_TOO_LARGE: "INVALID_ARGUMENT",
  BATCH_EMPTY: "INVALID_ARGUMENT",
  BATCH_CHUNK_OUT_OF_ORDER: "INVALID_ARGUMENT",
  INVALID_STATUS: "INVALID_ARGUMENT",
  INVALID_PAGE: "INVALID_ARGUMENT",
  INVALID_REQUEST: "INVALID_ARGUMENT",
  PAYLOAD_TOO_LARGE: "RESOURCE_EXHAUSTED",
  MESSAGE_TOO_LARGE: "RESOURCE_EXHAUSTED",
  BATCH_PAYLOAD_TOO_LARGE: "RESOURCE_EXHAUSTED",
  METADATA_TOO_LARGE: "RESOURCE_EXHAUSTED",
  QUEUE_FULL: "RESOURCE_EXHAUSTED",
  RATE_LIMITED: "RESOURCE_EXHAUSTED",
  PARENT_RUN_FINAL: "FAILED_PRECONDITION",
  RUN_NOT_DELAYED: "FAILED_PRECONDITION",
  RUN_FINAL: "FAILED_PRECONDITION",
  QUEUE_NOT_OVERRIDDEN: "FAILED_PRECONDITION",
  BATCH_SEALED: "FAILED_PRECONDITION",
  TOKEN_ALREADY_USED: "FAILED_PRECONDITION",
  STALE_LEASE: "FAILED_PRECONDITION",
  UNSUPPORTED_CLIENT: "FAILED_PRECONDITION",
  RUN_NOT_FOUND: "NOT_FOUND",
  BATCH_NOT_FOUND: "NOT_FOUND",
  QUEUE_NOT_FOUND: "NOT_FOUND",
  WAITPOINT_NOT_FOUND: "NOT_FOUND",
  IDEMPOTENCY_KEY_NOT_FOUND: "NOT_FOUND",
  INVALID_CREDENTIALS: "UNAUTHENTICATED",
  TOKEN_EXPIRED: "UNAUTHENTICATED",
  SCOPE_MISSING: "PERMISSION_DENIED",
  SECRET_KEY_REQUIRED: "PERMISSION_DENIED",
  CREATE_RACE_LOST: "ABORTED",
  PAYLOAD_STORE_UNAVAILABLE: "UNAVAILABLE",
  STORE_UNAVAILABLE: "UNAVAILABLE",
};

test("ERR-2: every reason of the catalogue has its code", (t) => {
  const codes = Object.fromEntries(Object.entries(REASONS).map(([reason, { code }]) => [reason, code]));
  t.like(codes, CATALOGUE);
});

test("ERR-2: refusals keep the texts of the catalogue", (t) => {
  t.is(runNotFound("run_x").message, "Run run_x not found");
  t.is(queueNotFound("x").message, "Queue x not found");
  t.is(idempotencyKeyNotFound("k", "t").message, "No runs found with idempotency key: k and task: t");
  t.is(runNotDelayed("run_x", "QUEUED").message, "Cannot reschedule a run that is not delayed");
  t.is(runFinal("run_x", "metadata", "FAILED").message, "Cannot update metadata for a completed run");
  t.is(queueNotOverridden("x").message, "Queue is not overridden");
  t.is(
    queueFull("t", 5).message,
    "Cannot trigger t as the queue size limit for this environment has been reached. The maximum size is 5",
  );
});

test("ERR-1: a full queue and an unavailable store say when to come again, a malformed request does not", (t) => {
  t.is(queueFull("t", 5).retryAfterMs, 1_000);
  t.is(storeUnavailable().retryAfterMs, 1_000);
  t.is(storeUnavailable(new Error("disk"), 5_000).retryAfterMs, 5_000);
  t.is(appError("INVALID_DELAY", "Invalid delay: x").retryAfterMs, undefined);
});

test("ERR-1: a request with several violations is refused for the first and names all", (t) => {
  const violations: readonly Violation[] = [
    { field: "options.ttl", reason: "INVALID_TTL", message: "Invalid ttl: x", metadata: { got: "x" } },
    { field: "options.tags", reason: "TOO_MANY_TAGS", message: "too many" },
  ];
  const error = t.throws(() => rejectIfAny(violations), { instanceOf: AppError });
  t.true(isAppError(error));
  t.is(error?.message, "Invalid ttl: x");
  t.like(error, { code: "INVALID_ARGUMENT", reason: "INVALID_TTL", metadata: { got: "x" }, violations });
  t.notThrows(() => rejectIfAny([]));
});

test("the cause of a refusal stays with it for the log", (t) => {
  const cause = new Error("SQLITE_FULL");
  t.is(storeUnavailable(cause).cause, cause);
  t.false("cause" in storeUnavailable());
});

test("a refusal repeats at most 100 characters of what was sent", (t) => {
  t.is(shown("a".repeat(100)), "a".repeat(100));
  t.is(shown("a".repeat(101)), `${"a".repeat(100)}…`);
  t.is(shown("🙂".repeat(100)), "🙂".repeat(100));
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 400 }), (text) => {
      t.true(codePoints(shown(text)) <= 101);
    }),
  );
});

test("lengths are code points, sizes are bytes of UTF-8", (t) => {
  t.is(codePoints("a🙂é"), 3);
  t.is(utf8Bytes("a🙂é"), 7);
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), fc.nat(40), (text, max) => {
      const points = Array.from(text);
      t.is(codePoints(text), points.length);
      t.is(isLonger(text, max), points.length > max);
      t.is(cut(text, max), points.slice(0, max).join(""));
      t.is(utf8Bytes(text), new TextEncoder().encode(text).length);
    }),
  );
});

test("REQ-1, BAT-7: runs of a batch have ids of their own, the same again for the same request, in the order of the items", (t) => {
  for (const request of ["0198c2a1-0000-7000-8000-000000000001", "any text"]) {
    const idsOf = () => Array.from({ length: 600 }, (_, index) => batchRunId("dev", request, index));
    const ids = idsOf();
    t.is(new Set(ids).size, 600);
    t.deepEqual(ids.toSorted(), ids);
    t.deepEqual(idsOf(), ids);
    t.not(batchRunId("prod", request, 0), ids[0]);
  }
  t.is(idTimeMs(batchRunId("dev", "0198c2a1-0000-7000-8000-000000000001", 7)), 0x0198c2a10000);
});
