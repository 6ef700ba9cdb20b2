/** Isolated tasks (WRK-5), by a worker process of its own, its task processes, and a server in this process, all in real time. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as pass } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { auth, type RetrievedRun, runs, tasks } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { TaskIsolation } from "#proto/hairtrigger/v1/task_pb.js";
import { TaskService } from "#proto/hairtrigger/v1/task_service_pb.js";
import { adopt, endChild } from "../support/children.js";
import { startTestApp, type TestApp } from "../support/harness.js";
import type { Place } from "../support/isolated-tasks.js";

const PROGRAM = programFile("isolated-tasks");
const CANCEL_GRACE_MS = 2_000;
const LOOK_MS = 50;

function programFile(name: string): string {
  return fileURLToPath(new URL(`../support/${name}.js`, import.meta.url));
}

interface World {
  readonly server: TestApp;
  readonly worker: ChildProcess & { readonly pid: number };
  /** What the worker and its task processes printed. */
  readonly printed: readonly string[];
  readonly trigger: (taskId: string, payload?: unknown, options?: { readonly maxDuration?: number }) => Promise<string>;
  readonly run: (runId: string) => Promise<RetrievedRun>;
  readonly runWhen: (runId: string, isSo: (run: RetrievedRun) => boolean) => Promise<RetrievedRun>;
  readonly ended: (runId: string) => Promise<RetrievedRun>;
  /** Where the code of a run that logs its place first is. */
  readonly placeOf: (runId: string) => Promise<Place>;
  readonly cancel: (runId: string) => Promise<unknown>;
}

interface WorldOptions {
  readonly concurrency?: number;
  readonly gracePeriodMs?: number;
  readonly execArgv?: readonly string[];
  readonly program?: string;
}

