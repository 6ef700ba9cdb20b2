/** Triggers that share calls, against a server on a real socket. */
import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { ApiConnectionError, BadRequestError, ConflictError, type RequestOptions, tasks } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { jwtVerify } from "jose";
import { ErrorInfoSchema } from "#proto/google/rpc/error_details_pb.js";
import { StatusSchema } from "#proto/google/rpc/status_pb.js";
import {
  RunService,
  type TriggerTaskRequest,
  TriggerTaskResponseSchema,
  TriggerTasksResponseSchema,
  type TriggerTasksResult,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import { gate, startWireServer, WIRE_KEY, type WireServer } from "./wire-server.js";

interface SeenCall {
  readonly method: "TriggerTask" | "TriggerTasks";
  readonly items: readonly TriggerTaskRequest[];
  readonly headers: Headers;
}

interface TriggerServer extends WireServer {
  readonly calls: readonly SeenCall[];
  /** Resolves when so many calls have arrived. */
  readonly arrived: (count: number) => Promise<void>;
}

/** Answers every trigger with an id made of its payload; `before` may delay or refuse a call, `refuse` an item. */
async function startTriggerServer(
  t: ExecutionContext,
  hooks: {
    before?: (call: SeenCall, index: number) => Promise<void> | void;
    refuse?: (item: TriggerTaskRequest, call: number) => { code: Code; reason: string } | undefined;
  } = {},
): Promise<TriggerServer> {
  const calls: SeenCall[] = [];
  const waiting: { readonly count: number; readonly open: () => void }[] = [];
  const note = async (method: SeenCall["method"], items: readonly TriggerTaskRequest[], context: HandlerContext) => {
    const call: SeenCall = { method, items, headers: context.requestHeader };
    const index = calls.push(call) - 1;
    for (const { count, open } of waiting) if (calls.length >= count) open();
    await hooks.before?.(call, index);
    return index;
  };
  const answer = (item: TriggerTaskRequest) =>
    create(TriggerTaskResponseSchema, {
      runId: `run of ${item.payload?.data.case === "json" ? item.payload.data.value : ""}`,
      taskId: item.taskId,
      taskKnown: true,
    });
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async triggerTask(item, context) {
        const index = await note("TriggerTask", [item], context);
        const refusal = hooks.refuse?.(item, index);
        if (refusal !== undefined) throw new ConnectError("refused", refusal.code, undefined, [info(refusal.reason)]);
        return answer(item);
      },
      async triggerTasks({ items }, context) {
        const index = await note("TriggerTasks", items, context);
        return create(TriggerTasksResponseSchema, {
          results: items.map((item): { result: TriggerTasksResult["result"] } => {
            const refusal = hooks.refuse?.(item, index);
            if (refusal === undefined) return { result: { case: "triggered", value: answer(item) } };
            const details = [anyPack(ErrorInfoSchema, create(ErrorInfoSchema, info(refusal.reason).value))];
            return {
              result: {
                case: "error",
                value: create(StatusSchema, { code: refusal.code, message: "refused", details }),
              },
            };
          }),
        });
      },
    }),
  );
  t.teardown(() => server.stop());
  return {
    ...server,
    calls,
    arrived: async (count) => {
      if (calls.length >= count) return;
      const { promise, open } = gate();
      waiting.push({ count, open });
      await promise;
    },
  };
}

function info(reason: string) {
  return { desc: ErrorInfoSchema, value: { reason, domain: "hairtrigger" } };
}

const many = (count: number, options: RequestOptions) =>
  Array.from({ length: count }, (_, index) => tasks.trigger("task", index, undefined, options));

test("TRG-1: a lone trigger goes at once, as a call of its own", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t);
  const handle = await tasks.trigger("task", "x", undefined, { clientConfig });
  t.is(handle.id, 'run of "x"');
  t.deepEqual(
    calls.map(({ method, items }) => [method, items.length]),
    [["TriggerTask", 1]],
  );
});

test("TRG-1: triggers made in one turn go out as two calls of half each, and every caller gets its own handle", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t);
  const handles = await Promise.all(many(64, { clientConfig }));
  t.deepEqual(
    handles.map(({ id }) => id),
    Array.from({ length: 64 }, (_, index) => `run of ${index}`),
  );
  t.deepEqual(
    calls.map(({ method, items }) => [method, items.length]),
    [
      ["TriggerTasks", 32],
      ["TriggerTasks", 32],
    ],
  );
});

