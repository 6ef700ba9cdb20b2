/** The verbs, by name, as messages to a thread name them. */
import {
  awaitBatches,
  doneBatches,
  findBatches,
  insertBatch,
  readBatches,
  readBatchItems,
  sealBatches,
} from "./batches.js";
import { changeRuns } from "./change.js";
import { claimRuns } from "./claim.js";
import type { Context } from "./context.js";
import { findRuns } from "./find.js";
import { insertRuns } from "./insert.js";
import type { InsertRow } from "./insert-row.js";
import { resetKey } from "./keys.js";
import { countRuns, listRuns } from "./list.js";
import { appendLogs } from "./logs.js";
import { changeMetadata } from "./metadata.js";
import { findUnnamedObjects } from "./objects.js";
import { probe } from "./probe.js";
import { purge } from "./purge.js";
import { changeQueue, listQueues, readQueue } from "./queues.js";
import { readRunDetails, readRunResults, readRuns } from "./read.js";
import { createSecretKey, listSecretKeys, readSecretKey, revokeSecretKey } from "./secret-keys.js";
import { closeSession, keepSessions, lapseSessions, listSessions, openSession } from "./sessions.js";
import { endLingering } from "./slots.js";
import { appendStreams, readStream } from "./streams.js";
import { listTasks, registerTasks } from "./tasks.js";
import {
  endWaitpoints,
  findWaitpoints,
  insertWaitpoints,
  listTokens,
  readWaitpoints,
  settleWaitpoints,
} from "./waitpoints.js";

/** Run inside a transaction of the writing connection. */
const WRITE_VERBS = {
  insertRuns,
  resetKey,
  insertBatch,
  sealBatches,
  awaitBatches,
  doneBatches,
  claimRuns,
  changeRuns,
  changeMetadata,
  appendStreams,
  endLingering,
  appendLogs,
  openSession,
  keepSessions,
  lapseSessions,
  closeSession,
  insertWaitpoints,
  endWaitpoints,
  settleWaitpoints,
  registerTasks,
  changeQueue,
  createSecretKey,
  revokeSecretKey,
  purge,
  probe,
} as const;

/** May run on a reading connection. */
const READ_VERBS = {
  readRuns,
  readRunDetails,
  readStream,
  readRunResults,
  listRuns,
  countRuns,
  findRuns,
  readBatches,
  readBatchItems,
  findBatches,
  readWaitpoints,
  findWaitpoints,
  listTokens,
  listTasks,
  listQueues,
  readQueue,
  listSessions,
  listSecretKeys,
  readSecretKey,
  findUnnamedObjects,
} as const;

const VERBS = { ...WRITE_VERBS, ...READ_VERBS } as const;

export type VerbName = keyof typeof VERBS;
export type ArgumentOf<V extends VerbName> = Parameters<(typeof VERBS)[V]>[1];
export type ResultOf<V extends VerbName> = ReturnType<(typeof VERBS)[V]>;

export function isReadVerb(verb: VerbName): boolean {
  return Object.hasOwn(READ_VERBS, verb);
}

/** A verb to be carried out; made by `EmbeddedStore`, which pairs names and arguments. */
export type Call =
  | { readonly verb: Exclude<VerbName, "insertRuns">; readonly argument: unknown; readonly inserts?: undefined }
  /** Inserts keep their type: they are packed on their way to the thread, and joined there. */
  | { readonly verb: "insertRuns"; readonly inserts: readonly InsertRow[] };

export function runVerb(context: Context, call: Call): unknown {
  if (call.verb === "insertRuns") return insertRuns(context, call.inserts);
  // The pair was checked where the call was made; between threads only its names are left.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
  const verb = VERBS[call.verb] as (context: Context, argument: unknown) => unknown;
  const value = verb(context, call.argument);
  context.rowWrites.flush();
  return value;
}
