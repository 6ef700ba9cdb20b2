/** `hairtrigger runs …` */
import { type RunStatus, runs } from "@hairtrigger/sdk";
import { type CommandOptions, connect } from "./connect.js";
import { EXIT } from "./exit-codes.js";
import { durationText, paint, paintStatus, print, printFields, printJson, printTable, timeText } from "./output.js";

export interface ListRunsOptions extends CommandOptions {
  readonly status?: readonly RunStatus[];
  readonly task?: readonly string[];
  readonly tag?: readonly string[];
  readonly queue?: readonly string[];
  readonly period?: string;
  readonly limit: number;
}

export async function listRuns(options: ListRunsOptions): Promise<number> {
  await connect(options);
  const page = await runs.list({
    limit: options.limit,
    status: options.status,
    taskIdentifier: options.task,
    tag: options.tag,
    queue: options.queue,
    period: options.period,
  });
  if (options.json === true) printJson(page.data);
  else if (page.data.length === 0) print("no runs");
  else {
    printTable(
      ["RUN", "TASK", "STATUS", "CREATED", "TOOK", "ATTEMPTS", "TAGS"],
      page.data.map((run) => [
        run.id,
        run.taskIdentifier,
        run.status,
        timeText(run.createdAt),
        run.durationMs === 0 ? "" : durationText(run.durationMs),
        String(run.attemptCount),
        run.tags.join(" "),
      ]),
    );
    if (page.hasNextPage()) print(paint("gray", `the newest ${page.data.length}; there are older ones`));
  }
  return EXIT.ok;
}

export async function getRun(id: string, options: CommandOptions): Promise<number> {
  await connect(options);
  const run = await runs.retrieve(id);
  if (options.json === true) printJson(run);
  else printRun(run);
  return EXIT.ok;
}

type Run = Awaited<ReturnType<typeof runs.retrieve>>;

function printRun(run: Run): void {
  printFields({
    run: run.id,
    task: run.taskIdentifier,
    status: paintStatus(run.status),
    queue: `${run.queue.name}${run.concurrencyKey === undefined ? "" : `, key ${run.concurrencyKey}`}`,
    created: timeText(run.createdAt),
    delayed: run.delayedUntil === undefined ? undefined : `until ${timeText(run.delayedUntil)}`,
    started: run.startedAt === undefined ? undefined : timeText(run.startedAt),
    finished: run.finishedAt === undefined ? undefined : timeText(run.finishedAt),
    took: run.durationMs === 0 ? undefined : durationText(run.durationMs),
    tags: run.tags.length === 0 ? undefined : run.tags.join(" "),
    metadata: run.metadata === undefined ? undefined : JSON.stringify(run.metadata),
    payload: run.payload === undefined ? undefined : JSON.stringify(run.payload),
    output: run.output === undefined ? undefined : JSON.stringify(run.output),
    error: run.error === undefined ? undefined : errorText(run.error),
  });
  if (run.attempts.length > 0) {
    print("");
    printTable(
      ["ATTEMPT", "OUTCOME", "STARTED", "TOOK", "ERROR"],
      run.attempts.map((attempt) => [
        String(attempt.number),
        attempt.outcome,
        timeText(attempt.startedAt),
        attempt.finishedAt === undefined
          ? ""
          : durationText(attempt.finishedAt.getTime() - attempt.startedAt.getTime()),
        attempt.error === undefined ? "" : errorText(attempt.error),
      ]),
    );
  }
}

function errorText(error: { readonly name?: string; readonly message: string }): string {
  return error.name === undefined ? error.message : `${error.name}: ${error.message}`;
}

export async function watchRun(id: string, options: CommandOptions): Promise<number> {
  await connect(options);
  return followRun(id, options);
}

/** Prints every change of a run that is seen, to its end. @returns the exit code: ok only for a completed run. */
export async function followRun(id: string, options: CommandOptions): Promise<number> {
  let shown = "";
  let isCompleted = false;
  for await (const run of runs.subscribeToRun(id)) {
    isCompleted = run.status === "COMPLETED";
    if (options.json === true) printJson(run, true);
    else if (run.status !== shown)
      print(`${timeText(new Date())}  ${id}  ${paintStatus(run.status)}${resultText(run)}`);
    shown = run.status;
  }
  return isCompleted ? EXIT.ok : EXIT.failed;
}

function resultText(run: {
  readonly output?: unknown;
  readonly error?: { readonly name?: string; readonly message: string };
}): string {
  if (run.error !== undefined) return `  ${errorText(run.error)}`;
  return run.output === undefined ? "" : `  ${JSON.stringify(run.output)}`;
}

export async function cancelRun(id: string, options: CommandOptions): Promise<number> {
  await connect(options);
  await runs.cancel(id);
  // A run that had ended already keeps its status (CAN-1).
  const { status } = await runs.retrieve(id);
  if (options.json === true) printJson({ id, status });
  else print(`${id}  ${paintStatus(status)}`);
  return EXIT.ok;
}

export async function rescheduleRun(id: string, options: CommandOptions & { readonly delay: string }): Promise<number> {
  await connect(options);
  const run = await runs.reschedule(id, { delay: options.delay });
  if (options.json === true) printJson(run);
  else
    print(
      `${id}  ${paintStatus(run.status)}${run.delayedUntil === undefined ? "" : ` until ${timeText(run.delayedUntil)}`}`,
    );
  return EXIT.ok;
}

export async function replayRun(id: string, options: CommandOptions): Promise<number> {
  await connect(options);
  const replay = await runs.replay(id);
  if (options.json === true) printJson(replay);
  else print(replay.id);
  return EXIT.ok;
}
