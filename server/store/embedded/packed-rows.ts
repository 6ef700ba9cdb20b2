/**
 * New runs between threads: three arrays for a whole group instead of an object per run. Numbers go into one, bytes into the second,
 * and texts, each once, into the third; a row is read back in the order in which it was written.
 */
import type { SqlValue } from "./database.js";
import type { InsertRow } from "./insert-row.js";
import { TEXT_COLUMNS } from "./run-row.js";
import { Shape } from "./shape.js";

export interface PackedRows {
  readonly numbers: Float64Array;
  readonly bytes: Uint8Array;
  readonly texts: readonly string[];
}

/** Stands for "undefined" among numbers that are never negative. */
const NONE = -1;

const ID_BYTES = 16;
const HASH_BYTES = 32;
const IS_WAITING = 1;
const HAS_REQUEST = 2;
const HAS_KEY = 4;
const HAS_TOKEN = 8;

export function packRows(rows: readonly InsertRow[]): PackedRows {
  const numbers: number[] = [];
  const texts: string[] = [];
  const known = new Map<string, number>();
  const refer = (text: string | undefined): number => {
    if (text === undefined) return NONE;
    const index = known.get(text);
    if (index !== undefined) return index;
    known.set(text, texts.length);
    return texts.push(text) - 1;
  };
  const bytes = new Uint8Array(rows.reduce((sum, row) => sum + ID_BYTES + 3 * HASH_BYTES + row.spec.length, 0));
  let at = 0;
  const write = (part: Uint8Array): void => {
    bytes.set(part, at);
    at += part.length;
  };
  for (const row of rows) {
    numbers.push(
      refer(row.environment),
      refer(row.task),
      refer(row.queue),
      refer(row.shape.text),
      refer(row.concurrencyKey),
      (row.isWaiting ? IS_WAITING : 0) |
        (row.requestHash === undefined ? 0 : HAS_REQUEST) |
        (row.keyHash === undefined ? 0 : HAS_KEY) |
        (row.token === undefined ? 0 : HAS_TOKEN),
      row.requestExpiresAtMs,
      row.queueSizeMax ?? NONE,
      row.queueLimit ?? NONE,
      row.nowMs,
      row.createdAtMs,
      refer(row.metadataJson),
      refer(row.tagsJson),
      refer(row.debounceJson),
      refer(row.objectsJson),
      row.spec.length,
    );
    for (const value of row.values) numbers.push(typeof value === "number" ? value : refer(String(value)));
    if (row.token !== undefined) numbers.push(row.token.forgetAtMs);
    write(row.id);
    if (row.requestHash !== undefined) write(row.requestHash);
    if (row.keyHash !== undefined) write(row.keyHash);
    if (row.token !== undefined) write(row.token.hash);
    write(row.spec);
  }
  return { numbers: Float64Array.from(numbers), bytes: bytes.subarray(0, at), texts };
}

/** Shapes by their text, as the writing thread met them. */
const shapes = new Map<string, Shape>();

function shapeOf(text: string): Shape {
  const known = shapes.get(text);
  if (known !== undefined) return known;
  const shape = new Shape(text.split(", "));
  shapes.set(text, shape);
  return shape;
}

export function unpackRows({ numbers, bytes, texts }: PackedRows): readonly InsertRow[] {
  const rows: InsertRow[] = [];
  let number = 0;
  let at = 0;
  const next = (): number => numbers[number++] ?? NONE;
  const nextText = (): string | undefined => texts[next()];
  const nextOptional = (): number | undefined => {
    const value = next();
    return value === NONE ? undefined : value;
  };
  const read = (length: number): Uint8Array => bytes.subarray(at, (at += length));
  while (number < numbers.length) {
    const environment = nextText() ?? "";
    const task = nextText() ?? "";
    const queue = nextText() ?? "";
    const shape = shapeOf(nextText() ?? "");
    const concurrencyKey = nextText();
    const flags = next();
    const requestExpiresAtMs = next();
    const queueSizeMax = nextOptional();
    const queueLimit = nextOptional();
    const nowMs = next();
    const createdAtMs = next();
    const metadataJson = nextText();
    const tagsJson = nextText();
    const debounceJson = nextText();
    const objectsJson = nextText();
    const specLength = next();
    const values: SqlValue[] = shape.columns.map((column) => (TEXT_COLUMNS.has(column) ? (nextText() ?? "") : next()));
    const tokenForgetAtMs = (flags & HAS_TOKEN) === 0 ? undefined : next();
    rows.push({
      environment,
      task,
      queue,
      shape,
      concurrencyKey,
      isWaiting: (flags & IS_WAITING) !== 0,
      requestExpiresAtMs,
      queueSizeMax,
      queueLimit,
      nowMs,
      createdAtMs,
      metadataJson,
      tagsJson,
      debounceJson,
      objectsJson,
      values,
      id: read(ID_BYTES),
      requestHash: (flags & HAS_REQUEST) === 0 ? undefined : read(HASH_BYTES),
      keyHash: (flags & HAS_KEY) === 0 ? undefined : read(HASH_BYTES),
      token: tokenForgetAtMs === undefined ? undefined : { hash: read(HASH_BYTES), forgetAtMs: tokenForgetAtMs },
      spec: read(specLength),
    });
  }
  return rows;
}
