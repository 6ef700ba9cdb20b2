/** `hairtrigger trigger <task> [payload]` */
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { tasks } from "@hairtrigger/sdk";
import { type CommandOptions, connect } from "./connect.js";
import { EXIT, usageError } from "./exit-codes.js";
import { paint, print, printError, printJson } from "./output.js";
import { followRun } from "./runs.js";

export interface TriggerCommandOptions extends CommandOptions {
  readonly delay?: string;
  readonly ttl?: string;
  readonly queue?: string;
  readonly concurrencyKey?: string;
  readonly idempotencyKey?: string;
  readonly idempotencyKeyTtl?: string;
  readonly maxAttempts?: number;
  /** Seconds. */
  readonly maxDuration?: number;
  /** Seconds. */
  readonly priority?: number;
  readonly tag?: readonly string[];
  /** JSON object. */
  readonly metadata?: string;
  readonly wait?: boolean;
}

export async function trigger(
  task: string,
  payloadText: string | undefined,
  options: TriggerCommandOptions,
): Promise<number> {
  const payload = await readPayload(payloadText);
  const metadata = options.metadata === undefined ? undefined : parseObject("metadata", options.metadata);
  await connect(options);
  const handle = await tasks.trigger(task, payload, {
    delay: options.delay,
    ttl: options.ttl,
    queue: options.queue,
    concurrencyKey: options.concurrencyKey,
    idempotencyKey: options.idempotencyKey,
    idempotencyKeyTTL: options.idempotencyKeyTtl,
    maxAttempts: options.maxAttempts,
    maxDuration: options.maxDuration,
    priority: options.priority,
    tags: options.tag,
    metadata,
  });
  for (const warning of handle.warnings ?? []) printError(`${paint("yellow", "warning:")} ${warning}`);
  if (options.wait === true) return followRun(handle.id, options);
  if (options.json === true) printJson({ id: handle.id, taskIdentifier: task, isCached: handle.isCached });
  else print(handle.isCached ? `${handle.id} (made earlier with the same key)` : handle.id);
  return EXIT.ok;
}

async function readPayload(written: string | undefined): Promise<unknown> {
  if (written === undefined) return undefined;
  if (written === "-") return parseJson("standard input", await text(process.stdin));
  if (!written.startsWith("@")) return parseJson("the payload", written);
  const path = written.slice(1);
  const content = await readFile(path, "utf8").catch(() => {
    throw usageError(`${path} cannot be read`);
  });
  return parseJson(path, content);
}

function parseJson(what: string, written: string): unknown {
  try {
    return JSON.parse(written);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw usageError(`${what} is not JSON: ${why}. A text needs its quotes: '"text"'`);
  }
}

function parseObject(what: string, written: string): Readonly<Record<string, unknown>> {
  const value = parseJson(what, written);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw usageError(`${what} is not a JSON object`);
  return { ...value };
}
