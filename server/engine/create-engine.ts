/** Puts the verbs together. Wiring only; what a verb does stands in its own file. */

import { createDue } from "./duties/due.js";
import { createEnded } from "./duties/ended.js";
import { createExpire } from "./duties/expire.js";
import { createLose } from "./duties/lose.js";
import { createOrphans } from "./duties/orphans.js";
import { createOverrun } from "./duties/overrun.js";
import { createPurge } from "./duties/purge.js";
import { createRelease } from "./duties/release.js";
import { createSeal } from "./duties/seal.js";
import { createSettle } from "./duties/settle.js";
import { createTimeout } from "./duties/timeout.js";
import type { Engine, EngineDeps, EngineParts } from "./engine.js";
import { createAddTags } from "./producers/add-tags.js";
import { createBulk } from "./producers/bulk.js";
import { createCancel } from "./producers/cancel.js";
import { createQueues } from "./producers/queues.js";
import { createReplay } from "./producers/replay.js";
import { createReschedule } from "./producers/reschedule.js";
import { createResetKey } from "./producers/reset-key.js";
import { listRuns, retrieveRun } from "./producers/retrieve.js";
import { listBatchResults, retrieveBatch } from "./producers/retrieve-batch.js";
import { createStreamBatch } from "./producers/stream-batch.js";
import { createTrigger } from "./producers/trigger.js";
import { createTriggerBatch } from "./producers/trigger-batch.js";
import { createUpdateMetadata } from "./producers/update-metadata.js";
import { createWaitpoints } from "./producers/waitpoints.js";
import { watchRun } from "./producers/watch.js";
import { watchRuns } from "./producers/watch-runs.js";
import { watchRunWithStreams } from "./producers/watch-streams.js";
import { createRateLimits } from "./rate-limits.js";
import { createTaskRegistry } from "./task-registry.js";
import { createWakes } from "./wakes.js";
import { createWatchHub } from "./watch-hub.js";
import { createDispatcher } from "./workers/claim.js";
import { createUploads } from "./workers/outputs.js";
import { createSessions } from "./workers/session.js";

export function createEngine(parts: EngineParts): Engine {
  const wakes = createWakes(() => deps);
  const deps: EngineDeps = { ...parts, wakes, rates: createRateLimits(parts) };
  const registry = createTaskRegistry(deps);
  const dispatcher = createDispatcher(deps);
  const sessions = createSessions(deps, registry, dispatcher);
  const queues = createQueues(deps);
  const waitpoints = createWaitpoints(deps);
  const trigger = createTrigger(deps, registry);
  const unsubscribe = deps.signals.subscribe((signal) => {
    if (signal.kind === "claimable") dispatcher.wakeTask(signal.environment, signal.taskId);
  });
  const cancel = createCancel(deps);
  const replay = createReplay(deps, trigger);
  const bulk = createBulk(deps, { cancel, replay });
  const watching = new AbortController();
  const hub = createWatchHub(deps);

  return {
    trigger,
    triggerBatch: createTriggerBatch(deps, registry),
    streamBatch: createStreamBatch(deps, registry),
    retrieveBatch: (environment, batchId) => retrieveBatch(deps, environment, batchId),
    listBatchResults: (params) => listBatchResults(deps, params),
    retrieveRun: (environment, runId) => retrieveRun(deps, environment, runId),
    listRuns: (params) => listRuns(deps, params),
    watchRunWithStreams: (params) =>
      watchRunWithStreams(deps, hub, { ...params, signal: AbortSignal.any([params.signal, watching.signal]) }),
    watchRun: (params) => watchRun(deps, hub, { ...params, signal: AbortSignal.any([params.signal, watching.signal]) }),
    watchRuns: (params) =>
      watchRuns(deps, hub, { ...params, signal: AbortSignal.any([params.signal, watching.signal]) }),
    cancelRun: cancel,
    rescheduleRun: createReschedule(deps),
    replayRun: replay,
    bulkCancel: bulk.cancel,
    bulkReplay: bulk.replay,
    resetIdempotencyKey: createResetKey(deps),
    addTags: createAddTags(deps),
    updateMetadata: createUpdateMetadata(deps),
    createToken: waitpoints.createToken,
    completeToken: waitpoints.completeToken,
    retrieveToken: waitpoints.retrieveToken,
    listTokens: waitpoints.listTokens,
    createTimer: waitpoints.createTimer,
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
    createUpload: createUploads(deps),
    duties: {
      due: createDue(deps),
      expire: createExpire(deps),
      lose: createLose(deps, registry),
      release: createRelease(deps, sessions),
      overrun: createOverrun(deps),
      timeout: createTimeout(deps),
      settle: createSettle(deps),
      seal: createSeal(deps),
      ended: createEnded(deps, dispatcher),
      purge: createPurge(deps),
      orphans: createOrphans(deps),
    },
    async stop() {
      unsubscribe();
      watching.abort();
      hub.stop();
      sessions.stop();
      await wakes.stop();
      await dispatcher.stop();
    },
  };
}
