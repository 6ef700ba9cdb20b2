/**
 * One attempt of a run, as a pipeline:
 *
 *   payload ─▶ middleware( onStart ─▶ onStartAttempt ─▶ run ) ─▶ output ─▶ onSuccess ─▶ onComplete ─▶ cleanup ─▶ completed
 *                                    │ throws, or an uncaught error that belongs to the run
 *                                    ▼
 *                              catchError, policy ─▶ (last attempt: onFailure ─▶ onComplete) ─▶ cleanup ─▶ failed
 *
 * - The outcome is told once, after the hooks (HOK-7), and only while the attempt counts: once it is aborted or cancelled, whatever its code
 *   returns or throws is dropped and no further step begins.
 * - An uncaught error fails the attempt at once, although its function may go on; the signal tells it to stop (§12.3).
 * - `onEnded` follows when no code of the attempt goes on: function, hooks, and `onCancel`.
 * - What nobody uses costs nothing: without hooks there are two promises, and the AbortController is made when somebody asks for the signal.
 */

import { systemClock } from "../../clock.js";
import { engineFailure, failureOf } from "../../convert/failure.js";
import { payloadMessage, payloadValue } from "../../convert/payload.js";
import type { Payload } from "../../gen/hairtrigger/v1/payload_pb.js";
import type { RunSpec } from "../../gen/hairtrigger/v1/run_pb.js";
import type { WaitOutcome } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import { newRequestId } from "../../request-id.js";
import type { RetryPolicy } from "../../retry-policy.js";
import { enterRun, type LogRecord, type RunContext, type RunMetadataAccess, type WaitCall } from "../../run-context.js";
import type { ParseValue } from "../../schema.js";
import type { TaskRunContext, WaitDescription } from "../../task-context.js";
import type { CompleteResult, HookParams, HookSet } from "../../task-hooks.js";
import type { AttemptInput, RunningAttempt } from "../session/execution.js";
import type { AttemptOutcome } from "../session/report.js";
import { AttemptError } from "./attempt-failure.js";
import { callHooks, runInside } from "./hooks.js";
import type { LargeValues } from "./large-values.js";
import { outputBytes } from "./output-size.js";
import { decideRetry } from "./retry-decision.js";
import type { TaskPlan } from "./task-plan.js";
import { createWaitLedger, type WaitLedger } from "./wait-ledger.js";

export interface AttemptParams {
  readonly input: AttemptInput;
  readonly spec: RunSpec;
  readonly plan: TaskPlan;
  readonly policy: RetryPolicy;
  readonly ctx: TaskRunContext;
  readonly outputBytesMax: number;
  /** Outputs above this are uploaded (PAY-3). */
  readonly inlineBytesMax: number;
  readonly large: LargeValues;
  readonly nowMs: () => number;
  readonly random: () => number;
  readonly sessionId: () => string;
  /** Takes a line for the run's log. */
  readonly logLine: (runId: string, attempt: number, line: LogRecord) => void;
  /** A hook threw, or an error came too late to matter. */
  readonly logError: (message: string, error: unknown) => void;
  /** Under what credentials the code runs; called around it. */
  readonly withCredentials: (fn: () => void) => void;
  /** The run's metadata, for this attempt. Asked for once, and by few. */
  readonly metadataFor: (run: RunContext) => RunMetadataAccess;
}

export class Attempt implements RunningAttempt, RunContext {
  readonly ctx: TaskRunContext;
  readonly #params: AttemptParams;
  #payload: unknown;
  #controller: AbortController | undefined;
  #abortReason: Error | undefined;
  /** Parts of the attempt's code that are under way. */
  #parts = 0;
  /** The first of return, throw and uncaught error has decided. */
  #isDecided = false;
  /** Aborted or cancelled: nothing that follows counts. */
  #isOver = false;
  #body: Promise<unknown> | undefined;
  /** Registered by the attempt itself (HOK-9a). */
  #onCancel: readonly NonNullable<HookSet["onCancel"]>[] = [];
  #isWaiting = false;
  #beginning: Promise<unknown> | undefined;
  readonly #waits: WaitLedger;
  #metadata: RunMetadataAccess | undefined;

