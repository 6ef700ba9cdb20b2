/**
 * Promises about types, kept by the compiler: this file compiles, or one of them is broken. Nothing here runs.
 * Every `@ts-expect-error` fails the build if the line below it becomes legal.
 */
import {
  type AnyTask,
  batch,
  type RealtimeRun,
  type RunHandle,
  runs,
  type SchemaInput,
  type SchemaOutput,
  type SubtaskUnwrapError,
  schemaTask,
  type TaskIdentifier,
  type TaskOutput,
  type TaskOutputHandle,
  type TaskPayload,
  type TaskRunResult,
  task,
  tasks,
  wait,
} from "@hairtrigger/sdk";
import { expectTypeOf } from "expect-type";
import * as runtypes from "runtypes";
import * as superstruct from "superstruct";
import * as valibot from "valibot";
import * as yup from "yup";
import { z } from "zod";

const resize = task({
  id: "resize",
  run: async (payload: { url: string; width: number }, { ctx, signal }) => {
    expectTypeOf(ctx.attempt.number).toBeNumber();
    expectTypeOf(signal).toEqualTypeOf<AbortSignal>();
    return { url: payload.url, bytes: 1n };
  },
});

const nightly = task({ id: "nightly", run: () => 5 });

const greet = task({ id: "greet", run: async (payload: { name: string } | undefined) => payload?.name ?? "you" });

/** TYP-1: payload, output and identifier come from `typeof` alone. */
export function typesOfTasks(): void {
  expectTypeOf<TaskPayload<typeof resize>>().toEqualTypeOf<{ url: string; width: number }>();
  expectTypeOf<TaskOutput<typeof resize>>().toEqualTypeOf<{ url: string; bytes: bigint }>();
  expectTypeOf<TaskIdentifier<typeof resize>>().toEqualTypeOf<"resize">();
  expectTypeOf<TaskPayload<typeof nightly>>().toEqualTypeOf<void>();
  expectTypeOf<TaskOutput<typeof nightly>>().toEqualTypeOf<number>();
  expectTypeOf<TaskOutputHandle<typeof greet>>().toEqualTypeOf<
    RunHandle<"greet", { name: string } | undefined, string>
  >();
  expectTypeOf<typeof resize>().toExtend<AnyTask>();
  expectTypeOf<RealtimeRun<typeof resize>["output"]>().toEqualTypeOf<{ url: string; bytes: bigint } | undefined>();
}

/** TYP-1, TYP-4: a wrong payload or id is a compile error, a missing payload only where it may be missing. */
export async function triggers(): Promise<void> {
  const handle = await tasks.trigger<typeof resize>("resize", { url: "u", width: 1 }, { delay: "10m", tags: "a" });
  expectTypeOf(handle.taskIdentifier).toEqualTypeOf<"resize">();
  expectTypeOf(handle.id).toBeString();
  expectTypeOf(handle.isCached).toBeBoolean();
  expectTypeOf(handle.publicAccessToken).toBeString();
  // @ts-expect-error the task has another id
  await tasks.trigger<typeof resize>("resise", { url: "u", width: 1 });
  // @ts-expect-error a member of the payload is missing
  await tasks.trigger<typeof resize>("resize", { url: "u" });
  // @ts-expect-error a member of the payload has another type
  await tasks.trigger<typeof resize>("resize", { url: "u", width: "1" });
  // @ts-expect-error the payload is missing
  await tasks.trigger<typeof resize>("resize");
  // @ts-expect-error there is no such option
  await tasks.trigger<typeof resize>("resize", { url: "u", width: 1 }, { dealy: "10m" });
  // @ts-expect-error the id is missing
  await tasks.trigger<typeof resize>({ url: "u", width: 1 });

  expectTypeOf(await resize.trigger({ url: "u", width: 1 })).toEqualTypeOf(handle);
  // @ts-expect-error a member of the payload has another type
  await resize.trigger({ url: 1, width: 1 });
  // @ts-expect-error the payload is missing
  await resize.trigger();

  await nightly.trigger();
  await nightly.trigger(undefined, { delay: "1h" });
  // @ts-expect-error the task takes no payload
  await nightly.trigger({ a: 1 });
  await tasks.trigger<typeof nightly>("nightly");
  await greet.trigger();
  await greet.trigger({ name: "a" }, { priority: 1 });
  // @ts-expect-error a member of the payload has another type
  await tasks.trigger<typeof greet>("greet", { name: 1 });

  await tasks.trigger("any-task", { any: "payload" });
}

