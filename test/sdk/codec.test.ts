/** Values and failures on their way: what is sent is what arrives. */
import test from "ava";
import fc from "fast-check";
import { failureOf, runError, thrownOf } from "#sdk/convert/failure.js";
import { decodeValue, encodeValue } from "#sdk/payload-codec.js";

const roundTrip = (value: unknown): unknown => decodeValue(encodeValue(value, "payload"));

/** A value as a tree of tagged texts, so that what deepEqual of any library thinks of URLs or −0 does not matter. */
function described(value: unknown): unknown {
  if (typeof value === "number") return Object.is(value, -0) ? "number -0" : `number ${value}`;
  if (typeof value !== "object" || value === null) return `${typeof value} ${String(value)}`;
  if (value instanceof Date) return `date ${value.getTime()}`;
  if (value instanceof RegExp) return `regexp ${String(value)}`;
  if (value instanceof URL) return `url ${value.href}`;
  if (value instanceof Map) return { map: [...value].map(([key, item]) => [described(key), described(item)]) };
  if (value instanceof Set) return { set: [...value].map(described) };
  if (Array.isArray(value)) return value.map(described);
  const members = Object.entries(value).map(([key, item]) => [key, described(item)]);
  return { object: members.toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1)) };
}

/** Keys that annotations must survive: separators of paths, numbers, names of prototypes. */
const key = fc.oneof(
  fc.string(),
  fc.constantFrom("", "/", "~", "~1", "0", "a/b", "__proto__", "constructor", "toString"),
);

const scalar = fc.oneof(
  fc.string(),
  fc.boolean(),
  fc.constant(null),
  fc.integer(),
  fc.double(),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0),
  fc.bigInt(),
  fc.date({ noInvalidDate: false }),
  fc.constantFrom(/a+b/giu, /^\/x\/\n/s, /(?:)/, new RegExp("/")),
  fc.webUrl().map((text) => new URL(text)),
);

const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(fc.oneof(tie("value"), fc.constant(undefined)), { maxLength: 4 }),
    fc.dictionary(key, fc.oneof(tie("value"), fc.constant(undefined)), { maxKeys: 4 }),
    fc.array(fc.tuple(tie("value"), tie("value")), { maxLength: 3 }).map((pairs) => new Map(pairs)),
    fc.array(tie("value"), { maxLength: 3 }).map((items) => new Set(items)),
  ),
}));

test("PAY-1: dates, maps, sets, big integers, patterns, URLs, special numbers and undefined arrive as they were sent", (t) => {
  fc.assert(
    fc.property(anyValue, (value) => {
      t.deepEqual(described(roundTrip(value)), described(value));
    }),
    { numRuns: 1_000 },
  );
});

test("PAY-1: a value of plain JSON is exactly its JSON.stringify, without annotations", (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      // −0 is no plain JSON: its text is that of 0.
      const plain: unknown = JSON.parse(JSON.stringify(value));
      t.deepEqual(encodeValue(plain, "payload"), { json: JSON.stringify(plain), jsonTypes: undefined });
    }),
  );
});

test("PAY-1: callers that do not know the annotations see the nearest plain JSON", (t) => {
  const value = {
    date: new Date("2030-01-31T08:00:00.000Z"),
    map: new Map([["a", 1n]]),
    set: new Set(["x"]),
    pattern: /a\/b/i,
    url: new URL("https://a.example/b"),
    numbers: [Number.NaN, Number.POSITIVE_INFINITY, -0, undefined],
    gone: undefined,
  };
  const { json, jsonTypes } = encodeValue(value, "payload");
  t.deepEqual(JSON.parse(json ?? ""), {
    date: "2030-01-31T08:00:00.000Z",
    map: [["a", "1"]],
    set: ["x"],
    pattern: "/a\\/b/i",
    url: "https://a.example/b",
    numbers: [null, null, 0, null],
  });
  t.deepEqual(JSON.parse(jsonTypes ?? ""), {
    "/date": "date",
    "/map": "map",
    "/map/0/1": "bigint",
    "/set": "set",
    "/pattern": "regexp",
    "/url": "url",
    "/numbers/0": "nan",
    "/numbers/1": "infinity",
    "/numbers/2": "-0",
    "/numbers/3": "undefined",
    "/gone": "undefined",
  });
});

test("PAY-13: undefined is no data, null is data", (t) => {
  t.deepEqual(encodeValue(undefined, "payload"), { json: undefined, jsonTypes: undefined });
  t.deepEqual(encodeValue(null, "payload"), { json: "null", jsonTypes: undefined });
  t.is(roundTrip(undefined), undefined);
  t.is(roundTrip(null), null);
});

