/** Where and as whom to call: settings by precedence (CFG-3). The only file that reads the environment. */
import { platform } from "#platform";
import { ApiClientMissingError } from "./errors.js";
import type { Scope } from "./platform.js";
import type { ClientConfig, RequestOptions } from "./request-options.js";

/** Settings for every call of this process (CFG-1). */
export interface Configuration extends ClientConfig {
  /** Defaults of every call's `requestOptions`. */
  readonly requestOptions?: Omit<RequestOptions, "clientConfig">;
}

/** The settings in force for one call. */
export interface CallSettings {
  readonly accessToken: string;
  readonly baseURL: string;
  readonly options: Omit<RequestOptions, "clientConfig">;
}

let configuration: Configuration = {};
const scope: Scope<Configuration> = platform.createScope<Configuration>();

/**
 * Sets credentials and address for this process; a later call replaces them whole. Makes no request.
 *
 * ```ts
 * configure({ accessToken: process.env.MY_KEY, baseURL: "https://tasks.example.com" });
 * ```
 */
export function configure(options: Configuration): void {
  configuration = { ...options };
}

/**
 * Runs `fn` under these credentials, for its whole asynchronous call tree; parallel calls never see each other's. Wins over `configure`,
 * loses to `requestOptions.clientConfig` (CFG-3).
 * @throws Error in browsers, which cannot tell asynchronous call trees apart.
 */
export function withAuth<R>(config: Configuration, fn: () => R): R {
  // An inner scope that gives only a key keeps the outer one's address.
  return scope.run({ ...scope.get(), ...withoutUndefined(config) }, fn);
}

function withoutUndefined(config: Configuration): Configuration {
  const accessToken = config.accessToken ?? config.secretKey;
  return {
    ...(accessToken === undefined ? {} : { accessToken }),
    ...(config.baseURL === undefined ? {} : { baseURL: config.baseURL }),
    ...(config.requestOptions === undefined ? {} : { requestOptions: config.requestOptions }),
  };
}

/**
 * The settings in force for a call made here and now.
 * @throws ApiClientMissingError without credentials (CFG-4).
 */
export function callSettings(requestOptions?: RequestOptions): CallSettings {
  const scoped = scope.get();
  const layers: readonly (ClientConfig | undefined)[] = [requestOptions?.clientConfig, scoped, configuration];
  const read = (member: (layer: ClientConfig) => string | undefined): string | undefined =>
    // Looked at last, and only if it has to be: reading a variable costs as much as a small call's encoding.
    first(layers, member) ?? first([environment()], member);
  const accessToken = read((layer) => layer.accessToken ?? layer.secretKey);
  if (accessToken === undefined) throw new ApiClientMissingError();
  const baseURL = read((layer) => layer.baseURL) ?? platform.defaultBaseURL();
  return {
    accessToken,
    baseURL: baseURL.replace(/\/+$/, ""),
    options: { ...configuration.requestOptions, ...scoped?.requestOptions, ...requestOptions },
  };
}

/** The first layer's value; an empty one, such as a variable set to nothing, is none. */
function first(
  layers: readonly (ClientConfig | undefined)[],
  read: (layer: ClientConfig) => string | undefined,
): string | undefined {
  for (const layer of layers) {
    const value = layer === undefined ? undefined : read(layer);
    if (value !== undefined && value !== "") return value;
  }
  return undefined;
}

/** Says of a process that it was started to execute isolated tasks (WRK-5), by whom and for which call of `startWorker`. */
export interface TaskProcessMark {
  /** Process id of the worker. */
  readonly pid: number;
  /** From 1. */
  readonly call: number;
}

const TASK_PROCESS = "HAIRTRIGGER_TASK_PROCESS";
let taskProcess: TaskProcessMark | undefined;

/** The environment of a task process: that of this process, and the mark. */
export function taskProcessEnvironment({ pid, call }: TaskProcessMark): Readonly<Record<string, string | undefined>> {
  return { ...process.env, [TASK_PROCESS]: `${pid}:${call}` };
}

/** Undefined for a process that is none. What this process starts does not inherit the mark. */
export function taskProcessMark(): TaskProcessMark | undefined {
  const { [TASK_PROCESS]: text } = process.env;
  if (text === undefined) return taskProcess;
  const [pid, call] = text.split(":").map(Number);
  taskProcess = { pid: pid ?? 0, call: call ?? 0 };
  delete process.env[TASK_PROCESS];
  return taskProcess;
}

/** CFG-1. Read at each call: a program may load its variables after its imports. */
function environment(): ClientConfig {
  if (typeof process === "undefined") return {};
  const { env } = process;
  return {
    accessToken: env.HAIRTRIGGER_SECRET_KEY || env.TRIGGER_SECRET_KEY,
    baseURL: env.HAIRTRIGGER_API_URL || env.TRIGGER_API_URL,
  };
}
