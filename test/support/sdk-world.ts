/** A server in memory and workers of the SDK in one process and one time, over real sockets. */
import { inspect } from "node:util";
import { auth, type RetrievedRun, runs } from "@hairtrigger/sdk";
import type { Worker, WorkerOptions } from "@hairtrigger/sdk/worker";
import type { ExecutionContext } from "ava";
import { startWorkerIn } from "#sdk/worker/start-worker.js";
import { workerClock } from "../../clients/testing/worker-clock.js";
import { startTestApp, type TestApp, type TestAppOptions } from "./harness.js";

export interface SdkWorld {
  readonly server: TestApp;
  /** What workers said about themselves. */
  readonly log: readonly string[];
  /** A worker of this server; ended with the test. */
  worker(options: WorkerOptions): Promise<Worker>;
  /** Calls of the SDK as a backend makes them. */
  as<R>(fn: () => R): R;
  run(run: string | { readonly id: string }): Promise<RetrievedRun>;
  /** The run once it is so; the test's time limit ends the waiting. */
  runWhen(run: { readonly id: string }, isSo: (run: RetrievedRun) => boolean): Promise<RetrievedRun>;
  /** Plays time, in steps in which messages get to the other side and back. */
  pass(ms: number): Promise<void>;
}

/** Turns of the event loop in which a message crosses a socket, is handled, and is answered. */
const TURNS = 40;
const STEP_MS = 1_000;

export async function turns(count = TURNS): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Resolves when it is so. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await turns(1);
}

export async function startSdkWorld(t: ExecutionContext, options: TestAppOptions = {}): Promise<SdkWorld> {
  const server = await startTestApp(options);
  const log: string[] = [];
  const workers: Worker[] = [];
  t.teardown(async () => {
    // What they still run is given back at its time, which has to be played.
    const stopped = Promise.all(workers.map((worker) => worker.stop()));
    while ((await Promise.race([stopped, turns()])) === undefined) await world.pass(STEP_MS);
    await server.stop();
  });
  const add = (level: string) => (message: string, cause?: unknown) =>
    void log.push(`${level} ${message}${cause === undefined ? "" : ` ${inspect(cause)}`}`);
  const world: SdkWorld = {
    server,
    log,
    async worker(workerOptions) {
      const worker = await startWorkerIn(
        { clock: workerClock(server.clock), log: { info: add("info"), warn: add("warn"), error: add("error") } },
        { ...server.sdk, handleSignals: false, gracePeriodMs: 0, ...workerOptions },
      );
      workers.push(worker);
      return worker;
    },
    as: (fn) => auth.withAuth(server.sdk, fn),
    run: (run) => world.as(() => runs.retrieve(run)),
    async runWhen(run, isSo) {
      for (;;) {
        const found = await world.run(run);
        if (isSo(found)) return found;
        await turns(1);
      }
    },
    async pass(ms) {
      for (let leftMs = ms; leftMs > 0; leftMs -= STEP_MS) {
        await server.advance(Math.min(leftMs, STEP_MS));
        await turns();
      }
    },
  };
  return world;
}

/** A promise to be settled from outside. */
export function gate<T = void>(): { readonly promise: Promise<T>; readonly open: (value: T) => void } {
  let open: (value: T) => void = () => undefined;
  const promise = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { promise, open };
}
