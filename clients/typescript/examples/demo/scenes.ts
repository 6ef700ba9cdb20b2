/** The six scenes. Each triggers, shows what happens as it happens, and says what it found. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { queues, type RunData, type RunHandle, runs, tasks } from "@hairtrigger/sdk";
import { markdownFiles, readText } from "./files.js";
import { sectionsOf } from "./markdown.js";
import { bar, chapter, columns, detail, endMoving, event, moving, paint, say, statusEvent } from "./screen.js";
import type { Finding } from "./summary.js";
import type { checkLinks, markdownReport, publishSection } from "./tasks.js";

const DELAY_MS = 2_000;
/** Timers fire within a few ms; the rest is for a machine that is busy with other things. */
const DELAY_TOLERANCE_MS = 1_000;
const SECTIONS = 100;
const LIMIT = 5;
const SAMPLE_PAUSE_MS = 10;

interface Seen {
  readonly promise: string;
  readonly seen: string;
  readonly isKept: boolean;
}

async function scene(what: string, play: (sinceMs: () => number) => Promise<Seen>): Promise<Finding> {
  const startedMs = performance.now();
  const sinceMs = (): number => performance.now() - startedMs;
  const found = await play(sinceMs);
  return { what, ...found, tookMs: sinceMs() };
}

/** Shows every change of a run to its end. @returns the run as it ended. */
async function follow<P, O>(
  handle: RunHandle<string, P, O>,
  sinceMs: () => number,
  tell: (run: RunData<P, O>) => string,
): Promise<RunData<P, O>> {
  let shown = "";
  let last: RunData<P, O> | undefined;
  for await (const run of runs.subscribeToRun<RunHandle<string, P, O>>(handle)) {
    last = run;
    const failed = run.attempts.filter(({ outcome }) => outcome === "FAILED").at(-1);
    const now = `${run.status} ${run.attempts.length} ${failed?.number ?? 0}`;
    if (now === shown) continue;
    shown = now;
    if (run.status === "EXECUTING" && failed?.number === run.attempts.at(-1)?.number && failed !== undefined) {
      event(sinceMs(), "failed", `attempt ${failed.number}: ${failed.error?.message ?? ""}${pauseText(run)}`, "red");
    } else statusEvent(sinceMs(), run.status, tell(run));
  }
  if (last === undefined) throw new Error(`${handle.id} was never seen`);
  return last;
}

const short = (runId: string): string => `${runId.slice(0, 16)}…`;

function progressText(run: RunData): string {
  if (run.isExecuting) return `attempt ${run.attempts.length}`;
  return run.isSuccess ? `after ${run.durationMs} ms of work` : "";
}

function pauseText({ nextAttemptAt }: RunData): string {
  if (nextAttemptAt === undefined) return "";
  return `; again at ${clockText(nextAttemptAt)}`;
}

/** Time of day in UTC, to the millisecond. */
function clockText(date: Date): string {
  return date.toISOString().slice(11, 23);
}

export function aRun(): Promise<Finding> {
  chapter(1, "A run", "Read every Markdown file of this repository, and hand back a typed report.");
  return scene("a run", async (sinceMs) => {
    const handle = await tasks.trigger<typeof markdownReport>("markdown-report", { folder: "." });
    event(sinceMs(), "stored", `${short(handle.id)} is on disk: that is what the answer means`);
    const run = await follow(handle, sinceMs, progressText);
    const report = run.output;
    if (report === undefined) return { promise: "a report", seen: run.status, isKept: false };
    for (const line of columns(
      report.files
        .slice(0, 4)
        .map(({ path, words, headings, codeBlocks }) => [
          path,
          words,
          "words",
          headings,
          "headings",
          codeBlocks,
          "code blocks",
        ]),
      27,
    ))
      say(line);
    return {
      promise: "a typed report",
      seen: `${report.files.length} files, ${report.words.toLocaleString("en")} words`,
      isKept: run.isSuccess && report.files.length > 0 && report.words > 0,
    };
  });
}

