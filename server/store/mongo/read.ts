/** Runs as readers see them. */
import type { AttemptSummary, RunState } from "../../domain/run.js";
import type { RelatedRun, RunDetail, RunRef, RunResult } from "../store.js";
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import { linesOf } from "./logs.js";
import { bytesOf, type RunDoc, readState, WITHOUT_BODIES } from "./run-doc.js";

/** RUN-10: related runs that are shown. */
const CHILDREN_MAX = 100;
const RELATED = {
  environment: 1,
  status: 1,
  taskId: 1,
  depth: 1,
  triggerFunction: 1,
  batchId: 1,
  parentRunId: 1,
} as const;

export async function readRuns(context: Context, refs: readonly RunRef[]): Promise<readonly (RunState | undefined)[]> {
  const docs = await context.runs.findByIds(
    refs.map(({ runId }) => runId),
    WITHOUT_BODIES,
  );
  return refs.map(({ environment, runId }) => {
    const doc = docs.get(runId);
    return doc?.environment === environment ? readState(doc) : undefined;
  });
}

export async function readRunDetails(
  context: Context,
  refs: readonly RunRef[],
): Promise<readonly (RunDetail | undefined)[]> {
  const runIds = refs.map(({ runId }) => runId);
  const [docs, logs] = await Promise.all([context.runs.findByIds(runIds), context.logs.findByIds(runIds)]);
  const own = refs.map(({ environment, runId }) => {
    const doc = docs.get(runId);
    return doc?.environment === environment ? doc : undefined;
  });
  const above = own.flatMap((doc) => [doc?.parentRunId, doc?.rootRunId]).filter((id) => id !== undefined);
  const [related, children] = await Promise.all([
    context.runs.findByIds(above, RELATED),
    Promise.all(own.map(async (doc) => (doc === undefined ? [] : childrenOf(context, doc)))),
  ]);
  return own.map((doc, index) => {
    if (doc === undefined) return undefined;
    const at = (runId: string | undefined): RelatedRun | undefined => {
      const found = runId === undefined ? undefined : related.get(runId);
      return found?.environment === doc.environment ? relatedOf(found) : undefined;
    };
    return {
      run: readState(doc),
      spec: bytesOf(doc.spec) ?? new Uint8Array(0),
      metadataJson: doc.meta,
      output: bytesOf(doc.output),
      failure: doc.failure,
      attempts: (doc.attempts ?? []).map(attemptOf),
      logs: linesOf(logs.get(doc._id)),
      root: at(doc.rootRunId),
      parent: at(doc.parentRunId),
      children: children[index] ?? [],
    };
  });
}

export async function readRunResults(
  context: Context,
  refs: readonly RunRef[],
): Promise<readonly (RunResult | undefined)[]> {
  const runIds = refs.map(({ runId }) => runId);
  const docs = await context.runs.findByIds(runIds, { spec: 0, meta: 0, attempts: 0 });
  return refs.map(({ environment, runId }) => {
    const doc = docs.get(runId);
    if (doc?.environment !== environment) return undefined;
    return { run: readState(doc), output: bytesOf(doc.output), failure: doc.failure };
  });
}

function attemptOf({ number, outcome, startedAtMs, finishedAtMs, worker, error }: AttemptSummary): AttemptSummary {
  return { number, outcome, startedAtMs, finishedAtMs, worker, error };
}

async function childrenOf(context: Context, { _id, environment }: RunDoc): Promise<readonly RelatedRun[]> {
  const filter = filterOf<RunDoc>({ environment, parentRunId: { $exists: true, $eq: _id } });
  const options = { sort: { createdAtMs: 1, _id: 1 }, limit: CHILDREN_MAX, projection: RELATED } as const;
  return (await context.runs.find(filter, options)).map(relatedOf);
}

function relatedOf(doc: RunDoc): RelatedRun {
  const { _id, status, taskId, depth = 0, triggerFunction = "trigger", batchId } = doc;
  if (status === undefined || taskId === undefined) throw new TypeError(`run ${_id} has no status or task`);
  return { runId: _id, status, taskId, depth, triggerFunction, batchId };
}
