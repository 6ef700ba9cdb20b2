/** Keys of the store that the settings of this shell name. */
import { type Config, ConfigError, readConfig } from "../../server/config.js";
import { withHostKeys } from "../../server/host-keys.js";
import { hostEnvironment } from "./environment.js";
import { CommandError, EXIT, usageError } from "./exit-codes.js";
import type { KeyLine, KeyVerbs } from "./keys.js";

/** @param store directory in place of HAIRTRIGGER_STORE. */
export function keysOnHost(store: string | undefined): KeyVerbs {
  const config = settings(store);
  const withKeys = async <T>(work: Parameters<typeof withHostKeys<T>>[1]): Promise<T> => {
    try {
      return await withHostKeys(config, work);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if ("code" in error && error.code === "INVALID_ARGUMENT") throw usageError(error.message);
      if ("reason" in error) throw error;
      // A running server has the directory.
      throw new CommandError(`${error.message}; or ask it, with HAIRTRIGGER_ADMIN_KEY set here and there`, EXIT.failed);
    }
  };
  return {
    create: (environment, description) =>
      withKeys(async (keys) => {
        const { key, secretKey } = await keys.create({ environment, description });
        return { key: lineOf(key), secretKey };
      }),
    list: (environment) => withKeys(async (keys) => (await keys.list(environment)).map(lineOf)),
    revoke: (name) => withKeys(async (keys) => lineOf(await keys.revoke(name))),
  };
}

type View = Awaited<ReturnType<Parameters<Parameters<typeof withHostKeys>[1]>[0]["revoke"]>>;

function lineOf({ name, createdAtMs, revokedAtMs, ...key }: View): KeyLine {
  return {
    id: name,
    ...key,
    ...(createdAtMs === undefined ? {} : { createdAt: new Date(createdAtMs) }),
    ...(revokedAtMs === undefined ? {} : { revokedAt: new Date(revokedAtMs) }),
  };
}

function settings(store: string | undefined): Config {
  try {
    return readConfig(hostEnvironment(store));
  } catch (error) {
    throw error instanceof ConfigError ? usageError(`the settings have mistakes\n${error.message}`) : error;
  }
}
