#!/usr/bin/env node
/** The command line. Every command loads its own code when it is called, so that none waits for what another needs. */
import { readFileSync } from "node:fs";
import type { RunStatus } from "@hairtrigger/sdk";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import type { CommandOptions } from "./connect.js";
import { EXIT } from "./exit-codes.js";
import type { KeysOptions } from "./keys.js";
import { printError } from "./output.js";
import type { ListQueuesOptions } from "./queues.js";
import { explain } from "./refusal.js";
import type { ListRunsOptions } from "./runs.js";
import type { TriggerCommandOptions } from "./trigger.js";
import type { WorkerOptions } from "./worker.js";

const STATUSES: readonly RunStatus[] = [
  "DELAYED",
  "QUEUED",
  "EXECUTING",
  "WAITING",
  "COMPLETED",
  "CANCELED",
  "FAILED",
  "CRASHED",
  "SYSTEM_FAILURE",
  "EXPIRED",
  "TIMED_OUT",
];

const program = new Command("hairtrigger")
  .description("Background tasks for backends in any language.")
  .version(readVersion())
  .showHelpAfterError("(add --help for what is possible)")
  .configureHelp({ showGlobalOptions: true })
  .exitOverride();

program
  .command("serve")
  .description("run the server; settings are HAIRTRIGGER_… variables")
  .action(async () => finish((await import("./serve.js")).serve()));

program
  .command("dev")
  .description("run server and worker in one terminal; code is reloaded when it changes")
  .argument("<files...>", "files that export tasks")
  .action(async (files: string[]) => finish((await import("./dev.js")).dev(files)));

connected(program.command("worker"))
  .description("run a worker")
  .argument("<files...>", "files that export tasks")
  .option("--concurrency <n>", "runs at the same time", wholeNumber, 10)
  .option("--grace <seconds>", "time for runs to end when the worker stops", wholeNumber, 25)
  .action(async (files: string[], options: WorkerOptions) =>
    finish((await import("./worker.js")).worker(files, options)),
  );

connected(program.command("trigger"))
  .description("trigger a task")
  .argument("<task>", "id of the task")
  .argument("[payload]", "JSON; @file reads it from a file, - from standard input")
  .option("--delay <delay>", "start later: 10s, 1h30m, or a date-time")
  .option("--ttl <ttl>", "expire when not started within: 10m")
  .option("--queue <name>", "queue of the run")
  .option("--concurrency-key <key>", "partition of the queue")
  .option("--idempotency-key <key>", "the same key gives the same run")
  .option("--idempotency-key-ttl <ttl>", "how long the key names the run")
  .option("--max-attempts <n>", "attempts in all", wholeNumber)
  .option("--max-duration <seconds>", "longest active time of an attempt", wholeNumber)
  .option("--priority <seconds>", "head start in the queue", number)
  .option("--tag <tag...>", "labels to find the run by")
  .option("--metadata <json>", "initial metadata, a JSON object")
  .option("--wait", "wait for the end of the run; exit code 1 unless it completed")
  .action(async (task: string, payload: string | undefined, options: TriggerCommandOptions) =>
    finish((await import("./trigger.js")).trigger(task, payload, options)),
  );

const runs = program.command("runs").description("look at runs, and change them");
connected(runs.command("list"))
  .description("the newest runs")
  .addOption(new Option("--status <status...>", "with one of these statuses").choices(STATUSES))
  .option("--task <id...>", "of these tasks")
  .option("--tag <tag...>", "with one of these tags")
  .option("--queue <name...>", "in these queues")
  .option("--period <duration>", "created within: 1h, 7d")
  .option("--limit <n>", "how many, at most 100", wholeNumber, 25)
  .action(async (options: ListRunsOptions) => finish((await import("./runs.js")).listRuns(options)));
connected(runs.command("get"))
  .description("all about one run")
  .argument("<run>", "id of the run")
  .action(async (id: string, options: CommandOptions) => finish((await import("./runs.js")).getRun(id, options)));
connected(runs.command("watch"))
  .description("follow a run to its end; exit code 1 unless it completed")
  .argument("<run>", "id of the run")
  .action(async (id: string, options: CommandOptions) => finish((await import("./runs.js")).watchRun(id, options)));
connected(runs.command("cancel"))
  .description("cancel a run")
  .argument("<run>", "id of the run")
  .action(async (id: string, options: CommandOptions) => finish((await import("./runs.js")).cancelRun(id, options)));
