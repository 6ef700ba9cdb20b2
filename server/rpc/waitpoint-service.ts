/** WaitpointService: decode, authorise, one engine verb, encode. */
import { toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import type { ListTokensRequest, WaitpointService } from "#proto/hairtrigger/v1/waitpoint_service_pb.js";
import { requireComplete, requireSecretKey } from "../auth/authorise.js";
import { rejectIfAny } from "../domain/error.js";
import type { Waitpoint } from "../domain/waitpoint.js";
import { principalOf } from "./call-scope.js";
import { decodePayload } from "./convert/payload.js";
import {
  keyOf,
  type TokenPlace,
  timeoutOf,
  timerLeaseOf,
  tokenFilterOf,
  tokenPlaceOf,
  untilOf,
  wireToken,
} from "./convert/waitpoint.js";
import type { ServiceDeps } from "./services.js";

export function createWaitpointService(deps: ServiceDeps): ServiceImpl<typeof WaitpointService> {
  const { engine, clock, limits, tokenUrls } = deps;
  const shown = (token: Waitpoint) => wireToken(token, { url: tokenUrls.urlOf(token), nowMs: clock.nowMs() });

  return {
    async createToken(request, context) {
      const { environment } = requireSecretKey(principalOf(context), "CreateToken");
      const { waitpoint, isCached } = await engine.createToken({
        environment,
        timeout: timeoutOf(request),
        ...keyOf(request),
        tags: request.tags,
        requestId: given(request.requestId),
      });
      return { token: shown(waitpoint), isCached };
    },

    async completeToken({ tokenId, data }, context) {
      const principal = principalOf(context);
      requireComplete(principal, tokenId);
      const { stored, input, violations } = decodePayload(data, "data");
      rejectIfAny(violations);
      const output = stored === undefined ? undefined : toBinary(PayloadSchema, stored);
      await engine.completeToken({ environment: principal.environment, tokenId, output, payload: input });
      return {};
    },

    async retrieveToken({ tokenId }, context) {
      const { environment } = requireSecretKey(principalOf(context), "RetrieveToken");
      return { token: shown(await engine.retrieveToken(environment, tokenId)) };
    },

    async listTokens(request, context) {
      const { environment } = requireSecretKey(principalOf(context), "ListTokens");
      const list = { environment, method: "ListTokens" };
      const place = placeOf(request, list);
      const limit = request.pageSize ?? limits.pageSizeDefault;
      const { tokens, hasOlder, hasNewer } = await engine.listTokens({ environment, limit, ...place });
      const [first, last] = [tokens[0], tokens.at(-1)];
      const pageToken = (to: Omit<TokenPlace, "filter">): string =>
        deps.pageTokens.sign(list, { filter: place.filter, ...to });
      return {
        tokens: tokens.map((token) => shown({ ...token, output: undefined })),
        nextPageToken: hasOlder && last !== undefined ? pageToken({ after: cursorOf(last) }) : "",
        previousPageToken: hasNewer && first !== undefined ? pageToken({ before: cursorOf(first) }) : "",
      };
    },

    async createTimer(request, context) {
      const { environment } = requireSecretKey(principalOf(context), "CreateTimer");
      const { waitpoint, isCached } = await engine.createTimer({
        environment,
        lease: timerLeaseOf(request),
        until: untilOf(request),
        ...keyOf(request),
        requestId: given(request.requestId),
      });
      return {
        waitpointId: waitpoint.id,
        untilTime: timestampFromMs(waitpoint.timeoutAtMs),
        isOver: waitpoint.status !== "WAITING",
        isCached,
      };
    },
  };

  /** The first page of a filter, or where a token of such a list stands. */
  function placeOf(
    { filter, pageToken }: ListTokensRequest,
    list: { readonly environment: string; readonly method: string },
  ): TokenPlace {
    if (pageToken === "") return { filter: tokenFilterOf(filter, clock.nowMs()) };
    return tokenPlaceOf(deps.pageTokens.open(list, pageToken));
  }
}

function cursorOf({ createdAtMs, id: waitpointId }: Waitpoint) {
  return { createdAtMs, waitpointId };
}

function given(text: string): string | undefined {
  return text === "" ? undefined : text;
}
