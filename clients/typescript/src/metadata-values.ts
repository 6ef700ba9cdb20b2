/**
 * What operations on metadata do to the local copy (MET-4, MET-6), exactly as the server does it to the record: a test applies the same
 * operations by both. Values are never changed in place, so an older one is kept by keeping a reference.
 */

/** Values as JSON text: what is sent is what acts here. */
export type MetadataOperation =
  | { readonly kind: "set"; readonly key: string; readonly valueJson: string }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "replace"; readonly json: string }
  | { readonly kind: "append"; readonly key: string; readonly valueJson: string }
  | { readonly kind: "remove"; readonly key: string; readonly valueJson: string }
  | { readonly kind: "increment"; readonly key: string; readonly amount: number };

/** A chunk of a stream: it travels like an operation, and changes no metadata (RUN-27). */
export interface StreamPublication {
  readonly kind: "publish";
  readonly key: string;
  readonly valueJson: string;
}

/** JSON values only. */
export interface MetadataObject {
  readonly [name: string]: unknown;
}

/** The operation makes no sense, or not with what is there: it changes nothing. */
export class MetadataError extends Error {
  override readonly name = "MetadataError";
}

/** @throws MetadataError */
export function applyOperation(root: MetadataObject, operation: MetadataOperation): MetadataObject {
  if (operation.kind === "replace") return objectOf(operation.json);
  const { key } = operation;
  const steps = stepsOf(key);
  const isExisting = operation.kind === "delete" || operation.kind === "remove";
  const after = changed({ at: root, steps, key, isExisting, change: (old) => memberAfter(old, operation) });
  return isObject(after) ? after : root;
}

/**
 * Operations as the server takes those of one message: all of them where that is possible, otherwise each by itself, and one that is refused
 * is left out.
 * @param bytesMax what makes the JSON larger is refused.
 */
export function applyEach(
  root: MetadataObject,
  operations: readonly MetadataOperation[],
  bytesMax: number,
): MetadataObject {
  const together = applyAll(root, operations, bytesMax);
  if (together !== undefined) return together;
  let present = root;
  for (const operation of operations) present = applyAll(present, [operation], bytesMax) ?? present;
  return present;
}

/** Undefined where one is refused. */
function applyAll(
  root: MetadataObject,
  operations: readonly MetadataOperation[],
  bytesMax: number,
): MetadataObject | undefined {
  try {
    let present = root;
    for (const operation of operations) present = applyOperation(present, operation);
    return bytesMax === Number.POSITIVE_INFINITY || bytesOf(present) <= bytesMax ? present : undefined;
  } catch (error) {
    if (error instanceof MetadataError) return undefined;
    throw error;
  }
}

function bytesOf(value: MetadataObject): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

/** The value that a key names; undefined where nothing is. @throws MetadataError for a key that can name nothing. */
export function valueAt(root: MetadataObject, key: string): unknown {
  let at: unknown = root;
  for (const step of stepsOf(key)) {
    if (!isObject(at) && !Array.isArray(at)) return undefined;
    at = read(at, step);
  }
  return at;
}

/** The metadata in a text. @throws MetadataError where it is no JSON object. */
export function objectOf(json: string): MetadataObject {
  const value = parsed(json);
  if (!isObject(value)) throw new MetadataError("Metadata must be a JSON object");
  return value;
}

