/** A seeded world: one engine on a store in memory, a clock that the history moves, randomness that a number repeats. */
import { defaultLimits } from "../../server/domain/limits.js";
import { createEngine } from "../../server/engine/create-engine.js";
import type { Engine, TriggerItem } from "../../server/engine/engine.js";
import type { Entropy } from "../../server/engine/entropy.js";
import { createEvents } from "../../server/engine/events.js";
import { createMemoryPayloads } from "../../server/payloads/memory.js";
import { localSignals } from "../../server/signals/local.js";
import { createEmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import type { Store } from "../../server/store/store.js";
import { FakeClock } from "../support/clock.js";

export interface World {
  readonly engine: Engine;
  readonly store: Store;
  readonly clock: FakeClock;
  /** Uniform in [0, 1), from the seed. */
  readonly random: () => number;
  readonly chance: (probability: number) => boolean;
  readonly pick: <Item>(items: readonly Item[]) => Item | undefined;
}

/** mulberry32: 32 bits of state, good enough to choose what happens next, and the same everywhere. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export async function createWorld(seed: number): Promise<World> {
  const random = generator(seed);
  const clock = new FakeClock();
  const entropy: Entropy = {
    bytes: (length) => Uint8Array.from({ length }, () => Math.floor(random() * 256)),
    uniform: random,
  };
  const store = createEmbeddedStore({ directory: ":memory:" });
  await store.start();
  const engine = createEngine({
    store,
    clock,
    entropy,
    signals: localSignals(),
    events: createEvents(),
    limits: defaultLimits,
    payloads: createMemoryPayloads(() => clock.nowMs()),
    specs: {
      referenceOf: () => undefined,
      withReference: (spec) => spec,
      outputWithReference: (output) => output,
      replayOf: () => {
        throw new Error("no history of a simulation replays");
      },
    },
    // Every duty is called by the history itself: a dead scheduler delays and never corrupts.
    nudge: () => undefined,
  });
  return {
    engine,
    store,
    clock,
    random,
    chance: (probability) => random() < probability,
    pick: (items) => items[Math.floor(random() * items.length)],
  };
}

export function triggerItem(taskId: string, options: TriggerItem["options"], requestId?: string): TriggerItem {
  return {
    taskId,
    options,
    requestId,
    spec: new Uint8Array(),
    payload: {},
    parentRunId: undefined,
    isTest: false,
    triggerFunction: "trigger",
  };
}
