/** Metadata of the present run (section 16): changed at once here, and within about a second in the record. */

import { call } from "./call.js";
import { checkKey, MetadataError, type MetadataOperation } from "./metadata-values.js";
import type { RequestOptions } from "./request-options.js";
import { currentRun, type MetadataTarget } from "./run-context.js";

/**
 * Changes of the metadata of one run. All are synchronous and give the object back, for chaining.
 *
 * A key names a member; one that begins with `$.` is a path: `$.rows.done`, `$.list[0].name`, `$.a["any name"]`; what it lacks is made. Values are
 * anything that has JSON. A key that contains `__proto__`, `constructor` or `prototype`, an empty one and a malformed path throw an Error
 * and change nothing. Outside a run nothing happens.
 */
export interface MetadataUpdater<Self> {
  /** Sets a member, whatever was there; undefined removes it. */
  set(key: string, value: unknown): Self;
  /** Removes a member; nothing happens if there is none. */
  del(key: string): Self;
  /** Replaces everything by this plain object. */
  replace(metadata: Readonly<Record<string, unknown>>): Self;
  /** Adds to an array; a missing member becomes one, anything else becomes `[old, value]`. */
  append(key: string, value: unknown): Self;
  /** Removes the deep-equal members of an array. */
  remove(key: string, value: unknown): Self;
  /** Adds to a number, 1 unless told; what is no number counts as 0. */
  increment(key: string, amount?: number): Self;
  /** Subtracts from a number, 1 unless told; what is no number counts as 0. */
  decrement(key: string, amount?: number): Self;
  /**
   * Publishes what an iterable gives as chunks of the stream `key`, each as JSON, for whoever follows the run by
   * `runs.subscribeToRun(id).withStreams()`, and gives the same items back. It is read whether or not somebody reads what is given back; a run
   * that ends before publishes no more. At most 524,288 bytes a chunk, 100,000 chunks and 64 MB a run; what is more is logged and not
   * published. The name `run` is taken.
   */
  stream<T>(key: string, items: Iterable<T> | AsyncIterable<T>): AsyncIterable<T>;
}

/** Metadata of an ancestor: it can be changed, not read. */
export interface AncestorMetadata extends MetadataUpdater<AncestorMetadata> {}

/** Metadata of the run that calls. It lasts over attempts; at most 262,144 bytes of JSON. */
export interface Metadata extends MetadataUpdater<Metadata> {
  /** A copy of all of it, as this attempt knows it; undefined outside a run. */
  current(): Record<string, unknown> | undefined;
  /** A copy of the value that a key names; undefined where there is none, and outside a run. */
  get(key: string): unknown;
  /**
   * Sends what has been changed, and resolves when the server has recorded or refused it; what it refused is logged. It is sent by itself about
   * once a second, and before the run completes or waits.
   */
  flush(): Promise<void>;
  /**
   * Sends what has been changed, then reads what everybody has made of it: changes by children and from outside are seen from then on.
   * @throws ApiError if the server cannot be asked.
   */
  refresh(requestOptions?: RequestOptions): Promise<void>;
  /** That of the run's parent; without one, its own. */
  readonly parent: AncestorMetadata;
  /** That of the first run of the tree; of that run itself, its own. */
  readonly root: AncestorMetadata;
}

