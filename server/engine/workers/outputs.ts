/**
 * Large outputs. A worker asks for an object, puts the bytes there, and reports a reference; nothing that it says about the object is
 * believed without a look: whose it is, what is in it, that it is there. An output above the inline limit that came with its report is
 * put there by the server (PAY-3).
 */
import { appError, isAppError, staleLease } from "../../domain/error.js";
import { engineFailure, type Failure } from "../../domain/failure.js";
import type { Lease } from "../../domain/lease.js";
import { OBJECT_RANDOM_BYTES, objectKey, referenceMistake } from "../../domain/payload-object.js";
import type { NewObject } from "../../payloads/payloads.js";
import type { EngineDeps, LargeOutput, Report, UploadRequest } from "../engine.js";
import { withTries } from "../payload-tries.js";
import { written } from "../producers/offload.js";

/** Other reports of the worker wait behind this one, so it is given up sooner than a trigger; the attempt is retried. */
const PAUSES_MS = [500] as const;
/** Pause before the next attempt of a run whose output could not be kept. */
const RETRY_MS = 5_000;

type Completed = Extract<Report, { readonly kind: "completed" }>;

export function createUploads({ store, entropy, limits }: EngineDeps) {
  return async (environment: string, lease: Lease, upload: UploadRequest): Promise<NewObject> => {
    const { sizeBytes, sha256, contentType } = upload;
    const [run] = await store.readRuns([{ environment, runId: lease.runId }]);
    if (run?.status !== "EXECUTING" || run.fence !== lease.fence) throw staleLease(lease.runId);
    if (sizeBytes > limits.outputBytesMax) {
      const metadata = { got: String(sizeBytes), allowed: String(limits.outputBytesMax) };
      const message = `Output of ${sizeBytes} bytes exceeds the limit of ${limits.outputBytesMax} bytes`;
      throw appError("PAYLOAD_TOO_LARGE", message, { metadata });
    }
    const name = { environment, runId: run.id, kind: "output", sha256 } as const;
    return { key: objectKey(name, entropy.bytes(OBJECT_RANDOM_BYTES)), sizeBytes, sha256, contentType };
  };
}

/** The reports with their large outputs in the payload store; where that is not so, and cannot be made so, a failure instead. */
export async function settleOutputs(
  deps: EngineDeps,
  environment: string,
  reports: readonly Report[],
): Promise<readonly Report[]> {
  if (!reports.some((report) => report.kind === "completed" && report.large !== undefined)) return reports;
  return Promise.all(
    reports.map(async (report) => {
      if (report.kind !== "completed" || report.large === undefined) return report;
      return settleOutput(deps, environment, report, report.large);
    }),
  );
}

async function settleOutput(
  deps: EngineDeps,
  environment: string,
  report: Completed,
  large: LargeOutput,
): Promise<Report> {
  try {
    if (large.kind === "data") return await stored(deps, environment, report, large);
    const failure = await uploadFailure(deps, environment, report.lease, large);
    return failure === undefined ? report : { kind: "failed", lease: report.lease, failure, retryDelayMs: undefined };
  } catch (error) {
    if (!isAppError(error) || error.reason !== "PAYLOAD_STORE_UNAVAILABLE") throw error;
    const failure = engineFailure(
      "PAYLOAD_STORE_UNAVAILABLE",
      "The output could not be kept: the payload store cannot be reached",
    );
    return { kind: "failed", lease: report.lease, failure, retryDelayMs: RETRY_MS };
  }
}

async function stored(
  deps: EngineDeps,
  environment: string,
  report: Completed,
  { data, contentType }: Extract<LargeOutput, { readonly kind: "data" }>,
): Promise<Report> {
  const run = { environment, id: report.lease.runId };
  const reference = await written(deps, { run, kind: "output", data, contentType }, PAUSES_MS);
  const output = deps.specs.outputWithReference(report.output ?? new Uint8Array(), reference);
  return { ...report, output, large: { kind: "uploaded", reference } };
}

/** PAY-7, and what else an upload is not. Undefined: it is what was reported. */
async function uploadFailure(
  deps: EngineDeps,
  environment: string,
  { runId }: Lease,
  { reference }: Extract<LargeOutput, { readonly kind: "uploaded" }>,
): Promise<Failure | undefined> {
  const { payloads, limits } = deps;
  const refuse = (message: string): Failure => engineFailure("TASK_OUTPUT_ERROR", message);
  const mistake = referenceMistake(reference, { environment, runId, driver: payloads.driver });
  if (mistake !== undefined) return refuse(mistake);
  if (reference.sizeBytes > limits.outputBytesMax) {
    return refuse(`Output of ${reference.sizeBytes} bytes exceeds the limit of ${limits.outputBytesMax} bytes`);
  }
  const sizeBytes = await withTries(deps, () => payloads.sizeOf(reference.key), PAUSES_MS);
  if (sizeBytes === undefined) return refuse("The output was reported before it was uploaded");
  if (sizeBytes !== reference.sizeBytes) {
    return refuse(`The output was reported with ${reference.sizeBytes} bytes, and uploaded with ${sizeBytes}`);
  }
  return undefined;
}
