import type { Signal, Signals } from "./signals.js";

/** Signals inside one process, delivered in a microtask so that no publisher runs a listener's code. */
export function localSignals(): Signals {
  const listeners = new Set<(signal: Signal) => void>();
  let pending: Signal[] = [];
  const deliver = (): void => {
    const signals = pending;
    pending = [];
    for (const signal of signals) for (const listener of listeners) listener(signal);
  };
  return {
    publish(signals) {
      if (signals.length === 0) return;
      if (pending.length === 0) queueMicrotask(deliver);
      pending.push(...signals);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
