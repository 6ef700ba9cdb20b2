/**
 * Runs on their way from a thread: the values of their members in a fixed order, as JSON, one text for a whole answer. Copying the object
 * of a run between threads costs more than claiming it; this is less than half of that. What is not a run travels as it is.
 */
import type { RunKey, RunState } from "../../domain/run.js";
import type { ChangeMetadataResult, ChangeResult, ClaimedRun, RunPage } from "../store.js";
import type { Outcome } from "./group.js";
import type { InsertAnswer } from "./insert-row.js";
import type { VerbName } from "./verbs.js";

type PackedKey = readonly [
  recordHash: RunKey["recordHash"],
  text: RunKey["text"],
  scope: RunKey["scope"],
  expiresAtMs: RunKey["expiresAtMs"],
];

/** JSON makes null of undefined. */
type PackedRun = readonly [
  environment: RunState["environment"],
  id: RunState["id"],
  taskId: RunState["taskId"],
  status: RunState["status"],
  readiness: RunState["readiness"],
  version: RunState["version"],
  queue: RunState["queue"],
  concurrencyKey: RunState["concurrencyKey"],
  orderMs: RunState["orderMs"],
  prioritySeconds: RunState["prioritySeconds"],
  dueMs: RunState["dueMs"],
  delayedUntilMs: RunState["delayedUntilMs"],
  ttlMs: RunState["ttlMs"],
  ttlText: RunState["ttlText"],
  expireAtMs: RunState["expireAtMs"],
  expiredAtMs: RunState["expiredAtMs"],
  attempt: RunState["attempt"],
  maxAttempts: RunState["maxAttempts"],
  policyMaxAttempts: RunState["policyMaxAttempts"],
  maxDurationSeconds: RunState["maxDurationSeconds"],
  attemptMaxDurationSeconds: RunState["attemptMaxDurationSeconds"],
  deadlineMs: RunState["deadlineMs"],
  retryAtMs: RunState["retryAtMs"],
  sessionId: RunState["sessionId"],
  pickUpDeadlineMs: RunState["pickUpDeadlineMs"],
  pickUpFailures: RunState["pickUpFailures"],
  interruptions: RunState["interruptions"],
  fence: RunState["fence"],
  reportFence: RunState["reportFence"],
  waitingFor: RunState["waitingFor"],
  awaited: RunState["awaited"],
  todo: RunState["todo"],
  batchId: RunState["batchId"],
  batchIndex: RunState["batchIndex"],
  parentRunId: RunState["parentRunId"],
  rootRunId: RunState["rootRunId"],
  depth: RunState["depth"],
  replayOf: RunState["replayOf"],
  triggerFunction: RunState["triggerFunction"],
  isTest: RunState["isTest"],
  tags: RunState["tags"],
  createdAtMs: RunState["createdAtMs"],
  updatedAtMs: RunState["updatedAtMs"],
  startedAtMs: RunState["startedAtMs"],
  finishedAtMs: RunState["finishedAtMs"],
  attemptStartedAtMs: RunState["attemptStartedAtMs"],
  activeSinceMs: RunState["activeSinceMs"],
  attemptActiveMs: RunState["attemptActiveMs"],
  earlierActiveMs: RunState["earlierActiveMs"],
  key: PackedKey | undefined,
  rejoinAttempt: RunState["rejoinAttempt"],
];

