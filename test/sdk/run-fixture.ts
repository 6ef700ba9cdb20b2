/** An attempt to call the SDK's functions in, without a worker. */
import type { LogRecord, RunContext } from "#sdk/run-context.js";

export interface FixtureParams {
  readonly runId?: string;
  readonly attempt?: number;
  readonly signal?: AbortSignal;
  readonly lines?: LogRecord[];
}

export const RUN_ID = "run_01m877rv7vm1bfd4y185qwaajg";

export function runContext(params: FixtureParams = {}): RunContext {
  const { runId = RUN_ID, attempt = 1, signal = new AbortController().signal, lines = [] } = params;
  const at = new Date(0);
  return {
    ctx: {
      task: { id: "parent" },
      attempt: { number: attempt, startedAt: at },
      run: {
        id: runId,
        tags: [],
        isTest: false,
        isReplay: false,
        createdAt: at,
        startedAt: at,
        maxAttempts: 3,
        priority: 0,
        durationMs: 0,
      },
      queue: { id: "queue_00000000000000000000000000", name: "task/parent" },
      environment: { id: "dev", slug: "dev" },
    },
    signal,
    sessionId: "session_00000000000000000000000000",
    isActive: () => true,
    log: (line) => {
      lines.push(line);
    },
    onCancel: () => undefined,
    nowMs: () => 0,
    wait: () => Promise.reject(new Error("this run waits for nothing")),
    tagsChanged: () => undefined,
    metadata: {
      current: () => ({}),
      get: () => undefined,
      change: () => undefined,
      publish: () => Promise.resolve(),
      flush: () => Promise.resolve(),
      refresh: () => Promise.resolve(),
    },
  };
}