/** The changes of one target. */
function updater<Self>(target: MetadataTarget, self: () => Self): MetadataUpdater<Self> {
  const change = (operation: MetadataOperation): Self => {
    const run = currentRun();
    if (run?.isActive() === true) run.metadata.change(target, operation);
    return self();
  };
  const keyed = (key: string, operation: () => MetadataOperation): Self => {
    checkKey(key);
    return change(operation());
  };
  return {
    set: (key, value) =>
      keyed(key, () => {
        const valueJson = jsonOf(value);
        return valueJson === undefined ? { kind: "delete", key } : { kind: "set", key, valueJson };
      }),
    del: (key) => keyed(key, () => ({ kind: "delete", key })),
    replace: (metadata) => change({ kind: "replace", json: objectJson(metadata) }),
    append: (key, value) => keyed(key, () => ({ kind: "append", key, valueJson: jsonOf(value) ?? "null" })),
    remove: (key, value) => keyed(key, () => ({ kind: "remove", key, valueJson: jsonOf(value) ?? "null" })),
    increment: (key, amount = 1) => keyed(key, () => ({ kind: "increment", key, amount: finite(amount) })),
    stream: (key, items) =>
      published(key, items, async (valueJson) => {
        const run = currentRun();
        if (run?.isActive() === true) await run.metadata.publish(target, key, valueJson);
      }),
    decrement: (key, amount = 1) => keyed(key, () => ({ kind: "increment", key, amount: -finite(amount) })),
  };
}

/** The same items, each published when it is read from the source. */
function published<T>(
  key: string,
  items: Iterable<T> | AsyncIterable<T>,
  publish: (json: string) => Promise<void>,
): AsyncIterable<T> {
  checkKey(key);
  if (key === "run") throw new MetadataError('A stream cannot have the name "run"');
  const read: { readonly item: T }[] = [];
  let end: { readonly error?: unknown } | undefined;
  let waiting: (() => void)[] = [];
  const wake = (): void => {
    const woken = waiting;
    waiting = [];
    for (const resolve of woken) resolve();
  };
  const pump = async (): Promise<void> => {
    for await (const item of items) {
      read.push({ item });
      wake();
      await publish(jsonOf(item) ?? "null");
    }
  };
  // What the source throws is for whoever reads.
  const ended = (how: { readonly error?: unknown }): void => {
    end = how;
    wake();
  };
  pump().then(
    () => ended({}),
    (error: unknown) => ended({ error }),
  );
  return {
    async *[Symbol.asyncIterator]() {
      for (let next = 0; ; ) {
        for (; next < read.length; next += 1) {
          const box = read[next];
          if (box !== undefined) yield box.item;
        }
        if (end !== undefined) break;
        await new Promise<void>((resolve) => {
          waiting.push(resolve);
        });
      }
      if ("error" in end) throw end.error;
    },
  };
}

/** Undefined for undefined, as in members of an object (MET-1). */
function jsonOf(value: unknown): string | undefined {
  const json: unknown = JSON.stringify(value);
  if (typeof json === "string") return json;
  if (value === undefined) return undefined;
  throw new TypeError(`A metadata value must have JSON, got ${typeof value}`);
}

function objectJson(metadata: Readonly<Record<string, unknown>>): string {
  const json = jsonOf(metadata);
  if (json?.startsWith("{") === true) return json;
  throw new MetadataError("Metadata must be a plain object");
}

function finite(amount: number): number {
  if (Number.isFinite(amount)) return amount;
  throw new MetadataError(`Metadata can only be changed by a finite number, got ${String(amount)}`);
}

function current(): Record<string, unknown> | undefined {
  const run = currentRun();
  return run === undefined ? undefined : { ...structuredClone(run.metadata.current()) };
}

function get(key: string): unknown {
  const value = currentRun()?.metadata.get(key);
  return typeof value === "object" ? structuredClone(value) : value;
}

async function flush(): Promise<void> {
  await currentRun()?.metadata.flush();
}

async function refresh(requestOptions?: RequestOptions): Promise<void> {
  const run = currentRun();
  if (run === undefined) return;
  await run.metadata.refresh(() =>
    call(
      requestOptions,
      () => ({ runId: run.ctx.run.id }),
      async ({ runs }, request, options) => (await runs.retrieveRun(request, options)).run?.metadataJson ?? "",
    ),
  );
}

const parent: AncestorMetadata = updater("parent", () => parent);
const root: AncestorMetadata = updater("root", () => root);

/** Reads and changes the metadata of the run that calls, of its parent and of its root (section 16). */
export const metadata: Metadata = { ...updater("self", () => metadata), current, get, flush, refresh, parent, root };
