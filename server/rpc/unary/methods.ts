/** The unary methods that the lean path serves: each with the handler that Connect's router was given, behind the same guards. */
import { create, type DescMethodUnary, type Message } from "@bufbuild/protobuf";
import { type ConnectRouter, createServiceImplSpec, type Interceptor, type MethodImplSpec } from "@connectrpc/connect";
import { createMethodSerializationLookup } from "@connectrpc/connect/protocol";
import { methodPath } from "../method-path.js";
import { requestOf, responseOf, type UnaryContext } from "./context.js";

export interface UnaryMethod {
  /** `/hairtrigger.v1.RunService/TriggerTask` */
  readonly path: string;
  readonly method: DescMethodUnary;
  /** @throws ConnectError for bytes that are no such message. */
  readonly parse: (bytes: Uint8Array) => Message;
  readonly serialize: (message: Message) => Uint8Array;
  /** Guards, then the handler; rejects with whatever either throws. */
  readonly invoke: (message: Message, context: UnaryContext) => Promise<Message>;
}

export interface UnaryMethodsOptions {
  readonly guards: readonly Interceptor[];
  readonly bytesMax: number;
}

/** Largest answer: what Connect allows. */
const ANSWER_BYTES_MAX = 0xffff_ffff;

/** Every unary method that `register` registers, by path. */
export function unaryMethods(
  register: (router: ConnectRouter) => void,
  options: UnaryMethodsOptions,
): ReadonlyMap<string, UnaryMethod> {
  const methods = new Map<string, UnaryMethod>();
  const add = (spec: MethodImplSpec): void => {
    if (spec.kind !== "unary") return;
    const method = unaryMethod(spec, options);
    methods.set(method.path, method);
  };
  const router: ConnectRouter = {
    handlers: [],
    service(service, implementation) {
      for (const spec of Object.values(createServiceImplSpec(service, implementation).methods)) add(spec);
      return router;
    },
    rpc() {
      throw new Error("methods are registered by service");
    },
  };
  register(router);
  return methods;
}

type UnarySpec = Extract<MethodImplSpec, { readonly kind: "unary" }>;

function unaryMethod({ method, impl }: UnarySpec, { guards, bytesMax }: UnaryMethodsOptions): UnaryMethod {
  const limits = { readMaxBytes: bytesMax, writeMaxBytes: ANSWER_BYTES_MAX };
  const serialization = createMethodSerializationLookup(method, undefined, undefined, limits);
  return {
    path: methodPath(method),
    method,
    parse: serialization.getI(true).parse,
    serialize: serialization.getO(true).serialize,
    async invoke(message, context) {
      type Next = Parameters<Interceptor>[0];
      const handle: Next = async (request) => {
        if (request.stream) throw new Error("a unary call has one message");
        const output = create(method.output, await impl(request.message, context));
        return responseOf(context, output);
      };
      const guarded = guards.reduceRight((next, guard) => guard(next), handle);
      const response = await guarded(requestOf(context, message));
      if (response.stream) throw new Error("a unary call has one answer");
      return response.message;
    },
  };
}
