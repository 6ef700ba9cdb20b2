import { hash } from "node:crypto";
import type { Limits } from "../../domain/limits.js";
import type { RequestMark } from "../../store/store.js";

/** The mark of a request that may be repeated (REQ-1); undefined without a request id. */
export function requestMark(
  request: {
    readonly environment: string;
    /** Verbs that share their memory of requests. */
    readonly family: string;
    readonly requestId: string | undefined;
    readonly nowMs: number;
  },
  limits: Pick<Limits, "requestMemoryMs">,
): RequestMark | undefined {
  const { environment, family, requestId, nowMs } = request;
  if (requestId === undefined) return undefined;
  const name = hash("sha256", JSON.stringify([environment, family, requestId]), "hex");
  return { hash: name, expiresAtMs: nowMs + limits.requestMemoryMs };
}