async function start(t: ExecutionContext, options: WorldOptions = {}): Promise<World> {
  t.timeout(90_000);
  const server = await startTestApp({ isRealTime: true, limits: { cancelGraceMs: CANCEL_GRACE_MS } });
  const { concurrency = 5, gracePeriodMs = 500, execArgv = [], program = PROGRAM } = options;
  const worker = adopt(
    spawn(process.execPath, [...execArgv, program, String(concurrency), String(gracePeriodMs)], {
      env: { ...process.env, TRIGGER_SECRET_KEY: server.key, TRIGGER_API_URL: server.url },
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  t.teardown(async () => {
    await endChild(worker, "SIGKILL");
    await server.stop();
  });
  const printed: string[] = [];
  createInterface({ input: worker.stdout }).on("line", (line) => printed.push(line));
  if (program === PROGRAM) await until(() => printed.some((line) => line.startsWith("ready")));
  const as = <R>(fn: () => R): R => auth.withAuth(server.sdk, fn);
  const run = (runId: string): Promise<RetrievedRun> => as(() => runs.retrieve(runId));
  const runWhen = async (runId: string, isSo: (found: RetrievedRun) => boolean): Promise<RetrievedRun> => {
    for (;;) {
      const found = await run(runId);
      if (isSo(found)) return found;
      await pass(LOOK_MS);
    }
  };
  return {
    server,
    worker: Object.assign(worker, { pid: worker.pid ?? 0 }),
    printed,
    trigger: async (taskId, payload, triggerOptions) =>
      (await as(() => tasks.trigger(taskId, payload, triggerOptions))).id,
    run,
    runWhen,
    ended: (runId) => runWhen(runId, ({ isCompleted }) => isCompleted),
    placeOf: async (runId) =>
      placeIn(await runWhen(runId, ({ logs }) => logs.some(({ properties }) => isPlace(properties)))),
    cancel: (runId) => as(() => runs.cancel(runId)),
  };
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await pass(LOOK_MS);
}

function isPlace(value: unknown): value is Place {
  return typeof value === "object" && value !== null && "pid" in value && "ppid" in value;
}

function placeIn({ logs, output }: RetrievedRun): Place {
  const place = [output, ...logs.map(({ properties }) => properties)].find(isPlace);
  if (place === undefined) throw new Error("the run does not say where it is");
  return place;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function assertExited(t: ExecutionContext, run: RetrievedRun, message: RegExp, attempts = 2): void {
  const { status, error, attemptCount } = run;
  t.deepEqual([status, error?.code, attemptCount], ["CRASHED", "TASK_PROCESS_EXITED", attempts]);
  t.regex(error?.message ?? "", message);
}

test.serial(
  "WRK-5: attempts run in child processes of the worker, which are used again; other tasks run in the worker",
  async (t) => {
    const { trigger, ended, worker, printed, server } = await start(t, { concurrency: 1 });
    const places: Place[] = [];
    for (let count = 0; count < 3; count += 1) places.push(placeIn(await ended(await trigger("where"))));
    t.is(new Set(places.map(({ pid }) => pid)).size, 1);
    t.deepEqual(new Set(places.map(({ ppid }) => ppid)), new Set([worker.pid]));
    t.not(places[0]?.pid, worker.pid);
    t.is(placeIn(await ended(await trigger("plain"))).pid, worker.pid);
    // What follows `startWorker` in the program is the worker's alone: one line, and one run beside the three.
    t.is(printed.filter((line) => line.startsWith("ready")).length, 1);
    const all = await auth.withAuth(server.sdk, () => runs.list({ taskIdentifier: "where" }));
    t.is(all.data.length, 4);
  },
);

test.serial(
  "WRK-5: context, hooks, locals, metadata, tags, waits, triggers and the logger work in a task process",
  async (t) => {
    const { trigger, ended, run, worker } = await start(t);
    const at = new Date(0);
    const runId = await trigger("inside", { at });
    const { output, status, tags, logs, attemptCount, error, metadata } = await ended(runId);
    t.deepEqual([status, attemptCount], ["COMPLETED", 2], error?.message);
    t.like(output, {
      isDate: true,
      metadata: { attempts: 2, rows: 20_000, end: 2 },
      said: ["middleware", "onWait task", "onResume task", "onWait duration", "onResume duration"],
      result: { doubled: 42, pid: worker.pid },
      isSameProcess: true,
      ppid: worker.pid,
      ctx: { run: { id: runId, tags: ["attempt-1"], maxAttempts: 2 }, attempt: { number: 2 }, task: { id: "inside" } },
    });
    t.deepEqual(metadata, { attempts: 2, rows: 20_000, end: 2 });
    t.deepEqual([...tags].toSorted(), ["attempt-1", "attempt-2"]);
    t.deepEqual(
      logs.map(({ message, attempt }) => [message, attempt]),
      [
        ["global hook of inside", 1],
        ["global hook of inside", 2],
        ["a line", 2],
        [`success of ${runId}`, 2],
      ],
    );
    const children = (await run(runId)).relatedRuns.children.map(({ id }) => id);
    t.is(children.length, 2);
    t.like(output, { childId: children[1] });
  },
);

test.serial(
  "WRK-5: exit, signal and want of memory of user code are TASK_PROCESS_EXITED, retried by policy; nobody else notices",
  async (t) => {
    const { trigger, ended, run, worker } = await start(t, { execArgv: ["--max-old-space-size=48"] });
    const other = await trigger("unheard");
    assertExited(t, await ended(await trigger("exit", 3)), /ended with exit code 3$/);
    assertExited(t, await ended(await trigger("exit", 0)), /ended with exit code 0$/);
    assertExited(t, await ended(await trigger("segfault")), /was ended by SIGSEGV$/);
    assertExited(t, await ended(await trigger("memory")), /was ended by SIG(?:ABRT|TRAP|SEGV|ILL)$/, 1);
    const healed = await ended(await trigger("exit once"));
    t.deepEqual([healed.status, healed.output, healed.attemptCount], ["COMPLETED", 2, 2]);
    const { status, attemptCount } = await run(other);
    t.deepEqual([status, attemptCount], ["EXECUTING", 1]);
    t.is(placeIn(await ended(await trigger("plain"))).pid, worker.pid);
  },
);

test.serial(
  "WRK-5: an uncaught error fails the attempt with the error itself, and its process ends after the grace",
  async (t) => {
    const { trigger, ended, placeOf, worker } = await start(t);
    const runId = await trigger("uncaught");
    const { status, error } = await ended(runId);
    t.deepEqual([status, error?.name, error?.message], ["FAILED", "RangeError", "nobody caught it"]);
    // Its function would wait for ever.
    const { pid } = await placeOf(runId);
    await until(() => !isAlive(pid));
    t.is(worker.exitCode, null);
  },
);

test.serial("WRK-5: a process that ends while its run waits fails the attempt", async (t) => {
  const { trigger, ended } = await start(t);
  assertExited(t, await ended(await trigger("dies waiting")), /ended with exit code 9$/, 1);
});

test.serial("WRK-5, DUR-4: maxDuration ends a busy loop with its process", async (t) => {
  const { trigger, ended, placeOf, worker } = await start(t);
  const runId = await trigger("spin", {}, { maxDuration: 5 });
  const { pid, ppid } = await placeOf(runId);
  t.is(ppid, worker.pid);
  const { status, error, attemptCount } = await ended(runId);
  t.deepEqual([status, error?.code, attemptCount], ["TIMED_OUT", "MAX_DURATION_EXCEEDED", 1]);
  await until(() => !isAlive(pid));
  t.is(placeIn(await ended(await trigger("where"))).ppid, worker.pid);
});

test.serial("WRK-5, CAN-3: cancel ends a busy loop with its process, within the grace", async (t) => {
  const { trigger, placeOf, run, cancel } = await start(t);
  const runId = await trigger("spin", {});
  const { pid } = await placeOf(runId);
  await cancel(runId);
  t.is((await run(runId)).status, "CANCELED");
  t.true(isAlive(pid), "the grace is not over");
  await until(() => !isAlive(pid));
  t.is((await run(runId)).status, "CANCELED");
});

test.serial(
  "WRK-5, CAN-3: code that heeds its signal ends by itself, with onCancel and without cleanup, and its process goes on",
  async (t) => {
    const { trigger, placeOf, runWhen, cancel, ended } = await start(t, { concurrency: 1 });
    const runId = await trigger("heedful");
    const { pid } = await placeOf(runId);
    await cancel(runId);
    const { logs } = await runWhen(runId, ({ logs: lines }) =>
      lines.some(({ message }) => message.startsWith("cancelled")),
    );
    t.true(logs.some(({ message }) => message === "cancelled: AbortError: Canceled by user"));
    t.is(placeIn(await ended(await trigger("where"))).pid, pid);
    t.false((await runWhen(runId, () => true)).logs.some(({ message }) => message === "cleaned up"));
  },
);

test.serial(
  "WRK-5, CAN-2: a waiting run keeps its process, without a place; cancelled, its process ends",
  async (t) => {
    const { trigger, placeOf, runWhen, ended, cancel } = await start(t, { concurrency: 1 });
    const runId = await trigger("waits long");
    const { pid } = await placeOf(runId);
    await runWhen(runId, ({ status }) => status === "WAITING");
    t.not(placeIn(await ended(await trigger("where"))).pid, pid);
    t.true(isAlive(pid));
    await cancel(runId);
    await until(() => !isAlive(pid));
    t.is((await ended(runId)).status, "CANCELED");
  },
);

test.serial("WRK-5: no task process outlives a killed worker, not even one in a busy loop", async (t) => {
  const { trigger, placeOf, worker } = await start(t);
  const ids = await Promise.all([trigger("spin", {}), trigger("heedful"), trigger("waits long")]);
  const places = await Promise.all(ids.map(placeOf));
  t.is(new Set(places.map(({ pid }) => pid)).size, 3);
  await endChild(worker, "SIGKILL");
  await until(() => places.every(({ pid }) => !isAlive(pid)));
  t.deepEqual(
    places.filter(({ pid }) => isAlive(pid)),
    [],
  );
});

test.serial("WRK-5, RUN-7: a stopping worker interrupts what runs on in task processes, and ends them", async (t) => {
  const { trigger, placeOf, run, worker } = await start(t, { gracePeriodMs: 300 });
  const ids = await Promise.all([trigger("spin", {}), trigger("heedful"), trigger("waits long")]);
  const places = await Promise.all(ids.map(placeOf));
  t.is(await endChild(worker, "SIGTERM"), 0);
  t.deepEqual(
    places.filter(({ pid }) => isAlive(pid)),
    [],
  );
  for (const runId of ids) {
    const { status, attempts, attemptCount } = await run(runId);
    t.is(status, "QUEUED");
    t.is(attempts.at(-1)?.outcome, "INTERRUPTED");
    t.is(attemptCount, 0, "not counted");
  }
});

test.serial("WRK-5: of several workers in one program each has processes for its own tasks", async (t) => {
  const { trigger, ended, worker } = await start(t, { program: programFile("two-workers") });
  for (const taskId of ["first", "second"]) {
    const { status, output } = await ended(await trigger(taskId));
    t.is(status, "COMPLETED");
    t.not(output, worker.pid);
  }
});

test.serial("WRK-5: the declaration says that a task is isolated", async (t) => {
  const { server } = await start(t);
  const client = createClient(TaskService, createGrpcTransport({ baseUrl: server.url }));
  const { tasks: known } = await client.listTasks({}, { headers: { authorization: `Bearer ${server.key}` } });
  const isolationOf = (id: string) => known.find((task) => task.id === id)?.isolation;
  t.deepEqual([isolationOf("where"), isolationOf("plain")], [TaskIsolation.PROCESS, TaskIsolation.NONE]);
});

test.serial("WRK-5, PAY-3: large payloads and outputs get to task processes and back, in every attempt", async (t) => {
  const { trigger, ended } = await start(t);
  const { status, output, attemptCount } = await ended(await trigger("large", "x".repeat(2_000_000)));
  t.deepEqual([status, attemptCount], ["COMPLETED", 2]);
  t.true(output === "X".repeat(2_000_000));
});
