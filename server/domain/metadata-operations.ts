/**
 * Changes of metadata (MET-4, MET-6): operations instead of snapshots, so that changes from several sides add up. Pure; both stores call
 * {@link applyMetadata} inside their guarded write.
 *
 * A key names a member of the top-level object; one that begins with `$.` is a path: names after dots, `[0]` for an element of an array,
 * `["a name"]` for any name. A write makes the objects that its path lacks; a scalar on the way gives way to an object.
 */
import { parseJson } from "./json.js";
import { utf8Bytes } from "./text.js";

/** JSON values as text, parsed where they are used: what is applied once is parsed once. */
export type MetadataOperation =
  | { readonly kind: "set"; readonly key: string; readonly valueJson: string }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "replace"; readonly json: string }
  /** A missing member becomes an array, anything else than an array becomes `[old, new]`. */
  | { readonly kind: "append"; readonly key: string; readonly valueJson: string }
  /** Removes the deep-equal members of an array. */
  | { readonly kind: "remove"; readonly key: string; readonly valueJson: string }
  /** What is no number counts as 0. Negative decrements. */
  | { readonly kind: "increment"; readonly key: string; readonly amount: number };

/** Why an operation changes nothing. `message`: what was got and what is allowed. */
export type MetadataRefusal =
  | { readonly reason: "INVALID_METADATA"; readonly message: string }
  | { readonly reason: "METADATA_TOO_LARGE"; readonly bytes: number };

export interface MetadataResult {
  /** Text of a JSON object. */
  readonly json: string;
  /** The last refusal; where `isWhole`, nothing was changed then. */
  readonly refusal: MetadataRefusal | undefined;
}

interface JsonObject {
  [name: string]: unknown;
}

/** @param params.isWhole all operations or none; otherwise each that is refused is left out. */
export function applyMetadata(
  json: string | undefined,
  operations: readonly MetadataOperation[],
  params: { readonly bytesMax: number; readonly isWhole: boolean },
): MetadataResult {
  const before = json ?? "{}";
  const together = applyAll(before, operations, params.bytesMax);
  if (together.refusal === undefined) return together;
  if (params.isWhole) return { json: before, refusal: together.refusal };
  let result: MetadataResult = { json: before, refusal: undefined };
  for (const operation of operations) {
    const next = applyAll(result.json, [operation], params.bytesMax);
    result = next.refusal === undefined ? { ...next, refusal: result.refusal } : { ...result, refusal: next.refusal };
  }
  return result;
}

/** @returns `before` where one is refused. */
function applyAll(before: string, operations: readonly MetadataOperation[], bytesMax: number): MetadataResult {
  try {
    let root = objectOf(before);
    for (const operation of operations) root = applyOne(root, operation);
    const json = JSON.stringify(root);
    const bytes = utf8Bytes(json);
    if (bytes > bytesMax) return { json: before, refusal: { reason: "METADATA_TOO_LARGE", bytes } };
    return { json, refusal: undefined };
  } catch (error) {
    if (error instanceof InvalidError) {
      return { json: before, refusal: { reason: "INVALID_METADATA", message: error.message } };
    }
    // The only one that walking JSON can throw: the stack.
    if (error instanceof RangeError) {
      return { json: before, refusal: { reason: "INVALID_METADATA", message: "Metadata is nested too deeply" } };
    }
    throw error;
  }
}

class InvalidError extends Error {}

function objectOf(json: string): JsonObject {
  const value = parseJson(json);
  if (!isObject(value)) throw new InvalidError("Metadata must be a JSON object");
  return value;
}

function valueOf(key: string, json: string): unknown {
  const value = parseJson(json);
  if (value === undefined) throw new InvalidError(`The value for metadata key ${key} is no JSON`);
  return value;
}

