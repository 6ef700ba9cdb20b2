/**
 * Values of payloads and outputs (PAY-1). What JSON can say travels as JSON; what it cannot is written as the nearest plain JSON, with
 * annotations beside it: a JSON object, path → kind. Readers that do not know the annotations see plain JSON.
 *
 * A path is a JSON Pointer (RFC 6901) into the plain JSON, `""` for the whole value. Kinds:
 *
 * | kind | value | plain JSON |
 * | --- | --- | --- |
 * | `date` | Date | ISO string; null if invalid |
 * | `map` | Map | array of [key, value] pairs |
 * | `set` | Set | array |
 * | `bigint` | BigInt | decimal string |
 * | `regexp` | RegExp | `/source/flags` |
 * | `url` | URL | string |
 * | `nan`, `infinity`, `-infinity` | the numbers | null |
 * | `-0` | −0 | 0 |
 * | `undefined` | undefined in an array; member of an object | null; absent |
 *
 * An ordinary value costs a quick look and one `JSON.stringify`; only where something is special a second walk, which knows its path, copies the
 * branches that hold it. superjson was refused: it drops functions silently and turns cycles into null.
 */

const KINDS = [
  "date",
  "map",
  "set",
  "bigint",
  "regexp",
  "url",
  "nan",
  "infinity",
  "-infinity",
  "-0",
  "undefined",
] as const;
type Kind = (typeof KINDS)[number];

/** A value as text. */
export interface EncodedValue {
  /** JSON text; undefined for the value `undefined`, which is no data. */
  readonly json: string | undefined;
  /** Annotations: the text of a JSON object; undefined if there are none. */
  readonly jsonTypes: string | undefined;
}

/**
 * A value as JSON text with annotations.
 * @param root what the value is called in errors: `payload`, `output`.
 * @throws TypeError naming the path of a function, symbol or circular reference (PAY-2).
 */
export function encodeValue(value: unknown, root: string): EncodedValue {
  if (value === undefined) return { json: undefined, jsonTypes: undefined };
  if (isPlain(value, 0)) return { json: JSON.stringify(value), jsonTypes: undefined };
  const walk: Walk = { root, path: [], ancestors: [], annotations: undefined };
  const plain = encode(value, walk);
  if (plain === undefined) return { json: undefined, jsonTypes: undefined };
  const { annotations } = walk;
  return {
    json: JSON.stringify(plain),
    jsonTypes: annotations === undefined ? undefined : JSON.stringify(Object.fromEntries(annotations)),
  };
}

/** Deeper values, and so circles, are left to the walk that keeps its path. */
const PLAIN_DEPTH_MAX = 100;

/** Whether JSON says all of a value. */
function isPlain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      return value === null || (depth < PLAIN_DEPTH_MAX && isPlainObject(value, depth + 1));
    default:
      return false;
  }
}

function isPlainObject(value: object, depth: number): boolean {
  if (Array.isArray(value)) {
    for (const item of value) if (!isPlain(item, depth)) return false;
    return true;
  }
  if (!isRecord(value)) return false;
  for (const key in value) if (!isPlain(value[key], depth)) return false;
  return true;
}

function isRecord(value: object): value is Readonly<Record<string, unknown>> {
  return Object.getPrototypeOf(value) === Object.prototype;
}

interface Walk {
  readonly root: string;
  /** Where the walk is, in the plain JSON. */
  readonly path: (string | number)[];
  /** Objects around the present value. */
  readonly ancestors: object[];
  annotations: Map<string, Kind> | undefined;
}

function encode(value: unknown, walk: Walk): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return encodeNumber(value, walk);
    case "bigint":
      return annotated(walk, "bigint", value.toString());
    case "undefined":
      // `JSON.stringify` leaves it out of objects and writes null in arrays.
      return annotated(walk, "undefined", undefined);
    case "function":
    case "symbol":
      throw unsupported(walk, `a ${typeof value}`);
    case "object":
      return value === null ? null : encodeObject(value, walk);
  }
}

