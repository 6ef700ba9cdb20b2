/**
 * Signals are hints that make the system fast; the record is the truth. Losing one delays and never corrupts (promise 5). `publish` may
 * be called only after the commit it speaks about.
 */
export type Signal =
  /** Runs of this environment may be claimable: of one task, or (undefined) of any. */
  | { readonly kind: "claimable"; readonly environment: string; readonly taskId: string | undefined }
  /** A run has changed; `version` tells watchers whether they know it already. */
  | {
      readonly kind: "changed";
      readonly environment: string;
      readonly runId: string;
      readonly version: number;
      /** What watchers of many runs look for; absent where the run has none. */
      readonly tags?: readonly string[];
      readonly batchId?: string;
    }
  /** The code of a run is to be stopped at the worker that held it under `fence`. */
  | {
      readonly kind: "cancel";
      readonly environment: string;
      readonly sessionId: string;
      readonly runId: string;
      readonly fence: number;
      readonly reason: string;
    }
  /** The record took the run away from a worker (timed out, lost): what it holds under `fence` is worth nothing. */
  | {
      readonly kind: "lost";
      readonly environment: string;
      readonly sessionId: string;
      readonly runId: string;
      readonly fence: number;
    }
  /** The session was taken over by a newer connection; older ones end. */
  | {
      readonly kind: "superseded";
      readonly environment: string;
      readonly sessionId: string;
      readonly connectionEpoch: number;
    }
  /** A secret key was revoked: what is remembered of it is worth nothing. */
  | { readonly kind: "keyRevoked"; readonly environment: string; readonly keyName: string };

export interface Signals {
  publish(signals: readonly Signal[]): void;
  /** Calls `listener` with everything published from now on, until the returned function is called. Listeners must not throw. */
  subscribe(listener: (signal: Signal) => void): () => void;
}

/** Takes hints that another server of the store sends over the port. */
export interface HintReceiver {
  /** @returns false where the message is not from a server of this store, or not fresh. */
  receive(body: Uint8Array, signature: string | undefined): boolean;
}
