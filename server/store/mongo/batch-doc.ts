/**
 * A batch as documents. The batch is made by one guarded write of its record; what that write makes valid was stored before it: a document
 * with the positions of the chunk, and the new runs as they will be, in a collection of their own, where no reader, claim or duty looks.
 */
import { type Binary, Binary as BinaryValue } from "mongodb";
import type { BatchFailure, BatchItem, BatchOpener, BatchState } from "../../domain/batch.js";
import type { RunKey, RunState } from "../../domain/run.js";
import type { InsertRun } from "../store.js";
import type { Identified } from "./client.js";
import { type RunDoc, readState } from "./run-doc.js";

export interface BatchDoc extends Identified {
  readonly environment: string;
  readonly req?: string;
  readonly streamed: boolean;
  readonly awaited: boolean;
  readonly key?: RunKey;
  readonly opener?: BatchOpener;
  /** Of {@link opener}, while the batch is open. */
  readonly openerRun?: string;
  readonly items: number;
  readonly chunks: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** While it is open and streamed: {@link updatedAtMs}. */
  readonly openMs?: number;
  readonly sealedAtMs?: number;
  readonly failure?: BatchFailure;
  /** Token of the call that makes its next chunk, or made the last one; whoever takes over or aborts writes another. */
  readonly by: string;
  /** Since when a chunk is being made, by the database's clock. */
  readonly makingMs?: number;
  /** The creation of a one-call batch was given up; its own repeat takes it up again. */
  readonly aborted?: boolean;
  /** Since when the runs of its last chunk, made under {@link by}, are to be published. */
  readonly owes?: number;
  readonly purgeKey?: number;
}

/** Positions of a chunk. `_id`: {@link chunkId}; of a token that did not make it, it means nothing. */
export interface ChunkDoc extends Identified {
  readonly batch: string;
  readonly token: string;
  /** First position, and the one behind the last. */
  readonly first: number;
  readonly end: number;
  readonly runs: readonly string[];
  readonly tasks: readonly string[];
  /** Position → number in {@link tasks}; none where all have the same. */
  readonly task?: readonly number[];
  /** Positions that are hits. */
  readonly cached?: readonly number[];
  readonly keys?: readonly (string | null)[];
  /** Runs made by others that may be live. */
  readonly hits?: readonly string[];
  /** Failed runs that lose their key to a new one. */
  readonly dropped?: readonly { readonly runId: string; readonly recordHash: string }[];
  /** It is valid, and its runs are published. */
  readonly done?: boolean;
  /** When it was written, by the database's clock; absent once {@link done}. */
  readonly at?: number;
}

/** New runs that are not published, some of a chunk. */
export interface PendingDoc extends Identified {
  readonly batch: string;
  readonly token: string;
  readonly at: number;
  readonly runs: readonly PendingRun[];
}

interface PendingRun {
  readonly state: RunDoc;
  readonly spec: Binary;
  readonly meta?: string;
  readonly debounce?: string;
  readonly objects?: readonly string[];
}

export function chunkId(batch: string, first: number, token: string): string {
  return `${batch}|${first}|${token}`;
}

/** Bytes of one document of pending runs: well below the 16 MB of any document, with a run of the largest size added. */
const PENDING_BYTES = 3 * 1_048_576;
/** What the state of a run takes, at most, beside what is counted. */
const STATE_BYTES = 8_192;

export function pendingDocs(
  inserts: readonly InsertRun[],
  { batch, token, at }: Pick<PendingDoc, "batch" | "token" | "at">,
): readonly PendingDoc[] {
  const docs: PendingDoc[] = [];
  let runs: PendingRun[] = [];
  let bytes = 0;
  const flush = (): void => {
    if (runs.length > 0) docs.push({ _id: `${batch}|${token}|${docs.length}`, batch, token, at, runs });
    runs = [];
    bytes = 0;
  };
  for (const { run, spec, metadataJson, debounce, objectKeys } of inserts) {
    const size = spec.length + (metadataJson?.length ?? 0) * 3 + STATE_BYTES;
    if (bytes + size > PENDING_BYTES) flush();
    const { id, ...state } = run;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the fields of a state, as readState takes them
    const stored = { _id: id, ...state } as RunDoc;
    runs.push({
      state: stored,
      spec: new BinaryValue(spec),
      ...(metadataJson === undefined ? {} : { meta: metadataJson }),
      ...(debounce === undefined ? {} : { debounce: debounce.recordHash }),
      ...(objectKeys === undefined ? {} : { objects: objectKeys }),
    });
    bytes += size;
  }
  flush();
  return docs;
}

export function pendingRuns(docs: readonly PendingDoc[]): readonly {
  readonly run: RunState;
  readonly spec: Binary;
  readonly metadataJson: string | undefined;
  readonly debounceHash: string | undefined;
  readonly objectKeys: readonly string[] | undefined;
}[] {
  return docs.flatMap(({ runs }) =>
    runs.map(({ state, spec, meta, debounce, objects }) => {
      return { run: readState(state), spec, metadataJson: meta, debounceHash: debounce, objectKeys: objects };
    }),
  );
}

/** Whether readers see it: a streamed one from its opening, any other once it is made. */
export function isVisible({ streamed, chunks }: BatchDoc): boolean {
  return streamed || chunks > 0;
}

export function batchState(doc: BatchDoc): BatchState {
  const { key, opener, failure } = doc;
  return {
    environment: doc.environment,
    id: doc._id,
    isStreamed: doc.streamed,
    isAwaited: doc.awaited,
    key:
      key === undefined
        ? undefined
        : { recordHash: key.recordHash, text: key.text, scope: key.scope ?? undefined, expiresAtMs: key.expiresAtMs },
    opener,
    itemCount: doc.items,
    chunkCount: doc.chunks,
    createdAtMs: doc.createdAtMs,
    updatedAtMs: doc.updatedAtMs,
    sealedAtMs: doc.sealedAtMs,
    failure:
      failure === undefined
        ? undefined
        : { message: failure.message, code: failure.code, index: failure.index, taskId: failure.taskId },
  };
}

export function chunkItems(doc: ChunkDoc): readonly BatchItem[] {
  const isCached = new Set(doc.cached);
  return doc.runs.map((runId, at) => ({
    index: doc.first + at,
    runId,
    taskId: doc.tasks[doc.task?.[at] ?? 0] ?? "",
    isCached: isCached.has(at),
    keyText: doc.keys?.[at] ?? undefined,
  }));
}
