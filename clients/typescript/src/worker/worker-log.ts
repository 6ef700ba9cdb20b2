/** What the worker itself says, on the console: about connections, blocked event loops, stray errors. Not the lines of runs. */
export interface WorkerLog {
  info(message: string): void;
  warn(message: string): void;
  error(message: string, cause?: unknown): void;
}

export const consoleLog: WorkerLog = {
  info: (message) => console.info(`hairtrigger worker: ${message}`),
  warn: (message) => console.warn(`hairtrigger worker: ${message}`),
  error: (message, cause) => {
    if (cause === undefined) console.error(`hairtrigger worker: ${message}`);
    else console.error(`hairtrigger worker: ${message}`, cause);
  },
};