/** @throws MetadataError where a key can name nothing, or reaches into the language (MET-6). */
export function checkKey(key: string): void {
  stepsOf(key);
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

// ── one member ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Stays as it is, is removed, or becomes a value. */
type MemberChange = "keep" | "remove" | { readonly value: unknown };

function memberAfter(old: unknown, operation: Exclude<MetadataOperation, { readonly kind: "replace" }>): MemberChange {
  switch (operation.kind) {
    case "set":
      return { value: valueOf(operation) };
    case "delete":
      return "remove";
    case "append": {
      const value = valueOf(operation);
      if (old === undefined) return { value: [value] };
      return { value: Array.isArray(old) ? [...old, value] : [old, value] };
    }
    case "remove": {
      const value = valueOf(operation);
      if (!Array.isArray(old)) return "keep";
      return { value: old.filter((member: unknown) => !isDeepEqual(member, value)) };
    }
    case "increment": {
      const sum = (typeof old === "number" ? old : 0) + operation.amount;
      if (!Number.isFinite(sum)) throw new MetadataError(`Metadata key ${operation.key} cannot hold ${sum}`);
      return { value: sum };
    }
  }
}

function valueOf({ key, valueJson }: { readonly key: string; readonly valueJson: string }): unknown {
  const value = parsed(valueJson);
  if (value === undefined) throw new MetadataError(`The value for metadata key ${key} is no JSON`);
  return value;
}

interface Change {
  readonly at: MetadataObject | readonly unknown[];
  readonly steps: readonly (string | number)[];
  readonly key: string;
  /** What is not there is not made. */
  readonly isExisting: boolean;
  readonly change: (old: unknown) => MemberChange;
}

/** `at`, with what the steps lead to changed; the same reference where nothing is. */
function changed({ at, steps, key, isExisting, change }: Change): MetadataObject | readonly unknown[] {
  const [step, ...rest] = steps;
  if (step === undefined) return at;
  const old = read(at, step);
  const next = rest[0];
  if (next === undefined) {
    const after = change(old);
    if (after === "keep") return at;
    return after === "remove" ? without(at, step) : written(at, step, after.value, key);
  }
  if (isObject(old) || Array.isArray(old)) {
    const inner = changed({ at: old, steps: rest, key, isExisting, change });
    return inner === old ? at : written(at, step, inner, key);
  }
  if (isExisting) return at;
  const made = typeof next === "number" ? [] : {};
  return written(at, step, changed({ at: made, steps: rest, key, isExisting, change }), key);
}

function read(at: MetadataObject | readonly unknown[], step: string | number): unknown {
  if (isArray(at)) return typeof step === "number" ? at[step] : undefined;
  return typeof step === "string" && Object.hasOwn(at, step) ? at[step] : undefined;
}

function written(
  at: MetadataObject | readonly unknown[],
  step: string | number,
  value: unknown,
  key: string,
): MetadataObject | readonly unknown[] {
  if (isArray(at)) {
    // An array without holes.
    if (typeof step === "number" && step <= at.length) return [...at.slice(0, step), value, ...at.slice(step + 1)];
  } else if (typeof step === "string") return { ...at, [step]: value };
  throw new MetadataError(`Metadata path ${key} leads nowhere`);
}

function without(at: MetadataObject | readonly unknown[], step: string | number): MetadataObject | readonly unknown[] {
  if (isArray(at)) return typeof step === "number" && step < at.length ? at.toSpliced(step, 1) : at;
  if (typeof step !== "string" || !Object.hasOwn(at, step)) return at;
  const { [step]: _, ...others } = at;
  return others;
}

// ── keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** They would reach into the language. */
const FORBIDDEN: ReadonlySet<string | number> = new Set(["__proto__", "constructor", "prototype"]);
const STEP = /(?:^|\.)([^.[\]"']+)|\[(\d{1,9})\]|\[(?:"([^"]*)"|'([^']*)')\]/y;

/** The names and indexes that a key leads through: a name, or a path after `$.`. */
function stepsOf(key: string): readonly (string | number)[] {
  if (key === "") throw new MetadataError("A metadata key must not be empty");
  const steps = key.startsWith("$.") ? pathOf(key) : [key];
  const forbidden = steps.find((step) => FORBIDDEN.has(step));
  if (forbidden !== undefined) throw new MetadataError(`A metadata key must not contain ${forbidden}`);
  return steps;
}

function pathOf(key: string): readonly (string | number)[] {
  const path = key.slice("$.".length);
  const steps: (string | number)[] = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < path.length) {
    const match = STEP.exec(path);
    if (match === null) throw new MetadataError(`Metadata path ${key} is malformed`);
    const [, name, index, quoted, single] = match;
    steps.push(index === undefined ? (name ?? quoted ?? single ?? "") : Number(index));
  }
  if (steps.length === 0) throw new MetadataError(`Metadata path ${key} is malformed`);
  return steps;
}

// ── values ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function isObject(value: unknown): value is MetadataObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `Array.isArray` that knows read-only ones. */
function isArray(value: MetadataObject | readonly unknown[]): value is readonly unknown[] {
  return Array.isArray(value);
}

/** Of JSON values; the order of members does not count. */
function isDeepEqual(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((member, index) => isDeepEqual(member, b[index]));
  }
  if (isObject(a) && isObject(b)) {
    const names = Object.keys(a);
    return (
      names.length === Object.keys(b).length &&
      names.every((name) => Object.hasOwn(b, name) && isDeepEqual(a[name], b[name]))
    );
  }
  return a === b;
}
