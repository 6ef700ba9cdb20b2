/** `hairtrigger dev <files…>`: server, worker and reload in one terminal. */
import { access } from "node:fs/promises";
import { relative } from "node:path";
import { type Config, ConfigError, readConfig } from "../../server/config.js";
import { startFailure, startServer } from "../../server/main.js";
import { DevWorkers } from "./dev-workers.js";
import { devEnvironment, workerEnvironment } from "./environment.js";
import { CommandError, EXIT, usageError } from "./exit-codes.js";
import { paint, print } from "./output.js";
import { createRunLines } from "./run-lines.js";
import { watchTasks } from "./task-watch.js";

/** @returns the exit code, after a signal. */
export async function dev(files: readonly string[]): Promise<number> {
  for (const file of files) {
    await access(file).catch(() => {
      throw usageError(`${file} does not exist`);
    });
  }
  const signalled = firstSignal();
  const app = await start();
  const lines = createRunLines(Date.now);
  app.events.on("run.triggered", (run) => lines.triggered(run));
  app.events.on("run.moved", (move) => lines.moved(move));
  sayHowToCall(app);

  const connection = { baseURL: app.url, accessToken: app.secretKey };
  const workers = new DevWorkers({ files, environment: workerEnvironment(connection) });
  const watch = await watchTasks(files, (path) => {
    print(`${paint("cyan", "↻")} ${path} changed`);
    workers.reload();
  });
  workers.reload();

  await signalled;
  print("stopping");
  await watch.stop();
  await workers.stop();
  await app.stop();
  return EXIT.ok;
}

type DevApp = Awaited<ReturnType<typeof startServer>>;

async function start(): Promise<DevApp> {
  const config = settings();
  try {
    return await startServer(config);
  } catch (error) {
    throw new CommandError(startFailure(error, config), EXIT.failed);
  }
}

function settings(): Config {
  try {
    return readConfig(devEnvironment());
  } catch (error) {
    throw error instanceof ConfigError ? usageError(`the settings have mistakes\n${error.message}`) : error;
  }
}

function sayHowToCall(app: DevApp): void {
  if (app.secretKeyPath !== undefined) {
    print(`callers need it: export TRIGGER_SECRET_KEY=$(cat ${relative(process.cwd(), app.secretKeyPath)})`);
  }
  if (!app.url.endsWith(":7470")) print(`and the address: export TRIGGER_API_URL=${app.url}`);
}

/** The first signal; a second one ends the process at once. */
function firstSignal(): Promise<void> {
  return new Promise((resolve) => {
    let isFirst = true;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (!isFirst) process.exit(EXIT.cutOff);
        isFirst = false;
        resolve();
      });
    }
  });
}
