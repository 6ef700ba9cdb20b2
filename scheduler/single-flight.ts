/**
 * Runs `body`, never twice at once. A call during a run asks for one more run after it, because what the caller saw may have come too late
 * for the present one; however many ask, it is one.
 */
export interface SingleFlight<T> {
  /** Resolves with the last run that this call waited for. `body` must not reject. */
  run(): Promise<T>;
  /** Resolves when nothing runs. */
  idle(): Promise<void>;
}

export function singleFlight<T>(body: () => Promise<T>): SingleFlight<T> {
  let current: Promise<T> | undefined;
  let isWantedAgain = false;
  const flight = async (): Promise<T> => {
    for (;;) {
      isWantedAgain = false;
      const result = await body();
      if (!isWantedAgain) {
        current = undefined;
        return result;
      }
    }
  };
  return {
    run() {
      if (current !== undefined) isWantedAgain = true;
      else current = flight();
      return current;
    },
    async idle() {
      await current;
    },
  };
}
