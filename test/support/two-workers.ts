/** A program with two workers, one after the other, each with an isolated task. */
import { task } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const isolation = "process";
const run = (): number => process.pid;

await startWorker({ tasks: [task({ id: "first", isolation, run })] });
await startWorker({ tasks: [task({ id: "second", isolation, run })] });
