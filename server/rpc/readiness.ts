/** Whether this server should be given work: it accepts calls and its store can write. Asked by /readyz and by the health service. */
export interface Readiness {
  check(): Promise<ReadinessResult>;
}

export interface ReadinessResult {
  readonly ok: boolean;
  /** Why not, for operators. */
  readonly error?: string;
}

export interface ReadinessSwitch extends Readiness {
  setAccepting(isAccepting: boolean): void;
}

export function createReadiness(checkWritable: () => Promise<ReadinessResult>): ReadinessSwitch {
  let isAccepting = false;
  return {
    setAccepting(accepting) {
      isAccepting = accepting;
    },
    async check() {
      return isAccepting ? checkWritable() : { ok: false, error: "the server is starting or stopping" };
    },
  };
}