/** SCH-1, TYP-2: callers give the schema's input, the run function gets its output, whatever the library. */
export async function schemas(): Promise<void> {
  const parse = schemaTask({
    id: "parse",
    schema: z.object({ at: z.coerce.date<string>(), pages: z.number().default(1) }),
    run: async ({ at, pages }) => {
      expectTypeOf(at).toEqualTypeOf<Date>();
      expectTypeOf(pages).toBeNumber();
      return pages;
    },
  });
  expectTypeOf<TaskPayload<typeof parse>>().toEqualTypeOf<{ at: string; pages?: number | undefined }>();
  expectTypeOf<TaskOutput<typeof parse>>().toBeNumber();
  await parse.trigger({ at: "2030-01-01" });
  // @ts-expect-error a member of the input has another type
  await parse.trigger({ at: 5 });
  await tasks.trigger<typeof parse>("parse", { at: "2030-01-01", pages: 2 });

  const piped = valibot.pipe(valibot.string(), valibot.transform(Number));
  expectTypeOf<SchemaInput<typeof piped>>().toBeString();
  expectTypeOf<SchemaOutput<typeof piped>>().toBeNumber();
  const shape = yup.object({ name: yup.string().required() });
  expectTypeOf<SchemaOutput<typeof shape>>().toEqualTypeOf<{ name: string }>();
  const struct = superstruct.object({ name: superstruct.string() });
  expectTypeOf<SchemaInput<typeof struct>>().toEqualTypeOf<{ name: string }>();
  const type = runtypes.Object({ name: runtypes.String });
  expectTypeOf<SchemaOutput<typeof type>>().toEqualTypeOf<{ name: string }>();
  const check = async (data: unknown) => ({ text: String(data) });
  expectTypeOf<SchemaOutput<typeof check>>().toEqualTypeOf<{ text: string }>();
}

/** TYP-3: handles carry the types of their task; an id alone gives `any`, unless the task is named. */
export async function retrieved(): Promise<void> {
  const handle = await resize.trigger({ url: "u", width: 1 });
  const run = await runs.retrieve(handle);
  expectTypeOf(run.payload).toEqualTypeOf<{ url: string; width: number } | undefined>();
  expectTypeOf(run.output).toEqualTypeOf<{ url: string; bytes: bigint } | undefined>();
  expectTypeOf((await runs.retrieve(handle.id)).output).toBeAny();
  expectTypeOf((await runs.retrieve<typeof resize>(handle.id)).output).toEqualTypeOf(run.output);
  expectTypeOf(await runs.poll(handle)).toEqualTypeOf(run);
  expectTypeOf(await runs.poll<typeof resize>("run_x", { maxPolls: 1 })).toEqualTypeOf(run);
  const polled = await tasks.triggerAndPoll<typeof resize>(
    "resize",
    { url: "u", width: 1 },
    { pollIntervalMs: 5, ttl: 3 },
  );
  expectTypeOf(polled).toEqualTypeOf(run);
  for await (const state of runs.subscribeToRun(handle))
    expectTypeOf(state).toEqualTypeOf<RealtimeRun<typeof resize>>();
  for await (const state of runs.subscribeToRun<typeof resize>("run_x")) {
    expectTypeOf(state.output).toEqualTypeOf(run.output);
  }
  for await (const item of runs.list({ status: ["FAILED", "CRASHED"] })) {
    expectTypeOf(item.status).toEqualTypeOf(run.status);
    // @ts-expect-error lists carry no output
    expectTypeOf(item.output).toBeAny();
  }
  // @ts-expect-error there is no such status
  await runs.list({ status: "DONE" });
  // @ts-expect-error without an id there is no run
  await runs.retrieve({ name: "x" });
}

/** TYP-1, BT-1, BT-2: items of a batch are typed by their task, handles carry its types, by union or position; streams have no runs. */
export async function batched(): Promise<void> {
  const own = await resize.batchTrigger([{ payload: { url: "u", width: 1 }, options: { tags: ["a"] } }]);
  expectTypeOf(own.runs[0]?.taskIdentifier).toEqualTypeOf<"resize" | undefined>();
  // @ts-expect-error a member of the payload is missing
  await resize.batchTrigger([{ payload: { url: "u" } }]);
  // @ts-expect-error the payload is required
  await resize.batchTrigger([{}]);
  await nightly.batchTrigger([{}, { options: { delay: "1h" } }]);
  await tasks.batchTrigger<typeof resize>("resize", [{ payload: { url: "u", width: 1 } }]);
  // @ts-expect-error the id is another task's
  await tasks.batchTrigger<typeof resize>("nightly", [{ payload: { url: "u", width: 1 } }]);

  const mixed = await batch.trigger<typeof resize | typeof nightly>([
    { id: "resize", payload: { url: "u", width: 1 } },
    { id: "nightly" },
  ]);
  const [first] = mixed.runs;
  expectTypeOf(first?.taskIdentifier).toEqualTypeOf<"resize" | "nightly" | undefined>();
  // @ts-expect-error the payload is that of another task of the union
  await batch.trigger<typeof resize | typeof greet>([{ id: "resize", payload: { name: "n" } }]);

  const tuple = await batch.triggerByTask([
    { task: resize, payload: { url: "u", width: 1 } },
    { task: nightly },
    { task: greet, payload: { name: "n" } },
  ]);
  expectTypeOf(tuple.runs).toHaveProperty("length").toEqualTypeOf<3>();
  const run = await runs.retrieve(tuple.runs[0]);
  expectTypeOf(run.output).toEqualTypeOf<{ url: string; bytes: bigint } | undefined>();
  expectTypeOf((await runs.retrieve(tuple.runs[2])).payload).toEqualTypeOf<{ name: string } | undefined>();
  // @ts-expect-error the payload of the second is another task's
  await batch.triggerByTask([{ task: nightly }, { task: resize, payload: { name: "n" } }]);

  async function* items() {
    yield { payload: { url: "u", width: 1 } };
  }
  const streamed = await resize.batchTrigger(items());
  expectTypeOf(streamed.runCount).toBeNumber();
  // @ts-expect-error a streamed batch has no runs
  expectTypeOf(streamed.runs).toBeNever();
}

