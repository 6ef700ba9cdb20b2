/** Puts the verbs together. Wiring only; what a verb does stands in its own file. */

import { createAddTags } from "./add-tags.js";
import { createCancel } from "./cancel.js";
import { createDispatcher } from "./claim.js";
import { createDue } from "./due.js";
import { createEnded } from "./ended.js";
import type { Engine, EngineDeps } from "./engine.js";
import { createExpire } from "./expire.js";
import { createLose } from "./lose.js";
import { createOverrun } from "./overrun.js";
import { createPurge } from "./purge.js";
import { createQueues } from "./queues.js";
import { createRelease } from "./release.js";
import { createReplay } from "./replay.js";
import { createReschedule } from "./reschedule.js";
import { createResetKey } from "./reset-key.js";
import { listRuns, retrieveRun } from "./retrieve.js";
import { createSessions } from "./session.js";
import { createSettle } from "./settle.js";
import { createTaskRegistry } from "./task-registry.js";
import { createTrigger } from "./trigger.js";
import { watchRun } from "./watch.js";

export function createEngine(deps: EngineDeps): Engine {
  const registry = createTaskRegistry(deps);
  const dispatcher = createDispatcher(deps);
  const sessions = createSessions(deps, registry, dispatcher);
  const queues = createQueues(deps);
  const trigger = createTrigger(deps, registry);
  const unsubscribe = deps.signals.subscribe((signal) => {
    if (signal.kind === "claimable") dispatcher.wakeTask(signal.environment, signal.taskId);
  });
  const watching = new AbortController();

  return {
    trigger,
    retrieveRun: (environment, runId) => retrieveRun(deps, environment, runId),
    listRuns: (params) => listRuns(deps, params),
    watchRun: (params) => watchRun(deps, { ...params, signal: AbortSignal.any([params.signal, watching.signal]) }),
    cancelRun: createCancel(deps),
    rescheduleRun: createReschedule(deps),
    replayRun: createReplay(deps, trigger),
    resetIdempotencyKey: createResetKey(deps),
    addTags: createAddTags(deps),
    listQueues: queues.list,
    retrieveQueue: queues.retrieve,
    pauseQueue: queues.pause,
    resumeQueue: queues.resume,
    overrideConcurrencyLimit: queues.override,
    resetConcurrencyLimit: queues.reset,
    listTasks: async (environment) => [...(await registry.read(environment)).values()],
    async listWorkers(environment) {
      const nowMs = deps.clock.nowMs();
      return (await deps.store.listSessions({ environment })).filter(({ untilMs }) => untilMs > nowMs);
    },
    openSession: (params, sink) => sessions.open(params, sink),
    duties: {
      due: createDue(deps),
      expire: createExpire(deps),
      lose: createLose(deps, registry),
      release: createRelease(deps, sessions.heardSince),
      overrun: createOverrun(deps),
      settle: createSettle(deps),
      ended: createEnded(deps, dispatcher),
      purge: createPurge(deps),
    },
    async stop() {
      unsubscribe();
      watching.abort();
      sessions.stop();
      await dispatcher.stop();
    },
  };
}
