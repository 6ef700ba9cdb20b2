/**
 * A lease is a worker's right to a run, opaque to the worker: which run, and the fence under which it was given (RUN-8). It is no
 * secret; the fence is compared with the record on every report, and the environment of the caller with that of the run.
 */
import { decodeId, encodeId } from "./ids.js";

export interface Lease {
  readonly runId: string;
  readonly fence: number;
}

/** 16 bytes of the run id, then the fence as an unsigned 32-bit big-endian number. */
const LEASE_BYTES = 20;

export function encodeLease(lease: Lease): Uint8Array {
  const id = decodeId("run", lease.runId);
  if (id === undefined) throw new TypeError(`not a run id: ${lease.runId}`);
  const bytes = new Uint8Array(LEASE_BYTES);
  bytes.set(id, 0);
  new DataView(bytes.buffer).setUint32(16, lease.fence);
  return bytes;
}

/** The lease, or undefined for bytes that no server of ours made. */
export function decodeLease(bytes: Uint8Array): Lease | undefined {
  if (bytes.length !== LEASE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { runId: encodeId("run", bytes.subarray(0, 16)), fence: view.getUint32(16) };
}