export function aDelayedRun(): Promise<Finding> {
  chapter(2, "A delayed run", "Not now, in two seconds: it waits in the store, not in anybody's memory.");
  return scene("a delayed run", async (sinceMs) => {
    const handle = await tasks.trigger<typeof markdownReport>("markdown-report", { folder: "docs" }, { delay: "2s" });
    event(sinceMs(), "stored", short(handle.id));
    const run = await follow(handle, sinceMs, (state) =>
      state.status === "DELAYED"
        ? `until ${state.delayedUntil === undefined ? "" : clockText(state.delayedUntil)}`
        : progressText(state),
    );
    const lateMs = (run.startedAt?.getTime() ?? Number.NaN) - (run.delayedUntil?.getTime() ?? Number.NaN);
    return {
      promise: "starts when due, never before",
      seen: `started ${lateMs} ms after its time`,
      isKept: run.isSuccess && lateMs >= 0 && lateMs < DELAY_TOLERANCE_MS && sinceMs() >= DELAY_MS,
    };
  });
}

export function anIdempotentPair(): Promise<Finding> {
  chapter(3, "An idempotent pair", "The same text need not be checked twice: its digest is the key.");
  return scene("an idempotent pair", async (sinceMs) => {
    const path = "README.md";
    const idempotencyKey = createHash("sha256")
      .update(await readText(path))
      .digest("hex");
    const trigger = () => tasks.trigger<typeof checkLinks>("check-links", { path }, { idempotencyKey });
    const first = await trigger();
    event(sinceMs(), "stored", `${short(first.id)}  key ${idempotencyKey.slice(0, 12)}…`);
    const second = await trigger();
    event(sinceMs(), second.isCached ? "cached" : "stored", `${short(second.id)}  the same key again`, "yellow");
    const run = await follow(first, sinceMs, progressText);
    const third = await trigger();
    event(
      sinceMs(),
      third.isCached ? "cached" : "stored",
      `${short(third.id)}  and once more, after its end`,
      "yellow",
    );
    detail(`${run.output?.checked} relative links of ${path}, ${run.output?.broken.length} broken`);
    for (const { line, target, why } of run.output?.broken ?? []) detail(`line ${line}: ${target}: ${why}`);
    const isOne = !first.isCached && [second, third].every(({ id, isCached }) => isCached && id === first.id);
    return {
      promise: "one key, one run",
      seen: isOne ? `one run for three triggers, ${run.attemptCount} attempt` : "more than one run",
      isKept: run.isSuccess && isOne && run.attemptCount === 1 && run.output?.broken.length === 0,
    };
  });
}

export function aRunThatFailsOnce(): Promise<Finding> {
  chapter(4, "A run that fails once", "The disk does not answer the first attempt. The second starts 400 ms later.");
  return scene("a run that fails once", async (sinceMs) => {
    const path = join("docs", "architecture.md");
    const handle = await tasks.trigger<typeof checkLinks>("check-links", { path, isDiskFlaky: true });
    event(sinceMs(), "stored", short(handle.id));
    const run = await follow(handle, sinceMs, progressText);
    detail(`${run.output?.checked ?? 0} relative links of ${path}, ${run.output?.broken.length ?? 0} broken`);
    const outcomes = run.attempts.map(({ outcome }) => outcome).join(", then ");
    return {
      promise: "tried again by itself",
      seen: outcomes,
      isKept: run.isSuccess && outcomes === "FAILED, then COMPLETED",
    };
  });
}