connected(runs.command("reschedule"))
  .description("change when a delayed run starts")
  .argument("<run>", "id of the run")
  .requiredOption("--delay <delay>", "10s, 1h30m, or a date-time")
  .action(async (id: string, options: CommandOptions & { delay: string }) =>
    finish((await import("./runs.js")).rescheduleRun(id, options)),
  );
connected(runs.command("replay"))
  .description("trigger a run's task once more, with the same payload")
  .argument("<run>", "id of the run")
  .action(async (id: string, options: CommandOptions) => finish((await import("./runs.js")).replayRun(id, options)));

const queues = program.command("queues").description("look at queues, and steer them");
const QUEUE = "task/<id> for a task's own queue, else the queue's name or id";
connected(queues.command("list"))
  .description("queues with their figures")
  .option("--page <n>", "from 1", wholeNumber, 1)
  .option("--per-page <n>", "at most 100", wholeNumber, 25)
  .action(async (options: ListQueuesOptions) => finish((await import("./queues.js")).listQueues(options)));
connected(queues.command("pause"))
  .description("start nothing more from a queue")
  .argument("<queue>", QUEUE)
  .action(async (queue: string, options: CommandOptions) =>
    finish((await import("./queues.js")).pauseQueue(queue, options)),
  );
connected(queues.command("resume"))
  .description("go on")
  .argument("<queue>", QUEUE)
  .action(async (queue: string, options: CommandOptions) =>
    finish((await import("./queues.js")).resumeQueue(queue, options)),
  );
connected(queues.command("limit"))
  .description("override a queue's concurrency limit")
  .argument("<queue>", QUEUE)
  .argument("<limit>", "a whole number, or reset for the queue's own limit")
  .action(async (queue: string, limit: string, options: CommandOptions) =>
    finish((await import("./queues.js")).limitQueue(queue, limit, options)),
  );

const keys = program.command("keys").description("make and revoke secret keys");
administering(keys.command("create"))
  .description("make a secret key; it is printed, and never shown again")
  .argument("<environment>", "environment that it opens, such as prod")
  .option("--description <text>", "a note for the list")
  .action(async (environment: string, options: KeysOptions & { description?: string }) =>
    finish((await import("./keys.js")).createKey(environment, options)),
  );
administering(keys.command("list"))
  .description("all keys, never their secrets")
  .option("--environment <environment>", "of this environment only")
  .action(async (options: KeysOptions & { environment?: string }) =>
    finish((await import("./keys.js")).listKeys(options)),
  );
administering(keys.command("revoke"))
  .description("make a key invalid, and every token signed with it")
  .argument("<key>", "id of the key, as the list shows it")
  .action(async (id: string, options: KeysOptions) => finish((await import("./keys.js")).revokeKey(id, options)));

/** Options of commands for whoever runs the server. */
function administering(command: Command): Command {
  return command
    .option(
      "--admin-key <key>",
      "asks the running server (default: HAIRTRIGGER_ADMIN_KEY); without it the store is opened",
    )
    .option("--url <url>", "address of the server (default: TRIGGER_API_URL, or http://127.0.0.1:7470)")
    .option("--store <store>", "store that is opened (default: HAIRTRIGGER_STORE, or .hairtrigger)")
    .addOption(new Option("--json", "print JSON, for scripts"));
}

/** Options of every command that calls the service. */
function connected(command: Command): Command {
  return command
    .option("--url <url>", "address of the server (default: TRIGGER_API_URL, or http://127.0.0.1:7470)")
    .option("--key <key>", "secret key (default: TRIGGER_SECRET_KEY, or the key of the server's store)")
    .option("--store <directory>", "store whose key is used where none is given (default: .hairtrigger)")
    .addOption(new Option("--json", "print JSON, for scripts"));
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("expected a whole number");
  return Number(text);
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("expected a number");
  return value;
}

async function finish(exitCode: Promise<number>): Promise<void> {
  process.exitCode = await exitCode;
}

function readVersion(): string {
  const file: unknown = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
  return typeof file === "object" && file !== null && "version" in file ? String(file.version) : "unknown";
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else {
    const { message, exitCode } = explain(error);
    printError(`hairtrigger: ${message}`);
    process.exitCode = exitCode;
  }
}