function packRun(run: RunState): PackedRun {
  const { key } = run;
  return [
    run.environment,
    run.id,
    run.taskId,
    run.status,
    run.readiness,
    run.version,
    run.queue,
    run.concurrencyKey,
    run.orderMs,
    run.prioritySeconds,
    run.dueMs,
    run.delayedUntilMs,
    run.ttlMs,
    run.ttlText,
    run.expireAtMs,
    run.expiredAtMs,
    run.attempt,
    run.maxAttempts,
    run.policyMaxAttempts,
    run.maxDurationSeconds,
    run.attemptMaxDurationSeconds,
    run.deadlineMs,
    run.retryAtMs,
    run.sessionId,
    run.pickUpDeadlineMs,
    run.pickUpFailures,
    run.interruptions,
    run.fence,
    run.reportFence,
    run.waitingFor,
    run.awaited,
    run.todo,
    run.batchId,
    run.batchIndex,
    run.parentRunId,
    run.rootRunId,
    run.depth,
    run.replayOf,
    run.triggerFunction,
    run.isTest,
    run.tags,
    run.createdAtMs,
    run.updatedAtMs,
    run.startedAtMs,
    run.finishedAtMs,
    run.attemptStartedAtMs,
    run.activeSinceMs,
    run.attemptActiveMs,
    run.earlierActiveMs,
    key === undefined ? undefined : [key.recordHash, key.text, key.scope, key.expiresAtMs],
    run.rejoinAttempt,
  ];
}

function unpackRun(packed: PackedRun): RunState {
  const key = packed[49] ?? undefined;
  return {
    environment: packed[0],
    id: packed[1],
    taskId: packed[2],
    status: packed[3],
    readiness: packed[4] ?? undefined,
    version: packed[5],
    queue: packed[6],
    concurrencyKey: packed[7] ?? undefined,
    orderMs: packed[8],
    prioritySeconds: packed[9],
    dueMs: packed[10] ?? undefined,
    delayedUntilMs: packed[11] ?? undefined,
    ttlMs: packed[12] ?? undefined,
    ttlText: packed[13] ?? undefined,
    expireAtMs: packed[14] ?? undefined,
    expiredAtMs: packed[15] ?? undefined,
    attempt: packed[16],
    maxAttempts: packed[17] ?? undefined,
    policyMaxAttempts: packed[18] ?? undefined,
    maxDurationSeconds: packed[19] ?? undefined,
    attemptMaxDurationSeconds: packed[20] ?? undefined,
    deadlineMs: packed[21] ?? undefined,
    retryAtMs: packed[22] ?? undefined,
    sessionId: packed[23] ?? undefined,
    pickUpDeadlineMs: packed[24] ?? undefined,
    pickUpFailures: packed[25],
    interruptions: packed[26],
    fence: packed[27],
    reportFence: packed[28] ?? undefined,
    waitingFor: packed[29] ?? undefined,
    rejoinAttempt: packed[50] ?? undefined,
    awaited: packed[30],
    todo: packed[31],
    batchId: packed[32] ?? undefined,
    batchIndex: packed[33] ?? undefined,
    parentRunId: packed[34] ?? undefined,
    rootRunId: packed[35] ?? undefined,
    depth: packed[36],
    replayOf: packed[37] ?? undefined,
    triggerFunction: packed[38],
    isTest: packed[39],
    tags: packed[40],
    createdAtMs: packed[41],
    updatedAtMs: packed[42],
    startedAtMs: packed[43] ?? undefined,
    finishedAtMs: packed[44] ?? undefined,
    attemptStartedAtMs: packed[45] ?? undefined,
    activeSinceMs: packed[46] ?? undefined,
    attemptActiveMs: packed[47],
    earlierActiveMs: packed[48],
    key:
      key === undefined
        ? undefined
        : { recordHash: key[0], text: key[1], scope: key[2] ?? undefined, expiresAtMs: key[3] },
  };
}

/** Outcomes whose runs are numbers into `runs`, a JSON list of packed ones; specs of claims lie one behind the other in `specs`. */
export interface PackedOutcomes {
  readonly outcomes: readonly Outcome[];
  readonly runs: string;
  readonly specs: Uint8Array;
}

/** How the value of a verb is rebuilt with something else in the place of its runs, or claims. */
type Exchange = (value: unknown, swap: (run: unknown) => unknown) => unknown;

// The values are those that the verbs of these names return, before or after the exchange.

const list: Exchange = (value, swap) =>
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
  (value as readonly unknown[]).map((run) => (run === undefined ? run : swap(run)));

const CREATED: InsertAnswer = { kind: "created", queueLimitIgnored: false };

