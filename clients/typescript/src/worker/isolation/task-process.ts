/**
 * A task process from the inside: the program of the worker, loaded again, in which `startWorker` does not connect but executes what the worker
 * hands over, one attempt at a time. Tasks, hooks and settings are those of the same call in the worker, because it is the same program.
 *
 * It ends with its worker, in whatever state its code is: by the end of the channel, and where the event loop is blocked by the watch of a
 * thread. Signals of a terminal or of an orderly stop reach the whole group: the worker decides what they mean.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { call } from "../../call.js";
import { WaitingForSchema } from "../../gen/hairtrigger/v1/run_pb.js";
import { type Assignment, AssignmentSchema, WaitOutcomeSchema } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import { attemptStarter, type ExecutorParams } from "../attempt/executor.js";
import type { LargeValues } from "../attempt/large-values.js";
import { createDeadlines } from "../deadlines.js";
import type { AttemptInput, OnResume, RunningAttempt } from "../session/execution.js";
import type { SessionFacts } from "../session/facts.js";
import { MetadataLedger } from "../session/metadata-ledger.js";
import { takeRunErrors } from "../uncaught.js";
import { type FromProcess, isFromWorker, packOutcome, type ToProcess, unpackRefusal } from "./messages.js";
import { endWithWorker } from "./orphan.js";

export interface TaskProcessParams extends Omit<ExecutorParams, "facts" | "metadataWriter" | "logLine"> {
  /** Process id of the worker. */
  readonly workerPid: number;
}

interface Current {
  readonly assignment: Assignment;
  readonly attempt: RunningAttempt;
  resume: ((lease: Uint8Array | undefined, outcome: Uint8Array | undefined) => void) | undefined;
}

/** Executes attempts for the worker until it goes away. Never resolves: what follows `startWorker` in the program is the worker's alone. */
export function serveAttempts(params: TaskProcessParams): Promise<never> {
  let facts: SessionFacts | undefined;
  let current: Current | undefined;
  let isRepeated = false;
  const ledger = new MetadataLedger(createDeadlines(params.clock), tellMetadata);
  const start = attemptStarter({
    ...params,
    facts: () => facts ?? NO_FACTS,
    large: withFreshUrls(params.large, () => isRepeated),
    metadataWriter: (runId, attempt, onSettled) => ledger.writer(runId, attempt, onSettled),
    logLine: (runId, attempt, line) => tell({ kind: "log", runId, attempt, line }),
  });

  function metadataJson(): string | undefined {
    const metadata = current === undefined ? undefined : params.metadataHere.get(current.assignment);
    return metadata === undefined ? undefined : JSON.stringify(metadata.current());
  }

  function tellMetadata(): void {
    while (ledger.isDue) {
      for (const { first, changes } of ledger.takeChanges(METADATA_BYTES)) {
        tell({ kind: "metadata", changes, sequence: first + changes.length - 1, metadataJson: metadataJson() });
      }
    }
  }

  /** Changes come before the report that they were made before. */
  function report(message: FromProcess): void {
    if (current !== undefined) ledger.reporting(current.assignment.runId);
    tellMetadata();
    tell(message);
  }

  function begin(message: Extract<ToProcess, { readonly kind: "start" }>): void {
    ({ facts, isRepeated } = message);
    let lease: Uint8Array | undefined = message.lease;
    let onResume: OnResume | undefined;
    const assignment = fromBinary(AssignmentSchema, message.assignment);
    const input: AttemptInput = {
      assignment,
      attempt: message.attempt,
      activeBeforeMs: message.activeBeforeMs,
      rejoinAttempt: message.rejoinAttempt,
      lease: () => lease,
      tagsChanged: (tags) => tell({ kind: "tags", tags }),
      wait(waitingFor, resume) {
        onResume = resume;
        report({ kind: "waiting", waitingFor: toBinary(WaitingForSchema, waitingFor) });
      },
      onOutcome(outcome) {
        lease = undefined;
        report({ kind: "outcome", outcome: packOutcome(outcome), metadataJson: metadataJson() });
      },
      onEnded() {
        lease = undefined;
        current = undefined;
        tell({ kind: "ended" });
      },
    };
    current = {
      assignment,
      attempt: start(input).attempt,
      resume(newLease, outcome) {
        const goOn = onResume;
        onResume = undefined;
        lease = newLease;
        goOn?.(outcome === undefined ? undefined : fromBinary(WaitOutcomeSchema, outcome));
      },
    };
  }

  process.on("message", (envelope) => {
    if (!isFromWorker(envelope)) return;
    const message = envelope.hairtrigger;
    switch (message.kind) {
      case "start":
        begin(message);
        return;
      case "settled":
        ledger.settled({ ...message, refusal: unpackRefusal(message.refusal) });
        return;
      case "abort":
        if (current !== undefined) ledger.drop(current.assignment.runId);
        current?.attempt.abort(errorNamed(message.name, message.message));
        return;
      case "cancel":
        if (current !== undefined) ledger.drop(current.assignment.runId);
        current?.attempt.cancel(message.reason);
        return;
      case "resume":
        current?.resume?.(message.lease, message.outcome);
    }
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => undefined);
  takeRunErrors(params.log);
  endWithWorker(params.workerPid);
  tell({ kind: "ready" });
  return new Promise<never>(() => undefined);
}

/** Before the first attempt. */
const NO_FACTS: SessionFacts = {
  sessionId: "",
  environment: "",
  outputBytesMax: 0,
  inlineBytesMax: 0,
  metadataBytesMax: 0,
  cancelGraceMs: 0,
};
/** Of changes in one message. */
const METADATA_BYTES = 1_024 * 1_024;

/** The payload of an earlier attempt may be in another process, and its URL has become too old (PAY-3). */
function withFreshUrls(large: LargeValues, isOld: () => boolean): LargeValues {
  return {
    async fetch(assignment, payload, signal) {
      if (isOld()) assignment.payloadPresignedUrl = await freshUrl(assignment);
      return large.fetch(assignment, payload, signal);
    },
    store: (lease, output) => large.store(lease, output),
  };
}

/** The one there is, if none is to be had: then the fetch says what is wrong. */
async function freshUrl({ runId, payloadPresignedUrl }: Assignment): Promise<string> {
  try {
    const retrieved = call(
      undefined,
      () => ({ runId }),
      ({ runs }, request, options) => runs.retrieveRun(request, options),
    );
    return (await retrieved).run?.payloadPresignedUrl ?? payloadPresignedUrl;
  } catch {
    return payloadPresignedUrl;
  }
}

function tell(message: FromProcess): void {
  // Without a channel the process is about to end.
  if (process.connected) process.send?.({ hairtrigger: message }, undefined, undefined, () => undefined);
}

function errorNamed(name: string, message: string): Error {
  const error = new Error(message);
  error.name = name;
  return error;
}