test("PAY-1: a class instance is taken by its toJSON, else by its own enumerable members", (t) => {
  class Money {
    readonly #currency = "EUR";
    readonly amount = 5;
    toJSON(): unknown {
      return { amount: this.amount, currency: this.#currency, since: new Date(0) };
    }
  }
  class Point {
    readonly x = 1;
    readonly #hidden = 2;
    sum(): number {
      return this.x + this.#hidden;
    }
  }
  class Itself {
    readonly name = "me";
    toJSON(): unknown {
      return this;
    }
  }
  t.deepEqual(
    roundTrip({
      money: new Money(),
      point: new Point(),
      self: new Itself(),
      box: Object("s"),
      bytes: Buffer.from("a"),
    }),
    {
      money: { amount: 5, currency: "EUR", since: new Date(0) },
      point: { x: 1 },
      self: { name: "me" },
      box: "s",
      bytes: { type: "Buffer", data: [97] },
    },
  );
});

test("PAY-1: the value that was given is not changed, and what is not special is not copied", (t) => {
  const inner = Object.freeze({ list: Object.freeze([1, 2]) });
  const value = Object.freeze({ inner, at: new Date(0) });
  t.notThrows(() => encodeValue(value, "payload"));
  t.true(value.at instanceof Date);
});

test("PAY-2: a function, symbol or circular reference at any depth throws a TypeError naming its path", (t) => {
  const loop: Record<string, unknown> = { list: [] };
  loop.list = [{ back: loop }];
  const cases: readonly (readonly [unknown, string])[] = [
    [() => 1, "payload is a function"],
    [{ a: { b: [1, { fn() {} }] } }, "payload.a.b[1].fn is a function"],
    [{ "odd key": Symbol("s") }, 'payload["odd key"] is a symbol'],
    [new Map([["k", new Set([() => 1])]]), "payload[0][1][0] is a function"],
    [loop, "payload.list[0].back is a circular reference"],
    [{ at: { toJSON: () => ({ deep: () => 1 }) } }, "payload.at.deep is a function"],
  ];
  for (const [value, text] of cases) {
    const error = t.throws(() => encodeValue(value, "payload"), { instanceOf: TypeError });
    t.true(error.message.startsWith(text), error.message);
  }
  const shared = { a: 1 };
  t.deepEqual(roundTrip([shared, shared, { shared }]), [shared, shared, { shared }], "a value met twice is no circle");
});

test("PAY-1: unknown kinds and annotations that do not fit are ignored", (t) => {
  const decode = (json: string, annotations: unknown): unknown =>
    decodeValue({ json, jsonTypes: typeof annotations === "string" ? annotations : JSON.stringify(annotations) });
  t.deepEqual(decode('{"a":"x"}', { "/a": "matrix" }), { a: "x" });
  t.deepEqual(decode('{"a":1}', { "/a": "date", "/b": "map", "/c/d": "set", a: "set" }), { a: 1 });
  t.deepEqual(decode('{"a":"("}', { "/a": "regexp" }), { a: "(" });
  t.deepEqual(decode('{"a":"/(/"}', { "/a": "regexp" }), { a: "/(/" });
  t.deepEqual(decode('{"a":[[1]]}', { "/a": "map" }), { a: [[1]] });
  t.deepEqual(decode('{"a":1}', "not json"), { a: 1 });
  t.deepEqual(decode('{"a":1}', "3"), { a: 1 });
});

test("PAY-1: a forged annotation reaches no prototype", (t) => {
  for (const path of [
    "/__proto__/polluted",
    "/constructor/prototype/polluted",
    "/a/__proto__/polluted",
    "/__proto__",
  ]) {
    const value = decodeValue({ json: '{"a":{}}', jsonTypes: JSON.stringify({ [path]: "undefined" }) });
    t.false("polluted" in Object.prototype, path);
    t.is(Object.getPrototypeOf(value), Object.prototype, path);
  }
});

test("RES-5: an Error is rebuilt with name, message, stack and cause; strings and JSON values as themselves", (t) => {
  class PaymentError extends Error {
    override readonly name = "PaymentError";
  }
  const thrown = new PaymentError("card refused", { cause: new TypeError("no card") });
  const rebuilt = thrownOf(failureOf(thrown));
  t.true(rebuilt instanceof Error);
  if (!(rebuilt instanceof Error)) return;
  t.is(rebuilt.name, "PaymentError");
  t.is(rebuilt.message, "card refused");
  t.is(rebuilt.stack, thrown.stack);
  t.true(rebuilt.cause instanceof Error && rebuilt.cause.name === "TypeError" && rebuilt.cause.message === "no card");
  t.is(thrownOf(failureOf("just text")), "just text");
  t.deepEqual(thrownOf(failureOf({ code: 7, list: [null] })), { code: 7, list: [null] });
  t.is(thrownOf(failureOf(42)), 42);
  t.is(thrownOf(failureOf(null)), null);
});

test("RES-7: readers see name and stack of an Error, and only the message of what was none", (t) => {
  const error = new RangeError("too far");
  t.deepEqual(runError(failureOf(error)), { name: "RangeError", message: "too far", stackTrace: error.stack });
  t.deepEqual(runError(failureOf("text")), { message: "text" });
  t.deepEqual(runError(failureOf({ a: 1 })), { message: '{"a":1}' });
});

test("RES-5: whatever is thrown becomes a failure, also what has no text", (t) => {
  const hostile = Object.defineProperty(new Error("x"), "message", {
    get() {
      throw new Error("no");
    },
  });
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  for (const thrown of [undefined, Symbol("s"), () => 1, 1n, loop, hostile, Object.create(null)]) {
    t.is(typeof failureOf(thrown).message, "string");
  }
  t.is(runError(failureOf(undefined)).message, "undefined");
});
