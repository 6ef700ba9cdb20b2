/** A run in every status that can be reached without waits. */
import { type StatusName, type TestApi } from "../../support/api.js";

const SECOND = 1_000;

export async function oneOfEach(api: TestApi): Promise<readonly (readonly [StatusName, string])[]> {
  const worker = await api.worker({ tasks: ["each"], credit: 20 });
  const begun = async (): Promise<{ readonly runId: string; readonly lease: Uint8Array }> => {
    await api.triggered("each");
    return worker.begin();
  };
  const expired = await api.triggered("unserved", { ttl: "1s" });
  await api.advance(2 * SECOND);
  const [executing, completed, cancelled, failed, crashed, broken, timedOut] = [
    await begun(),
    await begun(),
    await begun(),
    await begun(),
    await begun(),
    await begun(),
    await begun(),
  ];
  await worker.completed(completed.lease, { data: { case: "json", value: "1" } });
  await api.runs.cancelRun({ runId: cancelled.runId });
  await worker.failed(failed.lease);
  await worker.failed(crashed.lease, { code: "HANDLE_ERROR_ERROR" });
  await worker.failed(broken.lease, { code: "TASK_DID_CONCURRENT_WAIT" });
  await worker.timedOut(timedOut.lease);
  return [
    ["DELAYED", await api.triggered("unserved", { delay: "1d" })],
    ["QUEUED", await api.triggered("unserved")],
    ["EXECUTING", executing.runId],
    ["COMPLETED", completed.runId],
    ["CANCELED", cancelled.runId],
    ["FAILED", failed.runId],
    ["CRASHED", crashed.runId],
    ["SYSTEM_FAILURE", broken.runId],
    ["TIMED_OUT", timedOut.runId],
    ["EXPIRED", expired],
  ];
}
