/**
 * The `orphans` duty: objects of the payload store that no run names. They come from crashes between an object and its run, from
 * uploads that no report followed, and from purges during which the payload store was away. The store of payloads is walked page by
 * page and round after round; only what is older than a day is touched, which is longer than any write or upload is under way.
 */
import { isAppError } from "../../domain/error.js";
import type { EngineDeps } from "../engine.js";

const AGE_MS = 86_400_000;

export function createOrphans({ store, payloads, clock, events }: EngineDeps) {
  let after: string | undefined;

  async function pass(limit: number): Promise<number> {
    const beforeMs = clock.nowMs() - AGE_MS;
    const page = await payloads.list({ after, limit });
    const old = page.objects.filter(({ writtenAtMs }) => writtenAtMs < beforeMs).map(({ key }) => key);
    const unnamed = old.length === 0 ? [] : await store.findUnnamedObjects(old);
    if (unnamed.length > 0) await payloads.remove(unnamed);
    after = page.next;
    if (page.next === undefined) await payloads.removeRemains(beforeMs, limit);
    // The end of a round is the end of the pass; a full page says that there are others.
    return page.next === undefined ? 0 : page.objects.length;
  }

  return async (limit: number): Promise<number> => {
    try {
      return await pass(limit);
    } catch (error) {
      // What is swept a minute later is swept soon enough; a store of records that is away is told of by everybody else.
      if (isAppError(error)) throw error;
      events.emit("payloads.unavailable", { driver: payloads.driver, error });
      return 0;
    }
  };
}
