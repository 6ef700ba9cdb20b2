/**
 * A worker process with isolated tasks: `node isolated-tasks.js <concurrency> <gracePeriodMs>`, connected as the environment says. Its processes
 * load this file, too.
 */
import { locals, logger, metadata, tags, task, tasks, wait } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const [, , concurrency, gracePeriodMs] = process.argv;
const isolation = "process";
const retry = { maxAttempts: 2, minTimeoutInMs: 1, maxTimeoutInMs: 1 };
const said = locals.create<string[]>("said");

function forever(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Where the code runs. */
export interface Place {
  readonly pid: number;
  readonly ppid: number;
}

const here = (): Place => ({ pid: process.pid, ppid: process.ppid });

const child = task({ id: "child", run: (n: number) => ({ doubled: n * 2, ...here() }) });
const where = task({ id: "where", isolation, run: here });

const all = [
  child,
  where,
  task({ id: "plain", run: here }),
  task({ id: "unheard", run: () => new Promise<never>(() => undefined) }),
  task({
    id: "spin",
    isolation,
    run: (how: { readonly maxDurationSeconds?: number }) => {
      logger.info("spinning", { ...here(), ...how });
      for (;;);
    },
  }),
  task({ id: "exit", isolation, retry, run: (code: number) => process.exit(code) }),
  task({
    id: "exit once",
    isolation,
    retry,
    run: (_: undefined, { ctx }) => {
      if (ctx.attempt.number === 1) process.exit(0);
      return ctx.attempt.number;
    },
  }),
  task({
    id: "large",
    isolation,
    retry,
    run: (text: string, { ctx }) => {
      if (ctx.attempt.number === 1) process.exit(1);
      return text.toUpperCase();
    },
  }),
  task({ id: "segfault", isolation, retry, run: () => void process.kill(process.pid, "SIGSEGV") }),
  task({
    id: "memory",
    isolation,
    retry: { ...retry, maxAttempts: 1 },
    run: () => {
      const kept: unknown[] = [];
      for (;;) kept.push(Array.from({ length: 10_000 }, () => ({})));
    },
  }),
  task({
    id: "uncaught",
    isolation,
    retry: { ...retry, maxAttempts: 1 },
    run: () => {
      logger.info("begun", { ...here() });
      setImmediate(() => {
        throw new RangeError("nobody caught it");
      });
      return new Promise<never>(() => undefined);
    },
  }),
  task({
    id: "heedful",
    isolation,
    run: async (_: undefined, { signal }) => {
      logger.info("begun", { ...here() });
      await forever(signal);
    },
    onCancel: ({ signal }) => logger.info(`cancelled: ${String(signal.reason)}`),
    cleanup: () => logger.info("cleaned up"),
  }),
  task({
    id: "waits long",
    isolation,
    run: async () => {
      logger.info("waiting", { ...here() });
      await wait.for({ hours: 1 });
    },
  }),
  task<"inside", { readonly at: Date }>({
    id: "inside",
    isolation,
    middleware: async ({ next }) => {
      locals.set(said, ["middleware"]);
      await next();
    },
    onStart: ({ ctx }) => void locals.getOrThrow(said).push(`onStart ${ctx.attempt.number}`),
    onWait: ({ wait: what }) => void locals.getOrThrow(said).push(`onWait ${what.type}`),
    onResume: ({ wait: what }) => void locals.getOrThrow(said).push(`onResume ${what.type}`),
    onSuccess: ({ ctx }) => logger.info(`success of ${ctx.run.id}`),
    retry,
    run: async (payload, { ctx }) => {
      const before = here();
      metadata.increment("attempts", 1);
      await tags.add(`attempt-${ctx.attempt.number}`);
      if (ctx.attempt.number === 1) throw new Error("the next attempt sees the tag");
      logger.warn("a line", { n: 1 });
      const result = await child.triggerAndWait(21).unwrap();
      await wait.for({ seconds: 1 });
      const { id } = await child.trigger(1);
      for (let row = 0; row < 20_000; row += 1) metadata.increment("rows", 1);
      await metadata.flush();
      metadata.set("end", ctx.attempt.number);
      return {
        metadata: metadata.current(),
        isDate: payload.at instanceof Date,
        ctx,
        said: locals.getOrThrow(said),
        result,
        childId: id,
        isSameProcess: process.pid === before.pid,
        ...before,
      };
    },
  }),
  task({
    id: "dies waiting",
    isolation,
    retry: { ...retry, maxAttempts: 1 },
    run: async () => {
      setTimeout(() => process.exit(9), 300);
      await wait.for({ hours: 1 });
    },
  }),
];

tasks.onStartAttempt(({ ctx }) => logger.debug(`global hook of ${ctx.task.id}`));
const worker = await startWorker({
  tasks: all,
  concurrency: Number(concurrency),
  gracePeriodMs: Number(gracePeriodMs),
});
console.log(`ready ${worker.id}`);
await where.trigger();
