/** A store in a directory: a thread that writes, and one that reads. Here is the side of them that lives in the caller's thread. */
import { mkdirSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { storeUnavailable } from "../../domain/error.js";
import type { Backend } from "./embedded-store.js";
import type { Outcome } from "./group.js";
import type { InsertRow } from "./insert-row.js";
import { packRows } from "./packed-rows.js";
import { type PackedOutcomes, unpackOutcomes } from "./packed-runs.js";
import type { Answer, Ask, SentCall, ThreadData } from "./thread.js";
import type { Call } from "./verbs.js";
import type { Opened } from "./writer.js";

/** Less free space than this and the next transactions fail: about what one group writes. */
const FREE_BYTES_MIN = 1_048_576;

export class FileBackend implements Backend {
  readonly #directory: string;
  #writer: Thread | undefined;
  #reader: Thread | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async start(): Promise<Opened> {
    try {
      // Readable by its owner only: payloads are in it.
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw storeUnavailable(error);
    }
    const writer = new Thread({ role: "writer", directory: this.#directory });
    const answer = await writer.ask({ kind: "open" });
    if (answer.kind === "failed") {
      await writer.end();
      throw answer.isFault ? storeUnavailable(answer.error) : answer.error;
    }
    this.#writer = writer;
    this.#reader = new Thread({ role: "reader", directory: this.#directory });
    // What Writer.open returned in the thread.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    return answer.value as Opened;
  }

  /** The reader ends first, so that the writer is the last connection and leaves one file without a log. */
  async stop(): Promise<void> {
    await this.#reader?.end();
    await this.#writer?.end();
  }

  write(calls: readonly Call[]): Promise<readonly Outcome[]> {
    return execute(this.#writer, calls);
  }

  read(calls: readonly Call[]): Promise<readonly Outcome[]> {
    return execute(this.#reader, calls);
  }

  /** SQLite overwrites what a failed transaction left in its log, so small writes pass on a disk that is full. */
  async checkSpace(): Promise<string | undefined> {
    try {
      const { bavail, bsize } = await statfs(this.#directory);
      const free = bavail * bsize;
      return free >= FREE_BYTES_MIN ? undefined : `${this.#directory} has only ${free} bytes left on its disk`;
    } catch (error) {
      return String(error);
    }
  }

  async query(sql: string): Promise<readonly unknown[]> {
    const answer = await this.#writer?.ask({ kind: "query", sql });
    if (answer?.kind !== "done") throw new Error("the store cannot be asked", { cause: answer?.error });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    return answer.value as readonly unknown[];
  }
}

async function execute(thread: Thread | undefined, calls: readonly Call[]): Promise<readonly Outcome[]> {
  const answer = await (thread?.ask(executeAsk(calls)) ?? DEAD);
  if (answer.kind === "failed") {
    const kind = answer.isFault ? "unavailable" : "failed";
    return calls.map(() => ({ kind, error: answer.error }));
  }
  const verbs = calls.map(({ verb }) => verb);
  // What packOutcomes returned in the thread.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
  return unpackOutcomes(verbs, answer.value as PackedOutcomes);
}

function executeAsk(calls: readonly Call[]): Ask {
  const rows: InsertRow[] = [];
  const sent: SentCall[] = [];
  let counts: number[] | undefined;
  for (const call of calls) {
    if (call.verb !== "insertRuns") {
      sent.push(call);
      counts = undefined;
      continue;
    }
    if (counts === undefined) {
      counts = [];
      sent.push({ verb: call.verb, counts });
    }
    counts.push(call.inserts.length);
    rows.push(...call.inserts);
  }
  return { kind: "execute", calls: sent, rows: rows.length === 0 ? undefined : packRows(rows) };
}

const DEAD: Answer = { kind: "failed", error: new Error("the thread of the store has ended"), isFault: true };

/** A worker thread that answers messages in order. Dead threads answer with a failure, never with silence. */
class Thread {
  readonly #worker: Worker;
  readonly #asked: ((answer: Answer) => void)[] = [];
  readonly #ended: Promise<void>;
  #isEnded = false;

  constructor(data: ThreadData) {
    this.#worker = new Worker(new URL("./thread.js", import.meta.url), {
      workerData: data,
      name: `store ${data.role}`,
    });
    this.#worker.on("message", (answer: Answer) => this.#asked.shift()?.(answer));
    this.#ended = new Promise((resolve) => {
      const end = (answer: Answer): void => {
        this.#isEnded = true;
        for (const resolveAsked of this.#asked.splice(0)) resolveAsked(answer);
        resolve();
      };
      this.#worker.on("error", (error) => end({ kind: "failed", error, isFault: true }));
      this.#worker.on("exit", () => end(DEAD));
    });
  }

  ask(ask: Ask): Promise<Answer> {
    if (this.#isEnded) return Promise.resolve(DEAD);
    return new Promise((resolve) => {
      try {
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
        this.#worker.postMessage(ask);
        this.#asked.push(resolve);
      } catch (error) {
        // It cannot be copied to the thread: a mistake of the caller's, and nothing was sent.
        resolve({ kind: "failed", error, isFault: false });
      }
    });
  }

  async end(): Promise<void> {
    await this.ask({ kind: "close" });
    await this.#ended;
  }
}
