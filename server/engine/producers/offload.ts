/**
 * Large payloads on their way to the payload store: written before the run that names them, so that no run ever names what is not there
 * (PAY-3, design 15). What was written for a run that then was not made is removed again; what a crash leaves is an orphan of the duty of
 * that name.
 */
import { createHash } from "node:crypto";
import { type AppError, isAppError, runNotFound } from "../../domain/error.js";
import { type LargeData, largeData, mediaType } from "../../domain/payload.js";
import { OBJECT_RANDOM_BYTES, type ObjectReference, objectKey } from "../../domain/payload-object.js";
import type { InsertRun, InsertRunResult } from "../../store/store.js";
import type { EngineDeps, TriggerItem } from "../engine.js";
import { withTries } from "../payload-tries.js";

/** Writes of one call that are under way at a time: each holds a payload of up to 10 MB. */
const AT_ONCE = 4;

export interface Offloading {
  readonly item: Pick<TriggerItem, "payload"> & { readonly copyOf?: ObjectReference };
  readonly insert: InsertRun;
}

/** Inserts that name what is in the payload store by now; in the place of one that could not be written, why not. */
export async function offload<T extends Offloading>(
  deps: EngineDeps,
  entries: readonly (T | AppError)[],
): Promise<readonly (T | AppError)[]> {
  const done = [...entries];
  const large = entries.flatMap((entry, index) => {
    if (isAppError(entry)) return [];
    const data = largeData(entry.item.payload, deps.limits);
    return data === undefined && entry.item.copyOf === undefined ? [] : [{ index, entry, data }];
  });
  // Nearly every call ends here, and has cost a comparison for each item.
  if (large.length === 0) return entries;
  const waiting = large.values();
  const work = async (): Promise<void> => {
    for (const { index, entry, data } of waiting) done[index] = await offloadOne(deps, entry, data);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return done;
}

async function offloadOne<T extends Offloading>(
  deps: EngineDeps,
  entry: T,
  data: LargeData | undefined,
): Promise<T | AppError> {
  try {
    const { run, spec } = entry.insert;
    const reference =
      data === undefined
        ? await copied(deps, entry)
        : await written(deps, { run, kind: "payload", data, contentType: "" });
    const insert = { ...entry.insert, spec: deps.specs.withReference(spec, reference), objectKeys: [reference.key] };
    return { ...entry, insert };
  } catch (error) {
    if (isAppError(error)) return error;
    throw error;
  }
}

/** PAY-11. @throws AppError RUN_NOT_FOUND: the replayed run was purged while it was read. */
async function copied(deps: EngineDeps, { item, insert }: Offloading): Promise<ObjectReference> {
  const { payloads, entropy } = deps;
  const { copyOf } = item;
  const { environment, id: runId } = insert.run;
  if (copyOf === undefined) throw new Error("there is nothing to copy");
  const key = objectKey(
    { environment, runId, kind: "payload", sha256: copyOf.sha256 },
    entropy.bytes(OBJECT_RANDOM_BYTES),
  );
  const isThere = copyOf.driver === payloads.driver && (await withTries(deps, () => payloads.copy(copyOf.key, key)));
  if (!isThere) throw runNotFound(insert.run.replayOf ?? runId);
  return { ...copyOf, key };
}

/** Writes data for a run. @throws AppError PAYLOAD_STORE_UNAVAILABLE */
export async function written(
  deps: Pick<EngineDeps, "payloads" | "clock" | "events" | "entropy">,
  object: {
    readonly run: { readonly environment: string; readonly id: string };
    readonly kind: "payload" | "output";
    readonly data: LargeData;
    readonly contentType: string;
  },
  pausesMs?: readonly number[],
): Promise<ObjectReference> {
  const { payloads, entropy } = deps;
  const { run, kind, data, contentType } = object;
  const { body, form } = data;
  const sha256 = createHash("sha256").update(body).digest();
  const name = { environment: run.environment, runId: run.id, kind, sha256 };
  const key = objectKey(name, entropy.bytes(OBJECT_RANDOM_BYTES));
  const sizeBytes = body.length;
  const announced = { key, sizeBytes, sha256, contentType: mediaType(form, contentType) };
  await withTries(deps, () => payloads.write(announced, body), pausesMs);
  return { driver: payloads.driver, key, sizeBytes, sha256, form };
}

/** The same for the inserts of a batch. @throws AppError of the first item whose payload could not be written; nothing is stored then. */
export async function offloadBatch(
  deps: EngineDeps,
  items: readonly Pick<TriggerItem, "payload">[],
  inserts: readonly InsertRun[],
): Promise<readonly InsertRun[]> {
  const entries = inserts.flatMap((insert, index): readonly Offloading[] => {
    const item = items[index];
    return item === undefined ? [] : [{ item, insert }];
  });
  return (await offload(deps, entries)).map((entry) => {
    if (isAppError(entry)) throw entry;
    return entry.insert;
  });
}

/**
 * Removes what was written for runs that were not made: a hit, a repeat, a full queue. The record is asked first, since a write that was
 * taken for a repeat may have been one's own. What cannot be removed now is swept later.
 */
export async function dropUnused(
  { store, payloads }: Pick<EngineDeps, "store" | "payloads">,
  inserts: readonly InsertRun[],
  results: readonly InsertRunResult[],
): Promise<void> {
  const unused = inserts.flatMap(({ objectKeys = [] }, index) =>
    results[index]?.kind === "created" ? [] : objectKeys,
  );
  if (unused.length === 0) return;
  try {
    await payloads.remove(await store.findUnnamedObjects(unused));
  } catch {
    // The answer to the caller does not depend on it.
  }
}
