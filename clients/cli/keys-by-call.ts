/** Keys of a running server, with its administrator key. */
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Key, KeyOrigin } from "#proto/hairtrigger/v1/auth_pb.js";
import { AuthService } from "#proto/hairtrigger/v1/auth_service_pb.js";
import { CommandError, EXIT } from "./exit-codes.js";
import type { KeyLine, KeyVerbs } from "./keys.js";

const PAGE_SIZE = 100;

export function keysByCall(baseURL: string, administratorKey: string): KeyVerbs {
  const service = createClient(AuthService, createGrpcTransport({ baseUrl: baseURL }));
  const options = { headers: { authorization: `Bearer ${administratorKey}` } };
  return {
    async create(environment, description) {
      const { key, secretKey } = await answered(service.createKey({ environment, description }, options), baseURL);
      return { key: lineOf(key), secretKey };
    },
    async list(environment = "") {
      const lines: KeyLine[] = [];
      for (let pageToken = ""; ; ) {
        const request = { environment, pageSize: PAGE_SIZE, pageToken };
        const { keys, nextPageToken } = await answered(service.listKeys(request, options), baseURL);
        lines.push(...keys.map(lineOf));
        if (nextPageToken === "") return lines;
        pageToken = nextPageToken;
      }
    },
    revoke: async (keyId) => lineOf((await answered(service.revokeKey({ keyId }, options), baseURL)).key),
  };
}

async function answered<T>(call: Promise<T>, baseURL: string): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    if (code === Code.Unavailable) throw new CommandError(`no answer from ${baseURL}: ${rawMessage}`, EXIT.unreachable);
    const exitCode =
      code === Code.Unauthenticated ? EXIT.unauthenticated : code === Code.InvalidArgument ? EXIT.usage : EXIT.failed;
    throw new CommandError(rawMessage, exitCode);
  }
}

const ORIGINS = {
  [KeyOrigin.UNSPECIFIED]: "created",
  [KeyOrigin.CREATED]: "created",
  [KeyOrigin.FIRST_START]: "firstStart",
  [KeyOrigin.CONFIGURED]: "configured",
} as const satisfies Readonly<Record<KeyOrigin, KeyLine["origin"]>>;

function lineOf(key: Key | undefined): KeyLine {
  if (key === undefined) throw new CommandError("the answer has no key", EXIT.failed);
  const { id, environment, description, createTime, revokeTime, origin } = key;
  return {
    id,
    environment,
    description,
    origin: ORIGINS[origin],
    ...(createTime === undefined ? {} : { createdAt: timestampDate(createTime) }),
    ...(revokeTime === undefined ? {} : { revokedAt: timestampDate(revokeTime) }),
  };
}
