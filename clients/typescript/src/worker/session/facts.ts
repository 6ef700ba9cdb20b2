/** What the server told with its welcome. */
export interface SessionFacts {
  readonly sessionId: string;
  /** Slug. */
  readonly environment: string;
  readonly outputBytesMax: number;
  readonly metadataBytesMax: number;
  /** Above this an output is uploaded. */
  readonly inlineBytesMax: number;
  /** How long code may go on after its run is over (CAN-3). */
  readonly cancelGraceMs: number;
}
