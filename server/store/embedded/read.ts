/** Runs as readers see them. */
import type { Failure } from "../../domain/failure.js";
import type { AttemptSummary, RunState } from "../../domain/run.js";
import type { LogLine, RelatedRun, RunDetail, RunRef, RunResult } from "../store.js";
import { completedAttempt, findRun } from "./change.js";
import { readMetadata, specOf } from "./claim.js";
import type { Context } from "./context.js";
import { optionalBytesAt, optionalTextAt, type Row, textAt } from "./database.js";
import { RUN_COLUMN_COUNT, RUN_COLUMNS, readRun, runIdBytes } from "./run-row.js";

/** RUN-10: related runs that are shown. */
const CHILDREN_MAX = 100;

export function readRuns(context: Context, refs: readonly RunRef[]): readonly (RunState | undefined)[] {
  return refs.map(({ environment, runId }) => findRun(context, environment, runId)?.state);
}

export function readRunDetails(context: Context, refs: readonly RunRef[]): readonly (RunDetail | undefined)[] {
  return refs.map((ref) => readDetail(context, ref));
}

export function readRunResults(context: Context, refs: readonly RunRef[]): readonly (RunResult | undefined)[] {
  return refs.map((ref) => readResult(context, ref));
}

const RESULT_SQL = `SELECT ${RUN_COLUMNS}, output FROM runs WHERE id = ? AND env = ?`;

function readResult(context: Context, { environment, runId }: RunRef): RunResult | undefined {
  const id = runIdBytes(runId);
  const env = context.names.findEnvironment(environment);
  const row = id === undefined || env === undefined ? undefined : context.db.get(RESULT_SQL, id, env);
  if (row === undefined) return undefined;
  const stored = readRun(row, context.names);
  if (!stored.hasResults) {
    return { run: stored.state, output: optionalBytesAt(row, RUN_COLUMN_COUNT), failure: undefined };
  }
  const results = context.db.get("SELECT attempts, failure, output FROM results WHERE run = ?", stored.row);
  return {
    run: stored.state,
    output: results === undefined ? undefined : optionalBytesAt(results, 2),
    failure: failureOf(results),
  };
}

function readDetail(context: Context, { environment, runId }: RunRef): RunDetail | undefined {
  const id = runIdBytes(runId);
  const env = context.names.findEnvironment(environment);
  if (id === undefined || env === undefined) return undefined;
  const row = context.db.get(
    `SELECT ${RUN_COLUMNS}, spec, has_metadata, output FROM runs WHERE id = ? AND env = ?`,
    id,
    env,
  );
  if (row === undefined) return undefined;
  const stored = readRun(row, context.names);
  const { state } = stored;
  const results = stored.hasResults
    ? context.db.get("SELECT attempts, failure, output FROM results WHERE run = ?", stored.row)
    : undefined;
  const logs = context.db.get("SELECT lines FROM logs WHERE run = ?", stored.row);
  return {
    run: state,
    spec: specOf(context, stored, row),
    metadataJson: row[RUN_COLUMN_COUNT + 1] === 1 ? readMetadata(context, stored.row) : undefined,
    output: results === undefined ? optionalBytesAt(row, RUN_COLUMN_COUNT + 2) : optionalBytesAt(results, 2),
    failure: failureOf(results),
    attempts: results === undefined ? onlyAttempt(state) : attemptsOf(results),
    logs: logs === undefined ? [] : linesOf(textAt(logs, 0)),
    root: relatedRun(context, env, state.rootRunId),
    parent: relatedRun(context, env, state.parentRunId),
    children: childrenOf(context, env, runId),
  };
}

// What follows was written by this store from the same interfaces, so it is not checked member by member.

function failureOf(results: Row | undefined): Failure | undefined {
  const json = results === undefined ? undefined : optionalTextAt(results, 1);
  return json === undefined ? undefined : JSON.parse(json);
}

function attemptsOf(results: Row | undefined): readonly AttemptSummary[] {
  const json = results === undefined ? undefined : optionalTextAt(results, 0);
  return json === undefined ? [] : JSON.parse(json);
}

function onlyAttempt(run: RunState): readonly AttemptSummary[] {
  const attempt = completedAttempt(run);
  return attempt === undefined ? [] : [attempt];
}

export function linesOf(json: string): readonly LogLine[] {
  return JSON.parse(json);
}

const RELATED_SQL = `SELECT ${RUN_COLUMNS} FROM runs WHERE id = ? AND env = ?`;
const CHILDREN_SQL = `SELECT ${RUN_COLUMNS} FROM runs WHERE parent = ? AND env = ? ORDER BY created_ms, row LIMIT ${CHILDREN_MAX}`;

function relatedRun(context: Context, env: number, runId: string | undefined): RelatedRun | undefined {
  const id = runId === undefined ? undefined : runIdBytes(runId);
  if (id === undefined) return undefined;
  const row = context.db.get(RELATED_SQL, id, env);
  return row === undefined ? undefined : readRelated(context, row);
}

function childrenOf(context: Context, env: number, runId: string): readonly RelatedRun[] {
  return context.db.all(CHILDREN_SQL, runId, env).map((row) => readRelated(context, row));
}

function readRelated(context: Context, row: Row): RelatedRun {
  const { id, status, taskId, depth, triggerFunction, batchId } = readRun(row, context.names).state;
  return { runId: id, status, taskId, depth, triggerFunction, batchId };
}
