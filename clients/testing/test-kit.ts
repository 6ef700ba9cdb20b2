/**
 * Tasks in a unit test: the real engine on a store in memory, and the real worker, in this process and over a loopback socket, in a time of
 * their own that stands still until the test moves it.
 *
 * A clock that leaps would outrun heartbeats and periods, so there are none: sessions outlive every test, nothing happens by its period, and
 * everything happens at its moment, however far away (`isTimeMoved`). After every moment the kit lets the event loop turn until messages
 * have got to the other side and back.
 */
import { inspect } from "node:util";
import { type AnyRunHandle, auth, type RetrievedRun, type RunHandle, runs } from "@hairtrigger/sdk";
import { startWorkerIn, type WorkerLog } from "@hairtrigger/sdk/testing";
import type { Worker, WorkerOptions } from "@hairtrigger/sdk/worker";
import { type App, createApp } from "../../server/app.js";
import { CENTURY_MS } from "../../server/domain/limits.js";
import { moment, realNowMs, turns } from "./event-loop.js";
import { MovedClock } from "./moved-clock.js";
import { type TestClock, testClock } from "./test-clock.js";
import { workerClock } from "./worker-clock.js";

export interface TestKitOptions
  extends Pick<WorkerOptions, "tasks" | "concurrency" | "retry" | "ttl" | "maxDuration" | "hooks"> {
  /** Where the kit's time begins. Default: now. */
  readonly now?: Date;
  /** The jitter of retries and whatever else is left to chance, in [0, 1). Default: always 0.5. */
  readonly random?: () => number;
}

export interface ResultOptions {
  /** Real milliseconds after which a run that has not ended is given up. Default 10,000. */
  readonly timeoutMs?: number;
}

export interface TestKit extends AsyncDisposable {
  readonly clock: TestClock;
  /** Calls `fn` so that whatever it and the code under test ask of the SDK goes to this kit. */
  run<R>(fn: () => R): R;
  /**
   * The run, once it is final. Time stands still meanwhile: a run that waits for time has to be given it by `clock.advance`.
   * @throws Error saying what the run waits for, after `timeoutMs` real milliseconds.
   */
  result<TIdentifier extends string, TPayload, TOutput>(
    handle: RunHandle<TIdentifier, TPayload, TOutput>,
    options?: ResultOptions,
  ): Promise<RetrievedRun<TPayload, TOutput>>;
  /** Resolves when everything that needs no time has happened. Code of tasks that waits for the outside is not waited for. */
  settled(): Promise<void>;
  /** What the worker said: hooks that threw, uncaught errors and the like. */
  readonly log: readonly string[];
  /** Ends worker, server and every timer. Idempotent. */
  stop(): Promise<void>;
}

/** Turns in which a trigger leads to an assignment, a report and its answer, every message of them over a socket. */
const TURNS = 40;
const RESULT_TIMEOUT_DEFAULT_MS = 10_000;

/** Step in which the time of a stopping kit is played. */
const STOP_STEP_MS = 1_000;

/** Nothing lapses by silence in a time that leaps. */
const ENDLESS = {
  sessionMs: CENTURY_MS,
  heartbeatMs: CENTURY_MS,
  pickUpMs: CENTURY_MS,
  silentMs: CENTURY_MS,
  selfFenceMs: CENTURY_MS,
} as const;

/**
 * Starts a kit with a worker for these tasks.
 *
 * ```ts
 * const kit = await startTestKit({ tasks: [remind] });
 * const handle = await kit.run(() => remind.trigger({ to: "a@b.c" }, { delay: "30d" }));
 * await kit.clock.advance("30d");
 * assert.equal((await kit.result(handle)).output, "sent");
 * await kit.stop();
 * ```
 * @throws as `startWorker` does for malformed tasks.
 */
export async function startTestKit(options: TestKitOptions): Promise<TestKit> {
  const { now, random, ...workerOptions } = options;
  const log: string[] = [];
  const clock: MovedClock = new MovedClock(now?.getTime() ?? realNowMs(), () => settle(app));
  const app: App = createApp({
    storeDirectory: ":memory:",
    listen: { host: "127.0.0.1", port: 0 },
    clock,
    limits: ENDLESS,
    isTimeMoved: true,
  });
  await app.start();
  const config = { accessToken: app.secretKey, baseURL: app.url };
  let worker: Worker;
  try {
    worker = await startWorkerIn(
      { clock: workerClock(clock, random), log: collect(log), isTimeMoved: true },
      { ...workerOptions, ...config, handleSignals: false, gracePeriodMs: 0 },
    );
  } catch (error) {
    await app.stop();
    throw error;
  }
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= stopBoth(worker, app, clock);
    return stopping;
  };
  const run = <R>(fn: () => R): R => auth.withAuth(config, fn);
  return {
    clock: testClock(clock),
    run,
    async result(handle, { timeoutMs = RESULT_TIMEOUT_DEFAULT_MS } = {}) {
      const endMs = realNowMs() + timeoutMs;
      for (;;) {
        const found = await run(() => runs.retrieve(handle));
        if (found.isCompleted) return found;
        if (realNowMs() > endMs) throw new Error(whyNot(handle, found, timeoutMs));
        await settle(app);
      }
    },
    settled: () => settle(app),
    log,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Until nothing has moved for as many turns as a message takes there and back, and a moment for the machine to carry it. */
async function settle(app: App): Promise<void> {
  let hasMoved = true;
  const moved = (): void => {
    hasMoved = true;
  };
  const ends = [app.events.on("run.triggered", moved), app.events.on("run.moved", moved)];
  while (hasMoved) {
    hasMoved = false;
    for (let turn = 0; turn < TURNS; turn += 1) {
      await app.scheduler.idle();
      await turns(1);
    }
    await moment();
  }
  for (const end of ends) end();
}

/** What a stopping worker waits for has its times, which are played. */
async function stopBoth(worker: Worker, app: App, clock: MovedClock): Promise<void> {
  const stopped = worker.stop().then(() => true);
  while (!(await Promise.race([stopped, clock.advance(STOP_STEP_MS).then(() => false)])));
  await app.stop();
}

function whyNot(handle: AnyRunHandle, run: RetrievedRun, timeoutMs: number): string {
  const until = run.delayedUntil ?? run.nextAttemptAt;
  const hint =
    until === undefined
      ? "its code has not ended, or no worker of the kit serves its task"
      : `it waits until ${until.toISOString()}: move the clock`;
  return `Run ${handle.id} of task ${run.taskIdentifier} is ${run.status} after ${timeoutMs} ms: ${hint}`;
}

function collect(lines: string[]): WorkerLog {
  const add = (message: string, cause?: unknown): void => {
    lines.push(cause === undefined ? message : `${message} ${inspect(cause)}`);
  };
  return { info: () => undefined, warn: add, error: add };
}
