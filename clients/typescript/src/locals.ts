/** Storage of one attempt, shared by middleware, hooks and the run function (HOK-9). */
import { currentRun } from "./run-context.js";

/** A place for one value of each attempt, made by `locals.create`. Two keys of one name are two places. */
export class LocalsKey<T> {
  /** For error messages. */
  readonly name: string;
  /** Kept as long as their attempts are. */
  readonly #values = new WeakMap<object, { readonly value: T }>();

  constructor(name: string) {
    this.name = name;
  }

  /** @internal */
  read(run: object): { readonly value: T } | undefined {
    return this.#values.get(run);
  }

  /** @internal */
  write(run: object, value: T): void {
    this.#values.set(run, { value });
  }
}

/** A new key. */
function create<T>(name: string): LocalsKey<T> {
  return new LocalsKey<T>(name);
}

/**
 * Sets the value for this attempt and returns it.
 * @throws Error outside of a run.
 */
function set<T>(key: LocalsKey<T>, value: T): T {
  const run = currentRun();
  if (run === undefined) throw new Error("locals.set can only be used from inside a task.run()");
  key.write(run, value);
  return value;
}

/** The value that this attempt has set; undefined if none, or outside of a run. */
function get<T>(key: LocalsKey<T>): T | undefined {
  return held(key)?.value;
}

/** @throws Error naming the key, if this attempt has set no value. */
function getOrThrow<T>(key: LocalsKey<T>): T {
  const found = held(key);
  if (found === undefined) throw new Error(`locals has no value for "${key.name}" in this attempt`);
  return found.value;
}

function held<T>(key: LocalsKey<T>): { readonly value: T } | undefined {
  const run = currentRun();
  return run === undefined ? undefined : key.read(run);
}

export const locals = { create, set, get, getOrThrow } as const;