function applyOne(root: JsonObject, operation: MetadataOperation): JsonObject {
  if (operation.kind === "replace") return objectOf(operation.json);
  const { key } = operation;
  const place = placeOf(root, key, operation.kind === "delete" || operation.kind === "remove");
  // Nothing is there that could be removed.
  if (place === undefined) return root;
  const old = place.read();
  switch (operation.kind) {
    case "set":
      place.write(valueOf(key, operation.valueJson));
      return root;
    case "delete":
      place.remove();
      return root;
    case "append": {
      const value = valueOf(key, operation.valueJson);
      if (old === undefined) place.write([value]);
      else place.write(Array.isArray(old) ? [...old, value] : [old, value]);
      return root;
    }
    case "remove": {
      const value = valueOf(key, operation.valueJson);
      if (Array.isArray(old)) place.write(old.filter((member: unknown) => !isDeepEqual(member, value)));
      return root;
    }
    case "increment": {
      const sum = (typeof old === "number" ? old : 0) + operation.amount;
      if (!Number.isFinite(sum)) throw new InvalidError(`Metadata key ${key} cannot hold ${sum}`);
      place.write(sum);
      return root;
    }
  }
}

// ── where a key leads ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Place {
  read(): unknown;
  write(value: unknown): void;
  remove(): void;
}

/** @param isExisting undefined instead of making what is not there. */
function placeOf(root: JsonObject, key: string, isExisting: boolean): Place | undefined {
  const steps = stepsOf(key);
  const last = steps.at(-1);
  if (last === undefined) throw new InvalidError("A metadata key must not be empty");
  let at: JsonObject | unknown[] = root;
  for (const [index, step] of steps.slice(0, -1).entries()) {
    const next: unknown = read(at, step);
    if (isObject(next) || Array.isArray(next)) {
      at = next;
      continue;
    }
    if (isExisting) return undefined;
    const made: JsonObject | unknown[] = typeof steps[index + 1] === "number" ? [] : {};
    write(at, step, made, key);
    at = made;
  }
  const parent = at;
  return {
    read: () => read(parent, last),
    write: (value) => write(parent, last, value, key),
    remove() {
      if (Array.isArray(parent)) {
        if (typeof last === "number" && last < parent.length) parent.splice(last, 1);
      } else if (typeof last === "string") delete parent[last];
    },
  };
}

function read(at: JsonObject | unknown[], step: string | number): unknown {
  if (Array.isArray(at)) return typeof step === "number" ? at[step] : undefined;
  return typeof step === "string" && Object.hasOwn(at, step) ? at[step] : undefined;
}

function write(at: JsonObject | unknown[], step: string | number, value: unknown, key: string): void {
  if (Array.isArray(at)) {
    // An array without holes.
    if (typeof step !== "number" || step > at.length) throw new InvalidError(`Metadata path ${key} leads nowhere`);
    at[step] = value;
  } else if (typeof step === "string") at[step] = value;
  else throw new InvalidError(`Metadata path ${key} leads nowhere`);
}

/** MET-6: they would reach into the language. */
const FORBIDDEN: ReadonlySet<string | number> = new Set(["__proto__", "constructor", "prototype"]);
const STEP = /(?:^|\.)([^.[\]"']+)|\[(\d{1,9})\]|\[(?:"([^"]*)"|'([^']*)')\]/y;

/** The names and indexes that a key leads through. */
function stepsOf(key: string): readonly (string | number)[] {
  const steps = key.startsWith("$.") ? pathOf(key) : key === "" ? [] : [key];
  const forbidden = steps.find((step) => FORBIDDEN.has(step));
  if (forbidden !== undefined) throw new InvalidError(`A metadata key must not contain ${forbidden}`);
  return steps;
}

function pathOf(key: string): readonly (string | number)[] {
  const path = key.slice("$.".length);
  const steps: (string | number)[] = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < path.length) {
    const match = STEP.exec(path);
    if (match === null) throw new InvalidError(`Metadata path ${key} is malformed`);
    const [, name, index, quoted, single] = match;
    steps.push(index === undefined ? (name ?? quoted ?? single ?? "") : Number(index));
  }
  if (steps.length === 0) throw new InvalidError(`Metadata path ${key} is malformed`);
  return steps;
}

// ── values ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
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

// ── a run's metadata ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Operations of one writer, numbered without gaps. */
export interface NumberedOperations {
  readonly operations: readonly { readonly sequence: number; readonly operation: MetadataOperation }[];
  /** Operations up to this number were applied before. */
  readonly appliedUpTo: number;
}

/** Those that have not been applied. */
export function unapplied({ operations, appliedUpTo }: NumberedOperations): readonly MetadataOperation[] {
  return operations.filter(({ sequence }) => sequence > appliedUpTo).map(({ operation }) => operation);
}