function encodeNumber(value: number, walk: Walk): unknown {
  if (value === 0) return Object.is(value, -0) ? annotated(walk, "-0", 0) : value;
  if (Number.isFinite(value)) return value;
  return annotated(walk, Number.isNaN(value) ? "nan" : value > 0 ? "infinity" : "-infinity", null);
}

function annotated(walk: Walk, kind: Kind, plain: unknown): unknown {
  walk.annotations ??= new Map();
  walk.annotations.set(pointer(walk.path), kind);
  return plain;
}

function encodeObject(value: object, walk: Walk): unknown {
  if (!hasPlainPrototype(value)) {
    if (value instanceof Date) {
      return annotated(walk, "date", Number.isNaN(value.getTime()) ? null : value.toISOString());
    }
    if (value instanceof RegExp) return annotated(walk, "regexp", String(value));
    if (value instanceof URL) return annotated(walk, "url", value.href);
    const boxed = unboxed(value);
    if (boxed !== undefined) return encode(boxed, walk);
  }
  if (walk.ancestors.includes(value)) throw unsupported(walk, "a circular reference");
  walk.ancestors.push(value);
  const plain = encodeMembers(value, walk);
  walk.ancestors.pop();
  return plain;
}

const BOXES: ReadonlySet<unknown> = new Set([Number, String, Boolean, BigInt].map(({ prototype }) => prototype));

/** The primitive in `new Number(1)` and the like, as `JSON.stringify` takes it. */
function unboxed(value: object): unknown {
  return BOXES.has(Object.getPrototypeOf(value)) ? value.valueOf() : undefined;
}

function encodeMembers(value: object, walk: Walk): unknown {
  if (Array.isArray(value)) return encodeArray(value, walk, false);
  if (value instanceof Map) {
    annotated(walk, "map", undefined);
    return encodeArray([...value], walk, true);
  }
  if (value instanceof Set) {
    annotated(walk, "set", undefined);
    return encodeArray([...value], walk, true);
  }
  if ("toJSON" in value && typeof value.toJSON === "function") return encodeOwnForm(value.toJSON(lastKey(walk)), walk);
  return encodeRecord(value, walk, false);
}

function lastKey(walk: Walk): string {
  return String(walk.path.at(-1) ?? "");
}

/** What a value's `toJSON` gave; as with `JSON.stringify`, its own `toJSON` is not asked again, so that it must not be found later either. */
function encodeOwnForm(form: unknown, walk: Walk): unknown {
  const isOrdinary = typeof form !== "object" || form === null || !("toJSON" in form);
  return isOrdinary || form instanceof Date || form instanceof URL
    ? encode(form, walk)
    : encodeRecord(form, walk, true);
}

function encodeArray(items: readonly unknown[], walk: Walk, isCopy: boolean): unknown {
  let copy: unknown[] | undefined = isCopy ? [...items] : undefined;
  const { path } = walk;
  const depth = path.length;
  for (let index = 0; index < items.length; index += 1) {
    path[depth] = index;
    const item = items[index];
    const plain = encode(item, walk);
    if (plain === item) continue;
    copy ??= [...items];
    copy[index] = plain;
  }
  path.length = depth;
  return copy ?? items;
}

function encodeRecord(record: object, walk: Walk, isCopy: boolean): unknown {
  let copy: Record<string, unknown> | undefined = isCopy ? {} : undefined;
  const { path } = walk;
  const depth = path.length;
  const entries = Object.entries(record);
  for (const [key, item] of entries) {
    path[depth] = key;
    const plain = encode(item, walk);
    if (plain === item && !isCopy) continue;
    copy ??= Object.fromEntries(entries);
    // Not by assignment: a key may be `__proto__`.
    Object.defineProperty(copy, key, { value: plain, enumerable: true, configurable: true, writable: true });
  }
  path.length = depth;
  return copy ?? record;
}

function unsupported(walk: Walk, what: string): TypeError {
  const path = walk.path.map((key) => (typeof key === "number" ? `[${key}]` : memberPath(key))).join("");
  return new TypeError(`${walk.root}${path} is ${what}, which cannot be serialised`);
}

function memberPath(key: string): string {
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}

