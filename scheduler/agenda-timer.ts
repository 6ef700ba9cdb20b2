/**
 * Agenda watches every run of a job by a timer of half its lock's life, which it neither cancels nor gives away: after the last run it keeps
 * the process alive for 10 s. It is set in the same turn as the run's first save, so whoever saves can tell it by its delay. Rejected: a
 * thread of its own for Agenda (30 MB and a second connection), and a processor of our own instead of Agenda's.
 */

/** The next timer of exactly `delayMs` that is set in this turn of the event loop does not keep the process alive. */
export function unrefTimerOfThisTurn(delayMs: number): void {
  const original = globalThis.setTimeout;
  const watching = new Proxy(original, {
    apply(target, self: unknown, [callback, ms, ...rest]: Parameters<typeof original>) {
      const timer = target.call(self, callback, ms, ...rest);
      if (ms === delayMs) {
        restore();
        timer.unref();
      }
      return timer;
    },
  });
  function restore(): void {
    if (globalThis.setTimeout === watching) globalThis.setTimeout = original;
  }
  globalThis.setTimeout = watching;
  queueMicrotask(restore);
}
