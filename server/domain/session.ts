/** A session is one worker process; leases belong to it, and one heartbeat keeps them all (design 8). It survives reconnects. */
export interface SessionRecord {
  readonly environment: string;
  /** `session_` + 26 characters, chosen by the worker. */
  readonly id: string;
  /** What the worker calls itself, for people: host, process id. */
  readonly workerName: string;
  /** SDK name and version, as the worker gave them. */
  readonly sdk: string;
  /** Rises with each connection; an older connection is ended (design 8). */
  readonly connectionEpoch: number;
  readonly taskIds: readonly string[];
  /** Places of the worker. */
  readonly concurrency: number;
  readonly connectedAtMs: number;
  /** Unix ms; past it the session has lapsed (RUN-6). */
  readonly untilMs: number;
}