function pointer(path: readonly (string | number)[]): string {
  return path
    .map((key) => `/${typeof key === "number" ? key : key.replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}

/**
 * The value that was encoded. Unknown kinds, and annotations that do not fit the JSON, are ignored.
 * @throws SyntaxError if `json` is not JSON.
 */
export function decodeValue({ json, jsonTypes }: EncodedValue): unknown {
  if (json === undefined) return undefined;
  const plain: unknown = JSON.parse(json);
  const annotations = jsonTypes === undefined || jsonTypes === "" ? [] : readAnnotations(jsonTypes);
  if (annotations.length === 0) return plain;
  const holder: Record<string, unknown> = { value: plain };
  for (const { path, kind } of annotations) revive(holder, ["value", ...path], kind);
  return holder.value;
}

interface Annotation {
  readonly path: readonly string[];
  readonly kind: Kind;
}

/** Deepest first: a path leads through the plain JSON, so what holds a value is revived after it. */
function readAnnotations(jsonTypes: string): readonly Annotation[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(jsonTypes);
  } catch {
    return [];
  }
  if (typeof parsed !== "object" || parsed === null) return [];
  return Object.entries(parsed)
    .flatMap(([path, name]) => {
      const kind = KINDS.find((known) => known === name);
      const keys = path.split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
      return kind !== undefined && keys[0] === "" ? [{ path: keys.slice(1), kind }] : [];
    })
    .toSorted((a, b) => b.path.length - a.path.length);
}

function revive(holder: object, path: readonly string[], kind: Kind): void {
  let container: unknown = holder;
  for (const key of path.slice(0, -1)) {
    // Own members only: a forged path must not lead into a prototype.
    if (!isPlainContainer(container) || !Object.hasOwn(container, key)) return;
    container = Reflect.get(container, key);
  }
  const key = path.at(-1) ?? "";
  if (!isPlainContainer(container)) return;
  const isThere = Object.hasOwn(container, key);
  if (!isThere && (kind !== "undefined" || Array.isArray(container))) return;
  const revived = reviveValue(isThere ? Reflect.get(container, key) : undefined, kind);
  if (revived === UNFIT) return;
  Object.defineProperty(container, key, { value: revived, enumerable: true, configurable: true, writable: true });
}

function isPlainContainer(value: unknown): value is object {
  return typeof value === "object" && value !== null && hasPlainPrototype(value);
}

/** Whether a value is what `JSON.parse` makes; nothing special has such a prototype. */
function hasPlainPrototype(value: object): boolean {
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}

const UNFIT = Symbol("does not fit");

function reviveValue(plain: unknown, kind: Kind): unknown {
  switch (kind) {
    case "date":
      return typeof plain === "string" ? new Date(plain) : plain === null ? new Date(Number.NaN) : UNFIT;
    case "map":
      return isPairs(plain) ? new Map(plain) : UNFIT;
    case "set":
      return Array.isArray(plain) ? new Set<unknown>(plain) : UNFIT;
    case "bigint":
      return typeof plain === "string" && /^-?\d+$/.test(plain) ? BigInt(plain) : UNFIT;
    case "regexp":
      return typeof plain === "string" ? reviveRegExp(plain) : UNFIT;
    case "url":
      return typeof plain === "string" && URL.canParse(plain) ? new URL(plain) : UNFIT;
    case "nan":
      return plain === null ? Number.NaN : UNFIT;
    case "infinity":
      return plain === null ? Number.POSITIVE_INFINITY : UNFIT;
    case "-infinity":
      return plain === null ? Number.NEGATIVE_INFINITY : UNFIT;
    case "-0":
      return plain === 0 ? -0 : UNFIT;
    case "undefined":
      return plain === null || plain === undefined ? undefined : UNFIT;
  }
}

function isPairs(plain: unknown): plain is [unknown, unknown][] {
  return Array.isArray(plain) && plain.every((pair) => Array.isArray(pair) && pair.length === 2);
}

function reviveRegExp(text: string): unknown {
  const [, source, flags] = /^\/(.*)\/([a-z]*)$/s.exec(text) ?? [];
  if (source === undefined) return UNFIT;
  try {
    return new RegExp(source, flags);
  } catch {
    return UNFIT;
  }
}