/** All created: how many. Nearly every insert is, and a number is copied for nothing. */
function shortInserts(value: unknown, swap: (run: unknown) => unknown): unknown {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
  const answers = value as readonly InsertAnswer[];
  const areCreated = answers.every((answer) => answer.kind === "created" && !answer.queueLimitIgnored);
  if (areCreated) return answers.length;
  return answers.map((answer) => (answer.kind === "pushed" ? { ...answer, run: swap(answer.run) } : answer));
}

const EXCHANGES: Partial<Record<VerbName, Exchange>> = {
  readRuns: list,
  findRuns: list,
  listRuns: (value, swap) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    const page = value as RunPage;
    return { ...page, runs: page.runs.map(swap) };
  },
  claimRuns: (value, swap) =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    (value as readonly (readonly unknown[])[]).map((claims) => claims.map(swap)),
  insertRuns: (value, swap) =>
    typeof value === "number" ? Array.from({ length: value }, () => CREATED) : shortInserts(value, swap),
  changeMetadata: (value, swap) =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    (value as readonly ChangeMetadataResult[]).map((result) => {
      return result.run === undefined ? result : { ...result, run: swap(result.run) };
    }),
  changeRuns: (value, swap) =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    (value as readonly ChangeResult[]).map((result) => {
      return result.run === undefined ? result : { ...result, run: swap(result.run) };
    }),
};

/** A claim on its way: its run as a number, as long a part of the bytes beside the runs, flags and metadata. */
type PackedClaim = readonly [run: number, specLength: number, flags: number, metadataJson: string | undefined];

const IS_LIMITED = 1;
const IS_RESUME = 2;

/** @param verbs of the outcomes, in their order. */
export function packOutcomes(verbs: readonly VerbName[], outcomes: readonly Outcome[]): PackedOutcomes {
  const runs: PackedRun[] = [];
  const specs: Uint8Array[] = [];
  const put = (run: RunState): number => runs.push(packRun(run)) - 1;
  const putClaim = ({ run, spec, metadataJson, isLimited, isResume }: ClaimedRun): PackedClaim => {
    specs.push(spec);
    return [put(run), spec.length, (isLimited ? IS_LIMITED : 0) | (isResume ? IS_RESUME : 0), metadataJson];
  };
  const packed = exchange(verbs, outcomes, (item, verb) =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the verb of this name returns
    verb === "claimRuns" ? putClaim(item as ClaimedRun) : put(item as RunState),
  );
  return { outcomes: packed, runs: JSON.stringify(runs), specs: Buffer.concat(specs) };
}

export function unpackOutcomes(
  verbs: readonly VerbName[],
  { outcomes, runs, specs }: PackedOutcomes,
): readonly Outcome[] {
  const packed: readonly PackedRun[] = JSON.parse(runs);
  const get = (index: unknown): RunState => {
    const run = packed[Number(index)];
    if (run === undefined) throw new TypeError(`no run ${String(index)} in the answer`);
    return unpackRun(run);
  };
  let at = 0;
  const getClaim = ([run, specLength, flags, metadataJson]: PackedClaim): ClaimedRun => ({
    run: get(run),
    spec: specs.subarray(at, (at += specLength)),
    metadataJson,
    isLimited: (flags & IS_LIMITED) !== 0,
    isResume: (flags & IS_RESUME) !== 0,
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what packOutcomes made of a claim
  return exchange(verbs, outcomes, (item, verb) => (verb === "claimRuns" ? getClaim(item as PackedClaim) : get(item)));
}

function exchange(
  verbs: readonly VerbName[],
  outcomes: readonly Outcome[],
  swap: (item: unknown, verb: VerbName) => unknown,
): readonly Outcome[] {
  return outcomes.map((outcome, index) => {
    const verb = verbs[index];
    if (outcome.kind !== "done" || verb === undefined) return outcome;
    const rebuild = EXCHANGES[verb];
    if (rebuild === undefined) return outcome;
    return { kind: "done", value: rebuild(outcome.value, (item) => swap(item, verb)) };
  });
}