test("TRG-1: with two calls in flight, later triggers wait and go out together when one returns", async (t) => {
  const gates = [gate(), gate()];
  const { clientConfig, calls, arrived } = await startTriggerServer(t, {
    before: (_, index) => gates[index]?.promise,
  });
  const first = tasks.trigger("task", "first", undefined, { clientConfig });
  await arrived(1);
  const second = tasks.trigger("task", "second", undefined, { clientConfig });
  await arrived(2);
  const rest = many(20, { clientConfig });
  // A trigger of someone else, on the same connection, is answered after the twenty have had every chance to leave.
  await tasks.trigger("task", "other", undefined, { clientConfig: { ...clientConfig, accessToken: "other" } });
  t.is(calls.length, 3);
  gates[0]?.open();
  await first;
  await Promise.all(rest);
  gates[1]?.open();
  await second;
  t.is(calls[3]?.method, "TriggerTasks");
  t.is(
    calls.slice(3).reduce((sum, { items }) => sum + items.length, 0),
    20,
  );
});

test("TRG-8: a refused trigger in a shared call rejects its own caller only", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t, {
    refuse: ({ payload }) =>
      payload?.data.value === "3" ? { code: Code.InvalidArgument, reason: "INVALID_DELAY" } : undefined,
  });
  const settled = await Promise.allSettled(many(10, { clientConfig }));
  t.deepEqual(
    settled.flatMap(({ status }, index) => (status === "rejected" ? [index] : [])),
    [3],
  );
  const [, , , refused] = settled;
  const error: unknown = refused?.status === "rejected" ? refused.reason : undefined;
  t.true(error instanceof BadRequestError && error.reason === "INVALID_DELAY" && error.code === "invalid_argument");
  t.true(calls.every(({ method }) => method === "TriggerTasks"));
});

test("REQ-1: tries of a failed shared call carry the same request ids, and no two triggers have the same one", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t, {
    before: (_, index) => {
      if (index < 2) throw new ConnectError("not now", Code.Unavailable);
    },
  });
  const retry = { minTimeoutInMs: 1, maxTimeoutInMs: 1 };
  await Promise.all(many(20, { clientConfig, retry }));
  const idsOf = (from: number, to?: number) =>
    calls
      .slice(from, to)
      .flatMap(({ items }) => items.map(({ requestId }) => requestId))
      .toSorted();
  t.is(new Set(idsOf(0, 2)).size, 20);
  t.deepEqual(idsOf(2), idsOf(0, 2));
});

test("RES-10: a trigger whose item may succeed later is tried again by itself, with its request id", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t, {
    refuse: ({ payload }, call) =>
      call < 2 && payload?.data.value === "3" ? { code: Code.Aborted, reason: "CREATE_RACE_LOST" } : undefined,
  });
  const retry = { minTimeoutInMs: 1, maxTimeoutInMs: 1 };
  const handles = await Promise.all(many(20, { clientConfig, retry }));
  t.is(handles[3]?.id, "run of 3");
  t.is(calls.length, 3);
  const again = calls[2]?.items ?? [];
  const before = calls.slice(0, 2).flatMap(({ items }) => items.filter(({ payload }) => payload?.data.value === "3"));
  t.deepEqual(
    again.map(({ requestId }) => requestId),
    before.map(({ requestId }) => requestId),
  );

  const stubborn = await startTriggerServer(t, { refuse: () => ({ code: Code.Aborted, reason: "CREATE_RACE_LOST" }) });
  await t.throwsAsync(
    tasks.trigger("task", 1, undefined, { clientConfig: stubborn.clientConfig, retry: { ...retry, maxAttempts: 3 } }),
    { instanceOf: ConflictError },
  );
  t.is(stubborn.calls.length, 3);
});

test("CFG-3: triggers with different credentials, or different headers, share no call", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t);
  const others: RequestOptions[] = [
    { clientConfig },
    { clientConfig: { ...clientConfig, accessToken: "tr_dev_anotherkey0123456789" } },
    { clientConfig, additionalHeaders: { "x-tenant": "a" } },
  ];
  await Promise.all(others.flatMap((options) => many(10, options)));
  t.is(calls.length, 6);
  const seen = calls.map(({ items, headers }) => [headers.get("authorization"), headers.get("x-tenant"), items.length]);
  t.deepEqual(
    seen.toSorted((a, b) => (String(a) < String(b) ? -1 : 1)),
    [
      [`Bearer ${WIRE_KEY}`, null, 5],
      [`Bearer ${WIRE_KEY}`, null, 5],
      [`Bearer ${WIRE_KEY}`, "a", 5],
      [`Bearer ${WIRE_KEY}`, "a", 5],
      ["Bearer tr_dev_anotherkey0123456789", null, 5],
      ["Bearer tr_dev_anotherkey0123456789", null, 5],
    ],
  );
});

