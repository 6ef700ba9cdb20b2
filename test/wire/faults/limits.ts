/** A queue with a limit, through everything that could make it forget one of its runs, or count one too few. */
import { queues, runs, tasks } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import type { Entry } from "../../support/ledger.js";
import { NARROW_LIMIT } from "../../support/ledger-work.js";
import { allFinal, everyRun, inScene, SHORT, until } from "./scene.js";

const NARROW = { type: "custom", name: "narrow" } as const;
const RUNS = 240;

/** Reads the ledger as the workers wrote it: what executed at each start, and what was allowed then. */
function observe(entries: readonly Entry[]): { readonly most: number; readonly breaches: readonly string[] } {
  const executing = new Map<string, string>();
  const breaches: string[] = [];
  let allowed = NARROW_LIMIT;
  let most = 0;
  for (const { what, who, runId = "", attempt, limit } of entries) {
    const key = `${who}/${runId}/${attempt}`;
    if (what === "limit") allowed = limit ?? allowed;
    if (what === "end") executing.delete(key);
    if (what === "gone") for (const [other, owner] of executing) if (owner === who) executing.delete(other);
    if (what !== "start") continue;
    executing.set(key, who);
    most = Math.max(most, executing.size);
    if (executing.size > allowed) breaches.push(`${[...executing.keys()].join(" ")} with a limit of ${allowed}`);
  }
  return { most, breaches };
}

async function running(): Promise<number> {
  return (await queues.retrieve(NARROW)).running;
}

export function registerLimits(): void {
  test.serial(
    "QUE-4, QUE-5, QUE-8: never more than 3 execute in a queue of 3, through cancels, pauses, overrides, stops and kills of workers",
    async (t) => {
      t.timeout(110_000);
      await inScene(
        t,
        { settings: { ...SHORT.settings, HAIRTRIGGER_SESSION_TIMEOUT: "3s", HAIRTRIGGER_CANCEL_GRACE: "3s" } },
        async (scene) => {
          const { ledger, startWorker } = scene;
          const [killed, stopped] = await Promise.all(
            ["a", "b", "c"].map((name) => startWorker({ name, concurrency: 4, gracePeriodMs: 100 })),
          );
          const handles = await Promise.all(
            Array.from({ length: RUNS }, (_, number) =>
              tasks.trigger(number % 2 === 0 ? "narrow-a" : "narrow-b", {
                number,
                ms: 20 + (number % 7) * 15,
                isStubborn: number % 5 === 0,
              }),
            ),
          );
          const started = (count: number): Promise<void> =>
            ledger.until(`${count} starts`, () => ledger.count("start") >= count);

          await started(15);
          t.true((await running()) <= NARROW_LIMIT);
          await cancelExecuting(scene, 12);

          // Lowered limits and pauses hold from when the runs above them have ended (QUE-8); raised ones from when they are asked for.
          ledger.append({ who: "test", what: "limit", limit: 5 });
          await queues.overrideConcurrencyLimit(NARROW, 5);
          await started(ledger.count("start") + 20);
          await queues.overrideConcurrencyLimit(NARROW, 2);
          await until("at most 2 execute", async () => (await running()) <= 2);
          ledger.append({ who: "test", what: "limit", limit: 2 });
          await started(ledger.count("start") + 15);

          await queues.pause(NARROW);
          await until("nothing executes", async () => (await running()) === 0);
          ledger.append({ who: "test", what: "limit", limit: 0 });
          await runs.poll(await tasks.trigger("work", { number: -1 }), { pollIntervalMs: 20 });
          ledger.append({ who: "test", what: "limit", limit: 2 });
          await queues.resume(NARROW);
          await started(ledger.count("start") + 10);
          ledger.append({ who: "test", what: "limit", limit: NARROW_LIMIT });
          await queues.resetConcurrencyLimit(NARROW);

          await started(ledger.count("start") + 10);
          await killed?.kill();
          await startWorker({ name: "d", concurrency: 4, gracePeriodMs: 100 });
          await started(ledger.count("start") + 10);
          await stopped?.stop();
          await allFinal();

          assertLimit(
            t,
            ledger.entries.filter(({ number }) => number !== -1),
          );
          t.is(await running(), 0);
          const stored = await everyRun();
          t.is(handles.filter(({ id }) => stored.has(id)).length, RUNS);
          t.deepEqual(
            [...stored.values()].filter(({ status }) => status !== "COMPLETED" && status !== "CANCELED"),
            [],
          );
        },
      );
    },
  );

  test.serial(
    "QUE-4, RUN-7: a limit holds through a crash of the server, whose slots are those of its record",
    async (t) => {
      t.timeout(60_000);
      await inScene(t, {}, async ({ server, ledger, startWorker }) => {
        await Promise.all(["a", "b"].map((name) => startWorker({ name, concurrency: 4 })));
        await Promise.all(
          Array.from({ length: 90 }, (_, number) => tasks.trigger("narrow-a", { number, ms: 30 + (number % 5) * 20 })),
        );
        for (const count of [15, 45]) {
          await ledger.until(`${count} starts`, () => ledger.count("start") >= count);
          await server.kill();
          await server.start();
        }
        await allFinal();
        assertLimit(t, ledger.entries);
        t.is(ledger.count("start"), 90, "a run was executed twice though its worker lived through the restarts");
      });
    },
  );
}

function assertLimit(t: ExecutionContext, entries: readonly Entry[]): void {
  const { most, breaches } = observe(entries);
  t.deepEqual(breaches, []);
  t.true(most >= NARROW_LIMIT, "the queue was never full, so its limit was not tried");
  t.log(`${entries.filter(({ what }) => what === "start").length} starts, at most ${most} at once`);
}

/** Cancels runs whose code is under way, some of which does not care. */
async function cancelExecuting({ ledger }: Parameters<Parameters<typeof inScene>[2]>[0], count: number): Promise<void> {
  for (let cancelled = 0; cancelled < count; cancelled += 1) {
    const from = ledger.count("start");
    await ledger.until("another start", () => ledger.count("start") > from);
    const { runId } = ledger.of("start").at(-1) ?? {};
    if (runId !== undefined) await runs.cancel(runId);
  }
}
