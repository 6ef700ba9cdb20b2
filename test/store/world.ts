/** What the promises of a store are told with: a store, a time that stands still, and short ways to trigger, claim and report. */
import { newId } from "../../server/domain/ids.js";
import type { NewRunParams, RunKey, RunState } from "../../server/domain/run.js";
import { newRun } from "../../server/domain/run.js";
import type { RunChange } from "../../server/domain/run-change.js";
import type { SessionRecord } from "../../server/domain/session.js";
import type { TaskDeclaration } from "../../server/domain/task.js";
import type {
  ChangeResult,
  ClaimedRun,
  InsertRun,
  InsertRunResult,
  QueueChangeResult,
  RunDetail,
  RunFilter,
  Store,
} from "../../server/store/store.js";

/** What a test gives of a run; the rest is ordinary. */
export interface RunOptions extends Partial<NewRunParams> {
  readonly spec?: Uint8Array;
  readonly metadataJson?: string;
  readonly requestHash?: string;
  readonly queueSizeMax?: number;
  readonly queueLimit?: number;
}

type Named<C> = C extends RunChange ? Omit<C, "environment" | "nowMs" | "runId"> : never;
/** A change without what the world knows. */
export type Change = Named<RunChange>;

export const START_MS = Date.UTC(2026, 0, 1);
export const DAY_MS = 86_400_000;
export const SESSION = "session_00000000000000000000000001";

const PICK_UP_MS = 10_000;

/** Of all worlds: two environments of one store share no id. */
let serial = 0;

export class World {
  readonly store: Store;
  readonly environment: string;
  nowMs = START_MS;

  constructor(store: Store, environment = "dev") {
    this.store = store;
    this.environment = environment;
  }

  /** Ids rise with every call, so that ties of the order are told apart as in life. */
  id(): string {
    serial += 1;
    const random = new Uint8Array(10);
    new DataView(random.buffer).setUint32(0, serial);
    return newId("run", this.nowMs, random);
  }

  item(options: RunOptions = {}): InsertRun {
    const taskId = options.taskId ?? "job";
    const run = newRun({
      environment: this.environment,
      id: this.id(),
      taskId,
      queue: `task/${taskId}`,
      concurrencyKey: undefined,
      prioritySeconds: 0,
      delayedUntilMs: undefined,
      ttl: undefined,
      maxAttempts: undefined,
      maxDurationSeconds: undefined,
      key: undefined,
      parent: undefined,
      replayOf: undefined,
      triggerFunction: "trigger",
      isTest: false,
      tags: [],
      nowMs: this.nowMs,
      ...options,
    });
    const { requestHash } = options;
    return {
      run,
      spec: options.spec ?? new Uint8Array([1, 2, 3]),
      metadataJson: options.metadataJson,
      request: requestHash === undefined ? undefined : { hash: requestHash, expiresAtMs: this.nowMs + DAY_MS },
      queueSizeMax: options.queueSizeMax,
      queueLimit: options.queueLimit,
      nowMs: this.nowMs,
    };
  }

  async insert(options: RunOptions = {}): Promise<InsertRunResult> {
    return only(await this.store.insertRuns([this.item(options)]));
  }

  /** Triggers a run that must be a new one. */
  async trigger(options: RunOptions = {}): Promise<string> {
    const result = await this.insert(options);
    if (result.kind !== "created") throw new Error(`the run was not created but ${result.kind}`);
    return result.run.id;
  }

  /** Triggers several, one after the other in order. */
  async triggerMany(count: number, options: RunOptions = {}): Promise<readonly string[]> {
    const items = Array.from({ length: count }, () => this.item(options));
    const results = await this.store.insertRuns(items);
    if (results.some(({ kind }) => kind !== "created")) throw new Error("not all runs were created");
    return items.map(({ run }) => run.id);
  }

  key(text: string, ttlMs = DAY_MS): RunKey {
    return { recordHash: hashOf(text), text, scope: "global", expiresAtMs: this.nowMs + ttlMs };
  }

  session(options: Partial<SessionRecord> = {}): SessionRecord {
    return {
      environment: this.environment,
      id: SESSION,
      workerName: "host:1",
      sdk: "test/1.0.0",
      connectionEpoch: 1,
      taskIds: ["job"],
      concurrency: 10,
      connectedAtMs: this.nowMs,
      untilMs: this.nowMs + 30_000,
      ...options,
    };
  }