test("PAY-12: a shared call has at most 500 triggers and stays far below the transport limit; a large one goes alone", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t);
  await Promise.all(many(1_700, { clientConfig }));
  t.true(calls.every(({ items }) => items.length <= 500));
  t.is(
    calls.reduce((sum, { items }) => sum + items.length, 0),
    1_700,
  );

  const large = await startTriggerServer(t);
  const text = "x".repeat(3_000_000);
  const options = { clientConfig: large.clientConfig };
  await Promise.all(Array.from({ length: 6 }, () => tasks.trigger("task", text, undefined, options)));
  t.deepEqual(
    large.calls.map(({ items }) => items.length),
    [1, 1, 1, 1, 1, 1],
  );
});

test("PAY-2: a payload that cannot be serialised throws without a request and harms no other trigger", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t);
  const good = tasks.trigger("task", 1, undefined, { clientConfig });
  const bad = tasks.trigger("task", { a: [() => 1] }, undefined, { clientConfig });
  await t.throwsAsync(bad, { instanceOf: TypeError, message: /payload\.a\[0\]/ });
  await good;
  t.is(calls.flatMap(({ items }) => items).length, 1);
});

test("RES-12: a trigger's promise gives headers and trailers of the call that carried it", async (t) => {
  const { clientConfig } = await startTriggerServer(t);
  const { data, response } = await tasks.trigger("task", 1, undefined, { clientConfig }).withResponse();
  t.is(data.id, "run of 1");
  t.true(response.headers.get("content-type")?.startsWith("application/grpc"));
  t.is((await tasks.trigger("task", 1, undefined, { clientConfig }).asResponse()).trailers.get("grpc-status"), "0");
  const refused = tasks.trigger("task", 1, { maxAttempts: 0.5 }, { clientConfig });
  await t.throwsAsync(refused.withResponse(), { instanceOf: BadRequestError });
});

test("TRG-3: a handle's token reads its run for an hour, or as long as it is told, signed with the derived key", async (t) => {
  const { clientConfig } = await startTriggerServer(t);
  const { hkdfSync, createHash } = await import("node:crypto");
  const key = new Uint8Array(hkdfSync("sha256", WIRE_KEY, "", "hairtrigger public token v1", 32));
  const verify = (token: string) => jwtVerify(token, key, { issuer: "hairtrigger", audience: "hairtrigger" });
  const { publicAccessToken } = await tasks.trigger("task", 1, undefined, { clientConfig });
  const { payload, protectedHeader } = await verify(publicAccessToken);
  t.is(protectedHeader.alg, "HS256");
  t.is(protectedHeader.kid, createHash("sha256").update(WIRE_KEY).digest("hex").slice(0, 16));
  t.is(payload.sub, "dev");
  t.true(payload.pub);
  t.deepEqual(payload.scopes, ["read:runs:run of 1"]);
  t.is((payload.exp ?? 0) - (payload.iat ?? 0), 3_600);
  t.is(typeof payload.jti, "string");

  const options = { clientConfig, publicAccessToken: { expirationTime: "24h" } };
  const longer = await verify((await tasks.trigger("task", 1, undefined, options)).publicAccessToken);
  t.is((longer.payload.exp ?? 0) - (longer.payload.iat ?? 0), 86_400);
  t.not(longer.payload.jti, payload.jti);
  const malformed = { clientConfig, publicAccessToken: { expirationTime: "soon" } };
  await t.throwsAsync(tasks.trigger("task", 1, undefined, malformed), { instanceOf: BadRequestError });
});

test("WRK-3: calls name the SDK and the version of the contract", async (t) => {
  const { clientConfig, calls } = await startTriggerServer(t);
  await tasks.trigger("task", 1, undefined, { clientConfig });
  t.regex(
    calls[0]?.headers.get("hairtrigger-client") ?? "",
    /^hairtrigger-typescript\/\d+\.\d+\.\d+ protocol\/\d+\.\d+$/,
  );
});

test("CFG-1: a server that is not there is named, and how to start one", async (t) => {
  const server = await startTriggerServer(t);
  await server.stop();
  const error = await t.throwsAsync(
    tasks.trigger("task", 1, undefined, { clientConfig: server.clientConfig, retry: { maxAttempts: 1 } }),
    { instanceOf: ApiConnectionError },
  );
  t.true(error.message.includes(server.url));
  t.regex(error.message, /hairtrigger dev/);
});