  constructor(params: AttemptParams) {
    this.#params = params;
    this.ctx = params.ctx;
    this.#waits = createWaitLedger({
      runId: params.ctx.run.id,
      rejoinAttempt: params.input.rejoinAttempt,
      isRejoining: params.plan.definition.rejoin ?? true,
      newRequestId: () => newRequestId(systemClock),
    });
  }

  get taskId(): string {
    return this.#params.spec.taskId;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  get sessionId(): string {
    return this.#params.sessionId();
  }

  nowMs(): number {
    return this.#params.nowMs();
  }

  get metadata(): RunMetadataAccess {
    this.#metadata ??= this.#params.metadataFor(this);
    return this.#metadata;
  }

  isActive(): boolean {
    return !this.#isOver && this.#params.input.lease() !== undefined;
  }

  onCancel(hook: NonNullable<HookSet["onCancel"]>): void {
    this.#onCancel = [...this.#onCancel, hook];
  }

  log(line: LogRecord): void {
    this.#params.logLine(this.ctx.run.id, this.ctx.attempt.number, line);
  }

  async wait<T>(call: WaitCall<T>): Promise<T> {
    if (this.#isWaiting && !this.#isOver) this.#failConcurrentWait();
    if (this.#isWaiting || this.#isOver) return never();
    this.#isWaiting = true;
    try {
      const lease = this.#params.input.lease();
      if (lease === undefined) return await never();
      const requestId = this.#waits.next(call.identity);
      const beginning = call.begin({ requestId, lease });
      this.#beginning = beginning;
      const begun = await beginning;
      this.#waits.made(requestId);
      if ("result" in begun) return await begun.result;
      const { waitingFor, description } = begun;
      await this.#callWaitHooks("onWait", description);
      const outcome = await new Promise<WaitOutcome | undefined>((resolve) => {
        if (!this.#isDecided && !this.#isOver) this.#params.input.wait(waitingFor, resolve);
      });
      await this.#callWaitHooks("onResume", description);
      return await call.finish(outcome);
    } finally {
      this.#isWaiting = false;
    }
  }

  tagsChanged(tags: readonly string[]): void {
    this.#params.input.tagsChanged(tags);
  }

  start(): void {
    this.#enter(() => {
      this.#parts += 1;
      this.#body = this.#run();
      this.#body.then(
        (data) => this.#bodyEnded({ ok: true, data }),
        (error: unknown) => this.#bodyEnded({ ok: false, error }),
      );
    });
  }

  abort(reason: Error): void {
    this.#isOver = true;
    this.#abortSignal(reason);
  }

  cancel(reason: string): void {
    const error = new Error(reason);
    error.name = "AbortError";
    this.abort(error);
    const onCancel = [...this.#params.plan.hooks.onCancel, ...this.#onCancel];
    if (onCancel.length === 0) return;
    const runPromise = this.#body ?? Promise.resolve();
    this.#enter(() => {
      this.#part(callHooks(onCancel, { ...this.#hookParams(), runPromise }, this.#hookThrew("onCancel")));
    });
  }

  async #callWaitHooks(name: "onWait" | "onResume", wait: WaitDescription): Promise<void> {
    const hooks = this.#params.plan.hooks[name];
    if (hooks.length > 0) await callHooks(hooks, { ...this.#hookParams(), wait }, this.#hookThrew(name));
  }

  /** TAW-7. The code goes nowhere from here: both waits never settle. */
  #failConcurrentWait(): void {
    const fail = (): void => void this.failUncaught(new AttemptError("TASK_DID_CONCURRENT_WAIT", CONCURRENT_WAIT));
    // What the first wait was asked to make is made: the end of the run must not overtake it.
    void Promise.resolve(this.#beginning).then(fail, fail);
  }

  /** An error that nobody caught and that belongs to this attempt. False: it came after the outcome, and changes nothing. */
  failUncaught(error: unknown): boolean {
    if (this.#isDecided || this.#isOver) return false;
    this.#enter(() => this.#decide({ ok: false, error }));
    // Its function may still wait for something that will never come.
    this.#abortSignal(error instanceof Error ? error : new Error(String(error)));
    return true;
  }

  #enter(code: () => void): void {
    enterRun(this, () => this.#params.withCredentials(code));
  }

  async #run(): Promise<unknown> {
    const { plan, spec } = this.#params;
    const { payload } = spec;
    const isElsewhere = payload?.data.case === "reference";
    this.#payload = this.#decodePayload(isElsewhere ? await this.#fetchPayload(payload) : payload);
    const { parse } = plan.definition;
    if (parse !== undefined) this.#payload = await this.#parsePayload(parse);
    const { middleware } = plan.hooks;
    if (middleware.length === 0) return this.#runInner();
    return runInside(middleware, this.#hookParams(), () => this.#runInner(), this.#hookThrew("middleware"));
  }

  async #runInner(): Promise<unknown> {
    const { hooks, definition } = this.#params.plan;
    if (this.ctx.attempt.number === 1) for (const hook of hooks.onStart) await hook(this.#hookParams());
    for (const hook of hooks.onStartAttempt) await hook(this.#hookParams());
    const signal = (): AbortSignal => this.signal;
    return definition.run(this.#payload, {
      ctx: this.ctx,
      // Asked for by few; making one for every run would double the cost of a short one.
      get signal() {
        return signal();
      },
    });
  }

  /** PAY-3. */
  #fetchPayload(payload: Payload): Promise<Payload> {
    return this.#params.large.fetch(this.#params.input.assignment, payload, this.signal);
  }

  #decodePayload(payload: Payload | undefined): unknown {
    try {
      return payloadValue(payload);
    } catch (error) {
      throw new AttemptError("TASK_INPUT_ERROR", `The payload cannot be read: ${textOf(error)}`, { cause: error });
    }
  }

  /** SCH-3: the original input was sent; what the run function gets is parsed here. */
  async #parsePayload(parse: ParseValue): Promise<unknown> {
    try {
      return await parse(this.#payload);
    } catch (error) {
      throw new AttemptError("TASK_INPUT_ERROR", `TaskPayloadParsedError: ${textOf(error)}`, { cause: error });
    }
  }

  #bodyEnded(result: CompleteResult): void {
    this.#decide(result);
    this.#partEnded();
  }

  #decide(result: CompleteResult): void {
    if (this.#isDecided || this.#isOver) return;
    this.#isDecided = true;
    this.#part(this.#conclude(result));
  }

  async #conclude(result: CompleteResult): Promise<void> {
    const outcome = result.ok ? await this.#succeeded(result.data) : await this.#failed(result.error);
    if (outcome !== undefined && !this.#isOver) this.#params.input.onOutcome(outcome);
  }

  /** Undefined: the attempt has been aborted on the way. */
  async #succeeded(data: unknown): Promise<AttemptOutcome | undefined> {
    let output: ReturnType<typeof payloadMessage>;
    try {
      output = this.#encodeOutput(data);
      if (outputBytes(output) > this.#params.inlineBytesMax) output = await this.#storeOutput(output);
    } catch (error) {
      return this.#failed(error);
    }
    const { onSuccess } = this.#params.plan.hooks;
    if (onSuccess.length > 0) {
      await callHooks(onSuccess, { ...this.#hookParams(), output: data }, this.#hookThrew("onSuccess"));
    }
    await this.#finish({ ok: true, data }, true);
    return { kind: "completed", output };
  }

  /** PAY-3. */
  async #storeOutput(output: ReturnType<typeof payloadMessage>): Promise<ReturnType<typeof payloadMessage>> {
    const lease = this.#params.input.lease();
    // Without a lease nothing is reported any more.
    return lease === undefined || output === undefined ? output : this.#params.large.store(lease, output);
  }

  /** PAY-2, PAY-7. */
  #encodeOutput(data: unknown): ReturnType<typeof payloadMessage> {
    let output: ReturnType<typeof payloadMessage>;
    try {
      output = payloadMessage(data, "output");
    } catch (error) {
      throw new AttemptError("TASK_OUTPUT_ERROR", textOf(error), { cause: error });
    }
    const bytes = outputBytes(output);
    if (bytes <= this.#params.outputBytesMax) return output;
    const limit = this.#params.outputBytesMax;
    throw new AttemptError("TASK_OUTPUT_ERROR", `Output of ${bytes} bytes exceeds the limit of ${limit} bytes`);
  }

  async #failed(error: unknown): Promise<AttemptOutcome | undefined> {
    const { policy, plan, nowMs, random } = this.#params;
    const decision = await decideRetry({
      error,
      attempt: this.ctx.attempt.number,
      policy,
      handlers: plan.hooks.catchError.map((hook) => (input) => hook({ ...this.#hookParams(), ...input })),
      nowMs,
      random,
    });
    if (this.#isOver) return undefined;
    const isComplete = decision.delayMs === undefined && hasFailureHooks(decision.error);
    if (isComplete && plan.hooks.onFailure.length > 0) {
      const params = { ...this.#hookParams(), error: decision.error };
      await callHooks(plan.hooks.onFailure, params, this.#hookThrew("onFailure"));
    }
    if (!isUnread(decision.error)) await this.#finish({ ok: false, error: decision.error }, isComplete);
    const failure =
      decision.error instanceof AttemptError
        ? engineFailure(decision.error.code, decision.error.message, decision.error.cause)
        : failureOf(decision.error);
    return { kind: "failed", failure, retryDelayMs: decision.delayMs, maxAttempts: policy.maxAttempts };
  }

  async #finish(result: CompleteResult, isComplete: boolean): Promise<void> {
    const { onComplete, cleanup } = this.#params.plan.hooks;
    if (isComplete && onComplete.length > 0 && !this.#isOver) {
      await callHooks(onComplete, { ...this.#hookParams(), result }, this.#hookThrew("onComplete"));
    }
    if (cleanup.length > 0 && !this.#isOver) await callHooks(cleanup, this.#hookParams(), this.#hookThrew("cleanup"));
  }

  #hookParams(): HookParams {
    return { payload: this.#payload, ctx: this.ctx, signal: this.signal, task: this.taskId };
  }

  #hookThrew(name: string): (error: unknown) => void {
    return (error) => this.#params.logError(`${name} of task ${this.taskId} threw in run ${this.ctx.run.id}`, error);
  }

  #abortSignal(reason: Error): void {
    this.#abortReason ??= reason;
    this.#controller?.abort(reason);
  }

  /** Counts a piece of the attempt's code while it is under way. It must not reject. */
  #part(piece: Promise<void>): void {
    this.#parts += 1;
    void piece.then(() => this.#partEnded());
  }

  #partEnded(): void {
    this.#parts -= 1;
    if (this.#parts === 0) this.#params.input.onEnded();
  }
}

const CONCURRENT_WAIT =
  "Parallel waits are not supported: a run can wait for one thing at a time. To wait for several runs use " +
  "batchTriggerAndWait or batch.triggerByTaskAndWait";

/** What code that has no future awaits. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}

/** HOK-5: a failed schema, and a `catchError` that threw (CRASHED), call neither `onFailure` nor `onComplete`. */
function hasFailureHooks(error: unknown): boolean {
  if (!(error instanceof AttemptError)) return true;
  return error.code === "TASK_OUTPUT_ERROR" || error.code === "TASK_MIDDLEWARE_ERROR";
}

/** HOK-6: the payload never got as far as user code, and neither does a hook. */
function isUnread(error: unknown): boolean {
  return error instanceof AttemptError && error.code === "TASK_INPUT_ERROR";
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