  async open(options: Partial<SessionRecord> = {}): Promise<string> {
    const session = this.session(options);
    const result = await this.store.openSession(session);
    if (result !== "opened") throw new Error(`the session is ${result}`);
    return session.id;
  }

  async claim(
    places: number,
    {
      sessionId = SESSION,
      tasks = ["job"],
      maxAttempts = 3,
    }: { readonly sessionId?: string; readonly tasks?: readonly string[]; readonly maxAttempts?: number } = {},
  ): Promise<readonly ClaimedRun[]> {
    const request = {
      environment: this.environment,
      sessionId,
      places,
      tasks: tasks.map((taskId) => ({ taskId, maxDurationSeconds: undefined, maxAttempts })),
      nowMs: this.nowMs,
      pickUpDeadlineMs: this.nowMs + PICK_UP_MS,
    };
    return only(await this.store.claimRuns([request]));
  }

  /** Claims exactly one run. */
  async claimOne(options: Parameters<World["claim"]>[1] = {}): Promise<ClaimedRun> {
    return only(await this.claim(1, options));
  }

  async change(runId: string, change: Change): Promise<ChangeResult> {
    return only(await this.store.changeRuns([this.changeOf(runId, change)]));
  }

  changeOf(runId: string, change: Change): RunChange {
    return { ...change, environment: this.environment, nowMs: this.nowMs, runId };
  }

  /** A change that must apply. @returns the state after it. */
  async apply(runId: string, change: Change): Promise<RunState> {
    const result = await this.change(runId, change);
    if (result.kind !== "applied") throw new Error(`${change.event} was refused: ${result.refusal}`);
    return result.run;
  }

  /** The lease of a claimed run, as its worker reports it. */
  lease({ run }: { readonly run: RunState }): { readonly fence: number; readonly sessionId: string } {
    return { fence: run.fence, sessionId: run.sessionId ?? SESSION };
  }

  complete(claimed: { readonly run: RunState }): Promise<RunState> {
    return this.apply(claimed.run.id, { event: "complete", ...this.lease(claimed), output: undefined });
  }

  async state(runId: string): Promise<RunState> {
    const run = only(await this.store.readRuns([{ environment: this.environment, runId }]));
    if (run === undefined) throw new Error(`${runId} is unknown`);
    return run;
  }

  async detail(runId: string): Promise<RunDetail> {
    const detail = only(await this.store.readRunDetails([{ environment: this.environment, runId }]));
    if (detail === undefined) throw new Error(`${runId} is unknown`);
    return detail;
  }

  async list(filter: RunFilter = {}, limit = 100): Promise<readonly string[]> {
    const page = await this.store.listRuns({ environment: this.environment, filter, limit });
    return page.runs.map(({ id }) => id);
  }

  register(...tasks: readonly TaskDeclaration[]): Promise<void> {
    return this.store.registerTasks({ environment: this.environment, tasks, queues: [], nowMs: this.nowMs });
  }

  async queue(name: string): Promise<NonNullable<Awaited<ReturnType<Store["readQueue"]>>>> {
    const view = await this.store.readQueue({ environment: this.environment, name });
    if (view === undefined) throw new Error(`queue ${name} is unknown`);
    return view;
  }

  override(name: string, limit: number): Promise<QueueChangeResult> {
    return this.store.changeQueue({
      environment: this.environment,
      name,
      nowMs: this.nowMs,
      kind: "override",
      limit,
      by: "test",
    });
  }

  setPaused(name: string, isPaused: boolean): Promise<QueueChangeResult> {
    const queue = { environment: this.environment, name, nowMs: this.nowMs };
    return this.store.changeQueue(isPaused ? { ...queue, kind: "pause" } : { ...queue, kind: "resume" });
  }
}

/** The only one of a list; a test of one item has one result. */
export function only<T>(list: readonly T[]): T {
  const [first] = list;
  if (list.length !== 1 || (first === undefined && !(0 in list))) throw new Error(`expected one, got ${list.length}`);
  // The list has exactly this element.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the caller names the type
  return first as T;
}

export function ids(claimed: readonly ClaimedRun[]): readonly string[] {
  return claimed.map(({ run }) => run.id);
}

/** 64 hex characters that differ for different texts. */
export function hashOf(text: string): string {
  return Buffer.from(text).toString("hex").padEnd(64, "0").slice(0, 64);
}
