/** Metadata: what operations do to the record, and that they do the same to the copy in the worker. */
import test from "ava";
import fc from "fast-check";
import { applyEach, applyOperation, MetadataError, valueAt } from "#sdk/metadata-values.js";
import { applyMetadata, type MetadataOperation } from "../../server/domain/metadata-operations.js";

const BYTES_MAX = 262_144;

/** Few names, so that operations meet; those that are forbidden, malformed or lead nowhere among them. */
const keys = fc.oneof(
  fc.constantFrom("a", "b", "list", "", "__proto__", "constructor", "1"),
  fc.constantFrom("$.a", "$.a.b", "$.a.b.c", "$.list[0]", "$.list[1].n", "$.list[7]", '$.b["x y"]', "$.b['q'].r"),
  fc.constantFrom("$.", "$.a..b", "$.a[", "$.a.prototype", '$.a["__proto__"].b', "$[0]", "$.1.2"),
);
const values = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, 1, -1, "a", [], {}, [1, 2, 1], { b: 1 }, { b: { c: 2 } }, [{ n: 1 }], 1e308),
  fc.jsonValue({ maxDepth: 2 }),
);
const operations: fc.Arbitrary<MetadataOperation> = fc.oneof(
  fc.record({ kind: fc.constant("set" as const), key: keys, valueJson: values.map((value) => JSON.stringify(value)) }),
  fc.record({ kind: fc.constant("delete" as const), key: keys }),
  fc.record({
    kind: fc.constant("replace" as const),
    json: fc.oneof(
      fc.constantFrom("{}", '{"a":{"b":1},"list":[1,{"n":2},1]}', "[]", "7", "no"),
      fc.dictionary(fc.constantFrom("a", "b", "list"), values).map((value) => JSON.stringify(value)),
    ),
  }),
  fc.record({
    kind: fc.constantFrom("append" as const, "remove" as const),
    key: keys,
    valueJson: values.map((value) => JSON.stringify(value)),
  }),
  fc.record({
    kind: fc.constant("increment" as const),
    key: keys,
    amount: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constant(1e308)),
  }),
);

test("MET-3, MET-4, MET-6: every operation does to the worker's copy what it does to the record, or is refused by both", (t) => {
  let refused = 0;
  fc.assert(
    fc.property(fc.array(operations, { maxLength: 12 }), (all) => {
      let record = "{}";
      let copy = {};
      for (const operation of all) {
        const there = applyMetadata(record, [operation], { bytesMax: BYTES_MAX, isWhole: true });
        if (there.refusal === undefined) copy = applyOperation(copy, operation);
        else {
          refused += 1;
          const before = JSON.stringify(copy);
          t.throws(() => applyOperation(copy, operation), { instanceOf: MetadataError });
          if (JSON.stringify(copy) !== before) return false;
        }
        record = there.json;
        if (JSON.stringify(copy) !== record) return false;
      }
      return true;
    }),
    { numRuns: 3_000 },
  );
  t.true(refused > 100, "the cases hold refused ones");
});

test("MET-2: what the record refuses for its size, the copy leaves out as well", (t) => {
  fc.assert(
    fc.property(fc.array(operations, { maxLength: 12 }), fc.integer({ min: 2, max: 60 }), (all, bytesMax) => {
      const { json } = applyMetadata("{}", all, { bytesMax, isWhole: false });
      return JSON.stringify(applyEach({}, all, bytesMax)) === json;
    }),
    { numRuns: 3_000 },
  );
  t.is(
    JSON.stringify(applyEach({}, [{ kind: "set", key: "a", valueJson: '"é"' }], 10)),
    '{"a":"é"}',
    "counted in bytes",
  );
  t.is(JSON.stringify(applyEach({}, [{ kind: "set", key: "a", valueJson: '"é"' }], 9)), "{}");
});

test("MET-6: a key reads by the same path by which it writes, and never reaches into the language", (t) => {
  const root = { a: { b: [{ "x y": 1 }] }, "a.b": 2 };
  t.is(valueAt(root, '$.a.b[0]["x y"]'), 1);
  t.is(valueAt(root, "a.b"), 2, "without `$.` it is a name");
  t.is(valueAt(root, "$.a.b.length"), undefined);
  t.is(valueAt(root, "toString"), undefined);
  for (const key of ["__proto__", "$.a.constructor", '$.a["prototype"]', ""]) {
    t.throws(() => valueAt(root, key), { instanceOf: MetadataError }, key);
  }
});
