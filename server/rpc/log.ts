/** What serving tells telemetry; a port, so that nothing here knows a logger. Implementations must not throw. */

/** One call that has ended, however it ended. */
export interface CallRecord {
  readonly requestId: string;
  /** `/hairtrigger.v1.RunService/TriggerTask` */
  readonly method: string;
  readonly protocol: Protocol;
  /** Canonical gRPC name, `OK` included. */
  readonly code: string;
  readonly durationMs: number;
}

export type Protocol = "grpc" | "grpc-web" | "connect";

/** A mistake of ours: the caller gets INTERNAL and the request id, the log gets everything. */
export interface Fault {
  readonly requestId: string;
  readonly method: string;
  readonly error: unknown;
}

export interface RpcLog {
  /** Callers' mistakes come here, with their code, and nowhere else. */
  callEnded(call: CallRecord): void;
  fault(fault: Fault): void;
}
