/** Agenda alone: with nothing that is told in memory, what time brings about is brought about by its jobs. */
import { fromJsonString } from "@bufbuild/protobuf";
import type { ExecutionContext } from "ava";
import { MongoClient } from "mongodb";
import { TriggerTaskRequestSchema } from "#proto/hairtrigger/v1/run_service_pb.js";
import { DUTIES } from "../../scheduler/duties.js";
import { type JsonObject, startApi, type TestApi } from "../support/api.js";
import type { TestAppOptions } from "../support/harness.js";
import { mongoTest, takeDatabase } from "../support/mongo.js";

const RETRY_MS = 31_000;
/** Below the 12 s after which a silent worker is given nothing (RUN-6). */
const HEARTBEAT_MS = 5_000;
const PATIENCE_MS = 60_000;

function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function triggered(api: TestApi, taskId: string, options: JsonObject = {}): Promise<string> {
  const request = JSON.stringify({ taskId, options });
  return (await api.runs.triggerTask(fromJsonString(TriggerTaskRequestSchema, request))).runId;
}

async function until(isSo: () => Promise<boolean>, meanwhile?: () => Promise<unknown>): Promise<void> {
  const startedMs = performance.now();
  let beatMs = startedMs;
  while (!(await isSo())) {
    if (performance.now() - startedMs > PATIENCE_MS) throw new Error(`not so within ${PATIENCE_MS / 1_000} s`);
    if (performance.now() - beatMs >= HEARTBEAT_MS) {
      await meanwhile?.();
      beatMs = performance.now();
    }
    await pass(50);
  }
}

async function startAlone(t: ExecutionContext, options: TestAppOptions = {}) {
  const mongoUrl = await takeDatabase(t);
  const api = await startApi(t, { mongoUrl, isRealTime: true, areNudgesEnabled: false, ...options });
  return { api, mongoUrl };
}

export function registerAgendaAlone(): void {
  mongoTest(
    "DLY-11, TTL-10: without nudges a delay and a ttl of 1 s and a retry after 31 s are carried out by Agenda, with one document per duty",
    async (t) => {
      t.timeout(180_000);
      const { api, mongoUrl } = await startAlone(t);
      const worker = await api.worker({ tasks: ["late", "again"] });
      const askedMs = performance.now();
      const expiring = await triggered(api, "nobody-serves-this", { ttl: "1s" });
      const delayed = await triggered(api, "late", { delay: "1s" });
      const late = await worker.assigned();
      t.is(late.runId, delayed);
      t.true(performance.now() - askedMs >= 990);
      await worker.completed(late.lease, { data: { case: "json", value: "1" } });
      await until(
        async () => (await api.status(expiring)) === "EXPIRED",
        () => worker.heartbeat(),
      );
      t.true(performance.now() - askedMs >= 990);

      const retried = await triggered(api, "again", { maxAttempts: 2 });
      const first = await worker.assigned();
      const failedMs = performance.now();
      await worker.failed(first.lease, {}, RETRY_MS);
      await until(
        async () => worker.assignments.size > 0,
        () => worker.heartbeat(),
      );
      const second = await worker.assigned();
      t.is(second.runId, retried);
      t.is(second.attempt, 2);
      t.true(performance.now() - failedMs >= RETRY_MS - 10);
      t.log(`a retry after ${RETRY_MS} ms began after ${Math.round(performance.now() - failedMs)} ms`);

      const client = new MongoClient(mongoUrl);
      const jobs = await client.db().collection("agendaJobs").find().toArray();
      await client.close();
      t.deepEqual(jobs.map(({ name }) => String(name)).toSorted(), DUTIES.map(({ name }) => name).toSorted());
    },
  );

  mongoTest(
    "design 13: without nudges and without duties a due run waits, and any server that does them finds it",
    async (t) => {
      t.timeout(90_000);
      const { api, mongoUrl } = await startAlone(t, { areDutiesEnabled: false });
      const runId = await triggered(api, "late", { delay: "1s" });
      await pass(3_000);
      t.is(await api.status(runId), "DELAYED");
      await startApi(t, { mongoUrl, isRealTime: true, areNudgesEnabled: false });
      await until(async () => (await api.status(runId)) === "QUEUED");
    },
  );
}
