/**
 * Payloads and outputs above the inline limit (PAY-3): fetched before an attempt begins, and put into the payload store before an output is
 * reported, by URLs of the server. Task code never notices.
 */
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { callError } from "../../convert/error.js";
import { ApiError } from "../../errors.js";
import { type Payload, PayloadForm, PayloadSchema } from "../../gen/hairtrigger/v1/payload_pb.js";
import type { Assignment } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import { WorkerService } from "../../gen/hairtrigger/worker/v1/worker_service_pb.js";
import { type FetchOptions, fetchData, RefusedUrlError, requireOk, withTries } from "../../large-data.js";
import { callHeaders, connectionTo } from "../../transport.js";
import type { WorkerClock } from "../clock.js";
import { AttemptError } from "./attempt-failure.js";

export interface LargeValues {
  /** The payload with its data. @throws AttemptError PAYLOAD_STORE_UNAVAILABLE */
  fetch(assignment: Assignment, payload: Payload, signal: AbortSignal): Promise<Payload>;
  /** What to report in the place of an output. @throws AttemptError PAYLOAD_STORE_UNAVAILABLE, TASK_OUTPUT_ERROR */
  store(lease: Uint8Array, output: Payload): Promise<Payload>;
}

/** PAY-3: five tries. */
const PAUSES_MS = [500, 1_000, 2_000, 4_000] as const;

export interface LargeValuesParams {
  readonly baseURL: string;
  readonly accessToken: string;
  readonly clock: WorkerClock;
}

export function largeValues({ baseURL, accessToken, clock }: LargeValuesParams): LargeValues {
  /** The URL of an assignment is soon too old for another attempt here; its data lives as long as the assignment. */
  const fetched = new WeakMap<Assignment, Payload>();
  const options: FetchOptions = {
    pausesMs: PAUSES_MS,
    sleep: (delayMs) => new Promise((resolve) => void clock.setTimer(delayMs, resolve)),
  };
  let client: Client<typeof WorkerService> | undefined;

  async function upload(lease: Uint8Array, output: Payload): Promise<Payload> {
    const { bytes, form, contentType } = objectOf(output);
    const sha256 = createHash("sha256").update(bytes).digest();
    client ??= createClient(WorkerService, connectionTo(baseURL).transport);
    const request = { lease, sizeBytes: BigInt(bytes.length), sha256, contentType };
    const { url, headers, reference } = await client.createUploadUrl(request, { headers: callHeaders(accessToken) });
    await requireOk(await fetch(url, { method: "PUT", headers, body: bytes }));
    if (reference === undefined) throw new Error("The server gave no reference");
    return create(PayloadSchema, { ...output, data: { case: "reference", value: { ...reference, form } } });
  }

  return {
    async fetch(assignment, payload, signal) {
      const known = fetched.get(assignment);
      if (known !== undefined) return known;
      try {
        const data = await fetchData(payload, assignment.payloadPresignedUrl, { ...options, signal });
        fetched.set(assignment, data);
        return data;
      } catch (error) {
        throw new AttemptError("PAYLOAD_STORE_UNAVAILABLE", textOf(error), { cause: error });
      }
    },
    async store(lease, output) {
      let refusal: AttemptError | undefined;
      try {
        return await withTries(async () => {
          try {
            return await upload(lease, output);
          } catch (error) {
            const refused = callError(error, baseURL);
            const isTooLarge = refused instanceof ApiError && refused.reason === "PAYLOAD_TOO_LARGE";
            if (isTooLarge) refusal = new AttemptError("TASK_OUTPUT_ERROR", refused.message, { cause: refused });
            const isFinal =
              refused instanceof ApiError && refused.reason !== undefined && refused.code !== "unavailable";
            throw isFinal ? new RefusedUrlError(refused.message, { cause: refused }) : error;
          }
        }, options);
      } catch (error) {
        if (refusal !== undefined) throw refusal;
        throw new AttemptError("PAYLOAD_STORE_UNAVAILABLE", `The output cannot be kept: ${textOf(error)}`, {
          cause: error,
        });
      }
    },
  };
}

interface ObjectData {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly form: PayloadForm;
  readonly contentType: string;
}

function objectOf({ data, jsonTypes }: Payload): ObjectData {
  if (data.case !== "json") throw new TypeError("an output of a worker is JSON");
  const text: unknown = data.value.startsWith('"') && jsonTypes === "" ? JSON.parse(data.value) : undefined;
  // UTF-8 has no half of a surrogate pair, which JSON can say.
  if (typeof text === "string" && !/\p{Surrogate}/u.test(text)) {
    return { bytes: Buffer.from(text), form: PayloadForm.TEXT, contentType: "text/plain; charset=utf-8" };
  }
  return { bytes: Buffer.from(data.value), form: PayloadForm.JSON, contentType: "application/json" };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