export function aRunThatExpires(): Promise<Finding> {
  chapter(
    5,
    "A run that expires",
    "Nobody serves translate-page (the SDK warns), and after one second nobody wants it any more.",
  );
  return scene("a run that expires", async (sinceMs) => {
    const handle = await tasks.trigger("translate-page", { path: "README.md", to: "eo" }, { ttl: "1s" });
    event(sinceMs(), "stored", short(handle.id));
    const run = await follow(handle, sinceMs, ({ status, error }) =>
      status === "QUEUED" ? "no worker serves it" : (error?.message ?? ""),
    );
    const afterMs = (run.expiredAt?.getTime() ?? Number.NaN) - run.createdAt.getTime();
    return {
      promise: "given up after its ttl",
      seen: `${run.status} after ${afterMs} ms, ${run.attemptCount} attempts`,
      isKept: run.status === "EXPIRED" && run.attemptCount === 0 && afterMs >= 1_000,
    };
  });
}

export function runsUnderALimit(folder: string): Promise<Finding> {
  chapter(
    6,
    `${SECTIONS} runs under a limit of ${LIMIT}`,
    "Each publishes one section as a web page; the worker has 20 places, the press has 5.",
  );
  return scene(`${SECTIONS} runs, limit ${LIMIT}`, async (sinceMs) => {
    const sections = await firstSections(SECTIONS);
    const outFolder = join(folder, "pages");
    const handles = await Promise.all(
      sections.map(({ path, index }) =>
        tasks.trigger<typeof publishSection>("publish-section", { path, index, outFolder }),
      ),
    );
    event(sinceMs(), "stored", `${handles.length} runs`);
    const samples = await watchPress(handles.length);
    const ended = await Promise.all(
      handles.map((handle) => runs.poll(handle, { pollIntervalMs: SAMPLE_PAUSE_MS * 5 })),
    );
    const pages = ended.flatMap(({ output }) => output ?? []);
    const inWorker = Math.max(0, ...pages.map(({ atOnce }) => atOnce));
    const most = Math.max(inWorker, ...samples);
    const kilobytes = (bytes: readonly number[]): string => (bytes.reduce((sum, n) => sum + n, 0) / 1_024).toFixed(0);
    event(
      sinceMs(),
      "COMPLETED",
      `${pages.length} pages, ${kilobytes(pages.map((page) => page.htmlBytes))} KB, compressed ${kilobytes(pages.map((page) => page.compressedBytes))} KB`,
      "green",
    );
    detail(
      `most at once: ${inWorker} as the worker counted, ${Math.max(0, ...samples)} in ${samples.length} samples of the queue`,
    );
    return {
      promise: `never more than ${LIMIT} at once`,
      seen: `${pages.length} completed, at most ${most} at once`,
      isKept: pages.length === SECTIONS && most <= LIMIT && ended.every(({ isSuccess }) => isSuccess),
    };
  });
}

/** The first sections of the repository's Markdown; files are begun again where they are too few. */
async function firstSections(count: number): Promise<readonly { readonly path: string; readonly index: number }[]> {
  const all: { path: string; index: number }[] = [];
  for (const path of await markdownFiles(".")) {
    for (const index of sectionsOf(await readText(path)).keys()) all.push({ path, index });
  }
  return Array.from({ length: count }, (_, number) => all[number % all.length]).flatMap((section) => section ?? []);
}

/** Samples the figures of the queue until it is empty, and shows them. @returns how many were executing, each time. */
async function watchPress(count: number): Promise<readonly number[]> {
  const samples: number[] = [];
  let milestone = 0;
  for (;;) {
    const { running, queued } = await queues.retrieve({ type: "custom", name: "press" });
    samples.push(running);
    const done = count - running - queued;
    const isMilestone = done >= milestone;
    if (isMilestone) milestone += count / 4;
    moving(
      `   ${paint("blue", bar(running, LIMIT, LIMIT))} ${running} executing  ${paint("green", bar(done, count, 40))} ${String(done).padStart(3)} done, ${queued} waiting`,
      isMilestone,
    );
    if (running + queued === 0) break;
    await new Promise((resolve) => setTimeout(resolve, SAMPLE_PAUSE_MS));
  }
  endMoving();
  return samples;
}