/** Tasks of every payload are tasks: what takes any of them takes each. */
export const all: readonly AnyTask[] = [resize, nightly, greet];

/** RES-1, RES-3, TAW-3: results are told apart by `ok`; `unwrap` gives the output. */
export async function awaited(): Promise<void> {
  const result = await resize.triggerAndWait({ url: "u", width: 1 }, { ttl: 3 });
  expectTypeOf(result).toEqualTypeOf<TaskRunResult<"resize", { url: string; bytes: bigint }>>();
  if (result.ok) expectTypeOf(result.output).toEqualTypeOf<{ url: string; bytes: bigint }>();
  else expectTypeOf(result.error).toBeUnknown();
  // @ts-expect-error whether there is an output is not known yet
  expectTypeOf(result.output).toBeAny();
  expectTypeOf(result.taskIdentifier).toEqualTypeOf<"resize">();
  const promise = tasks.triggerAndWait<typeof resize>("resize", { url: "u", width: 1 });
  expectTypeOf(await promise).toEqualTypeOf(result);
  expectTypeOf(await promise.unwrap()).toEqualTypeOf<{ url: string; bytes: bigint }>();
  const followed = resize.triggerAndSubscribe({ url: "u", width: 1 }, { cancelOnAbort: false });
  expectTypeOf(await followed).toEqualTypeOf(result);
  expectTypeOf(await nightly.triggerAndWait().unwrap()).toEqualTypeOf<TaskOutput<typeof nightly>>();
  // @ts-expect-error the payload is required
  await resize.triggerAndWait();
  // @ts-expect-error a member of the payload has another type
  await tasks.triggerAndWait<typeof resize>("resize", { url: "u", width: "1" });
  expectTypeOf<SubtaskUnwrapError["runId"]>().toBeString();
}

/** DUR-G6, WAI-8: a wait has one unit; what a token gives is typed by its reader. */
export async function waited(): Promise<void> {
  await wait.for({ hours: 1.5, idempotencyKey: "k" });
  // @ts-expect-error one unit, not two
  await wait.for({ hours: 1, minutes: 5 });
  // @ts-expect-error no unit
  await wait.for({});
  const result = await wait.forToken<{ approved: boolean }>("waitpoint_x");
  if (result.ok) expectTypeOf(result.output).toEqualTypeOf<{ approved: boolean }>();
  else expectTypeOf(result.error).toExtend<Error>();
  expectTypeOf(await wait.forToken<number>({ id: "x" }).unwrap()).toBeNumber();
}

/** BT-2, BT-3: results of batches are typed by their tasks; of several, told apart by `taskIdentifier`, or position by position. */
export async function awaitedBatches(): Promise<void> {
  const own = await resize.batchTriggerAndWait([{ payload: { url: "u", width: 1 } }]);
  for (const run of own) expectTypeOf(run).toEqualTypeOf<TaskRunResult<"resize", { url: string; bytes: bigint }>>();
  // @ts-expect-error the payload is required
  await resize.batchTriggerAndWait([{}]);
  const named = await tasks.batchTriggerAndWait<typeof resize>("resize", [{ payload: { url: "u", width: 1 } }]);
  expectTypeOf(named).toEqualTypeOf(own);
  const mixed = await batch.triggerAndWait<typeof resize | typeof greet>([
    { id: "resize", payload: { url: "u", width: 1 } },
  ]);
  for (const run of mixed.runs) {
    if (run.ok && run.taskIdentifier === "resize")
      expectTypeOf(run.output).toEqualTypeOf<{ url: string; bytes: bigint }>();
  }
  const { runs: tuple } = await batch.triggerByTaskAndWait([
    { task: resize, payload: { url: "u", width: 1 } },
    { task: nightly },
  ]);
  expectTypeOf(tuple[0]).toEqualTypeOf<TaskRunResult<"resize", { url: string; bytes: bigint }>>();
  expectTypeOf(tuple[1]).toEqualTypeOf<TaskRunResult<"nightly", TaskOutput<typeof nightly>>>();
  // @ts-expect-error there is no third
  expectTypeOf(tuple[2]).toBeAny();
  async function* stream() {
    yield { task: resize, payload: { url: "u", width: 1 } };
  }
  const { runs: streamed } = await batch.triggerByTaskAndWait(stream());
  expectTypeOf(streamed).toEqualTypeOf<readonly TaskRunResult<"resize", { url: string; bytes: bigint }>[]>();
}
