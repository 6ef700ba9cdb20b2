/** `hairtrigger queues …` */
import { queues } from "@hairtrigger/sdk";
import { type CommandOptions, connect } from "./connect.js";
import { EXIT, usageError } from "./exit-codes.js";
import { paint, print, printJson, printTable } from "./output.js";

export interface ListQueuesOptions extends CommandOptions {
  readonly page: number;
  readonly perPage: number;
}

type QueueItem = Awaited<ReturnType<typeof queues.retrieve>>;
type QueueSelector = Parameters<typeof queues.retrieve>[0];

export async function listQueues(options: ListQueuesOptions): Promise<number> {
  await connect(options);
  const { data, pagination } = await queues.list({ page: options.page, perPage: options.perPage });
  if (options.json === true) printJson({ data, pagination });
  else if (data.length === 0) print("no queues");
  else {
    printTable(
      ["QUEUE", "RUNNING", "LIMIT", "QUEUED", ""],
      data.map((queue) => [
        nameOf(queue),
        String(queue.running),
        limitText(queue),
        String(queue.queued),
        remarks(queue),
      ]),
    );
    if (pagination.totalPages > 1) print(paint("gray", `page ${pagination.currentPage} of ${pagination.totalPages}`));
  }
  return EXIT.ok;
}

export async function pauseQueue(queue: string, options: CommandOptions): Promise<number> {
  await connect(options);
  return show(await queues.pause(selectorOf(queue)), options);
}

export async function resumeQueue(queue: string, options: CommandOptions): Promise<number> {
  await connect(options);
  return show(await queues.resume(selectorOf(queue)), options);
}

/** @param limit a whole number, or `reset`. */
export async function limitQueue(queue: string, limit: string, options: CommandOptions): Promise<number> {
  if (limit !== "reset" && !/^\d{1,9}$/.test(limit)) throw usageError("the limit is a whole number, or reset");
  await connect(options);
  const selector = selectorOf(queue);
  const changed =
    limit === "reset"
      ? await queues.resetConcurrencyLimit(selector)
      : await queues.overrideConcurrencyLimit(selector, Number(limit));
  return show(changed, options);
}

function selectorOf(queue: string): QueueSelector {
  if (queue.startsWith("queue_")) return queue;
  return queue.startsWith("task/")
    ? { type: "task", name: queue.slice("task/".length) }
    : { type: "custom", name: queue };
}

function nameOf(queue: QueueItem): string {
  return queue.type === "task" ? `task/${queue.name}` : queue.name;
}

function limitText({ concurrency }: QueueItem): string {
  if (concurrency.override === null) return String(concurrency.current ?? "none");
  return `${concurrency.override} (own: ${concurrency.base ?? "none"})`;
}

function remarks(queue: QueueItem): string {
  const unserved = queue.unservedTasks.map((task) => `no worker serves ${task}`);
  return [...(queue.paused ? ["paused"] : []), ...unserved].join(", ");
}

function show(queue: QueueItem, options: CommandOptions): number {
  if (options.json === true) printJson(queue);
  else {
    print(`${nameOf(queue)}  running ${queue.running} of ${limitText(queue)}, queued ${queue.queued}`);
    for (const remark of [remarks(queue)].filter((text) => text !== "")) print(paint("yellow", remark));
  }
  return EXIT.ok;
}
