/** Secret keys on the server's host, without a server: its store is opened for them alone (AUT-9). */
import { createKeys, type Keys } from "./auth/keys.js";
import { createKeyRing } from "./auth/secret-keys.js";
import type { Config } from "./config.js";
import { systemClock } from "./engine/clock.js";
import { systemEntropy } from "./engine/entropy.js";
import { createEmbeddedStore } from "./store/embedded/embedded-store.js";
import type { Store } from "./store/store.js";

/**
 * Does something with the keys of the store that these settings name. With a database servers may run meanwhile: they look there every
 * few seconds. A directory belongs to one process at a time.
 * @throws Error saying who has the directory.
 */
export async function withHostKeys<T>(config: Config, work: (keys: Keys) => Promise<T>): Promise<T> {
  const clock = systemClock();
  const entropy = systemEntropy();
  const store = await storeOf(config);
  try {
    await store.start();
    const keys = createKeys({
      store,
      fixed: createKeyRing(config.secretKeys),
      acceptsFirstStart: config.secretKeys.length === 0,
      clock,
      randomBytes: (length) => entropy.bytes(length),
      onRevoked: () => undefined,
    });
    return await work(keys);
  } finally {
    await store.stop();
  }
}

async function storeOf({ mongoUrl, storeDirectory }: Config): Promise<Store> {
  if (mongoUrl === undefined) return createEmbeddedStore({ directory: storeDirectory });
  const { createMongoStore } = await import("./store/mongo/mongo-store.js");
  return createMongoStore({ url: mongoUrl, clock: systemClock(), entropy: systemEntropy() });
}
