/** Schema tasks (§10.2). */
import { runs, type Schema, schemaTask, tasks } from "@hairtrigger/sdk";
import { type as arktype } from "arktype";
import test from "ava";
import * as runtypes from "runtypes";
import * as superstruct from "superstruct";
import * as valibot from "valibot";
import * as yup from "yup";
import { ZodError, z } from "zod";
import { startSdkWorld } from "../../support/sdk-world.js";

/** One schema of each library, all of the same meaning: `{name: string}`. */
const SCHEMAS = {
  zod: z.object({ name: z.string() }),
  valibot: valibot.object({ name: valibot.string() }),
  arktype: arktype({ name: "string" }),
  yup: yup.object({ name: yup.string().strict().required() }),
  superstruct: superstruct.object({ name: superstruct.string() }),
  runtypes: runtypes.Object({ name: runtypes.String }),
  "a function": (data: unknown) => {
    if (typeof data === "object" && data !== null && "name" in data && typeof data.name === "string") return data;
    throw new Error("name must be a string");
  },
  "an asynchronous function": async (data: unknown) => {
    await Promise.resolve();
    if (typeof data === "object" && data !== null && "name" in data && typeof data.name === "string") return data;
    throw new Error("name must be a string");
  },
} as const satisfies Record<string, Schema>;

export function registerSchemas(): void {
  for (const [library, schema] of Object.entries(SCHEMAS)) {
    test(`SCH-3, SCH-4: a payload is checked at the start of the attempt by ${library}`, async (t) => {
      const world = await startSdkWorld(t);
      const calls: unknown[] = [];
      const note = (name: string) => () => void calls.push(name);
      const checked = schemaTask({
        id: "checked",
        schema,
        run: (payload: unknown) => void calls.push(payload),
        middleware: async ({ next }) => {
          calls.push("middleware");
          await next();
        },
        onStart: note("onStart"),
        onFailure: note("onFailure"),
        onComplete: note("onComplete"),
        cleanup: note("cleanup"),
        catchError: () => void calls.push("catchError"),
      });
      await world.worker({ tasks: [checked] });

      const wrong = await world.as(() => tasks.trigger("checked", { name: 5 }));
      const failed = await world.runWhen(wrong, ({ isCompleted }) => isCompleted);
      t.deepEqual([failed.status, failed.error?.code, failed.attemptCount], ["FAILED", "TASK_INPUT_ERROR", 1]);
      t.regex(failed.error?.message ?? "", /^TaskPayloadParsedError: .*name/s);
      t.deepEqual(calls, [], "neither the run function nor any hook is called");

      const right = await world.as(() => tasks.trigger("checked", { name: "Ada" }));
      t.is((await world.runWhen(right, ({ isCompleted }) => isCompleted)).status, "COMPLETED");
      t.deepEqual(calls, ["middleware", "onStart", { name: "Ada" }, "onComplete", "cleanup"]);
    });
  }

  test("SCH-1, SCH-2: the input is sent as it was given; the run function gets defaults, coercions and transforms", async (t) => {
    const world = await startSdkWorld(t);
    const seen: unknown[] = [];
    const parse = schemaTask({
      id: "parse",
      schema: z.object({
        name: z.string().transform((name) => name.toUpperCase()),
        age: z.coerce.number().default(18),
        at: z.coerce.date(),
      }),
      run: ({ name, age, at }) => void seen.push([name, age, at.getTime()]),
    });
    await world.worker({ tasks: [parse] });
    const handle = await world.as(() => parse.trigger({ name: "ada", at: "1970-01-01T00:00:01Z" }));
    const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
    t.deepEqual(run.payload, { name: "ada", at: "1970-01-01T00:00:01Z" });
    t.deepEqual(seen, [["ADA", 18, 1_000]]);
  });

  test("SCH-2: triggering through the task object throws the validator's own error, and nothing is sent", async (t) => {
    const world = await startSdkWorld(t);
    const strict = schemaTask({ id: "strict", schema: SCHEMAS.zod, run: () => undefined });
    // @ts-expect-error the payload has another type
    const error = await t.throwsAsync(world.as(() => strict.trigger({ name: 5 })));
    t.true(error instanceof ZodError);
    const other = schemaTask({ id: "other", schema: SCHEMAS.valibot, run: () => undefined });
    // @ts-expect-error the payload has another type
    const issues = await t.throwsAsync(world.as(() => other.trigger({ name: 5 })));
    t.like(issues, { name: "SchemaValidationError" });
    t.regex(issues?.message ?? "", /name: .*string/);
    const failed = await world.as(() => tasks.trigger("strict", { name: 5 }));
    t.regex(failed.id, /^run_/, "by id alone nothing is known of the schema");
    t.is((await world.as(() => runs.list())).data.length, 1);
  });

  test("SCH-4: what is no schema is refused when the task is defined", (t) => {
    for (const schema of [undefined, null, 5, {}, "zod"]) {
      t.throws(() => Reflect.apply(schemaTask, undefined, [{ id: "none", schema, run: () => undefined }]), {
        instanceOf: TypeError,
        message: /task "none": schema must be/,
      });
    }
  });
}
