/**
 * `hairtrigger keys …`: of a running server, where the administrator key is known; of the store on this machine otherwise, which with a
 * directory no server may have open.
 */
import { administratorKeyOf, readConnection } from "./environment.js";
import { EXIT } from "./exit-codes.js";
import { paint, print, printError, printJson, printTable, timeText } from "./output.js";

export interface KeyLine {
  readonly id: string;
  readonly environment: string;
  readonly description: string;
  readonly origin: "created" | "firstStart" | "configured";
  readonly createdAt?: Date;
  readonly revokedAt?: Date;
}

export interface KeyVerbs {
  create(environment: string, description: string): Promise<{ readonly key: KeyLine; readonly secretKey: string }>;
  list(environment?: string): Promise<readonly KeyLine[]>;
  revoke(id: string): Promise<KeyLine>;
}

export interface KeysOptions {
  readonly url?: string;
  readonly store?: string;
  readonly adminKey?: string;
  readonly json?: boolean;
}

export async function createKey(
  environment: string,
  options: KeysOptions & { readonly description?: string },
): Promise<number> {
  const verbs = await verbsOf(options);
  const { key, secretKey } = await verbs.create(environment, options.description ?? "");
  if (options.json === true) printJson({ ...key, secretKey });
  else {
    print(secretKey);
    printError(`key ${key.id} of environment ${key.environment}; it is shown here and never again`);
  }
  return EXIT.ok;
}

export async function listKeys(options: KeysOptions & { readonly environment?: string }): Promise<number> {
  const verbs = await verbsOf(options);
  const keys = await verbs.list(options.environment);
  if (options.json === true) printJson(keys);
  else if (keys.length === 0) print("no keys");
  else {
    printTable(
      ["KEY", "ENVIRONMENT", "CREATED", "REVOKED", "DESCRIPTION"],
      keys.map((key) => [
        key.id,
        key.environment,
        key.createdAt === undefined ? "in HAIRTRIGGER_KEYS" : timeText(key.createdAt),
        key.revokedAt === undefined ? "" : timeText(key.revokedAt),
        key.description,
      ]),
    );
  }
  return EXIT.ok;
}

export async function revokeKey(id: string, options: KeysOptions): Promise<number> {
  const verbs = await verbsOf(options);
  const key = await verbs.revoke(id);
  if (options.json === true) printJson(key);
  else
    print(
      paint("yellow", `key ${key.id} of environment ${key.environment} is revoked, and every token signed with it`),
    );
  return EXIT.ok;
}

async function verbsOf(options: KeysOptions): Promise<KeyVerbs> {
  const administratorKey = administratorKeyOf(options.adminKey);
  if (administratorKey === undefined) return (await import("./keys-on-host.js")).keysOnHost(options.store);
  const { baseURL } = await readConnection(options);
  return (await import("./keys-by-call.js")).keysByCall(baseURL, administratorKey);
}
