/**
 * `grpc.reflection`, v1 and v1alpha: lets grpcurl and `buf curl` work without files. Answers come from the generated descriptors; a file goes
 * out with all that it imports, dependencies first, and each file once per stream. The two versions have the same messages under two names.
 */
import { createRegistry, type DescFile, type Registry, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import { file_google_rpc_error_details as errorDetails } from "#proto/google/rpc/error_details_pb.js";
import { ServerReflection } from "#proto/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "#proto/grpc/reflection/v1alpha/reflection_pb.js";

/** What both versions ask. */
type Question =
  | { readonly case: "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType"; readonly value: string }
  | { readonly case: "listServices"; readonly value: string }
  | {
      readonly case: "fileContainingExtension";
      readonly value: { readonly containingType: string; readonly extensionNumber: number };
    }
  | { readonly case: undefined; readonly value?: undefined };

/** What both versions answer. */
type Reply =
  | { readonly case: "fileDescriptorResponse"; readonly value: { readonly fileDescriptorProto: Uint8Array[] } }
  | {
      readonly case: "allExtensionNumbersResponse";
      readonly value: { readonly baseTypeName: string; readonly extensionNumber: number[] };
    }
  | { readonly case: "listServicesResponse"; readonly value: { readonly service: { readonly name: string }[] } }
  | { readonly case: "errorResponse"; readonly value: { readonly errorCode: number; readonly errorMessage: string } };

/** @param files the files of the services to show; what they import is shown with them. */
export function registerReflection(router: ConnectRouter, files: readonly DescFile[]): void {
  // Error details are in no service; grpcurl looks them up to show them.
  const shown = [...files, errorDetails, ServerReflection.file, ServerReflectionAlpha.file];
  const catalogue: Catalogue = {
    registry: createRegistry(...withImports(shown)),
    files: new Map(withImports(shown).map((file) => [file.proto.name, file])),
    serviceNames: shown.flatMap((file) => file.services.map(({ typeName }) => typeName)).toSorted(),
  };
  router.service(ServerReflection, {
    async *serverReflectionInfo(questions) {
      const sent = new Set<DescFile>();
      for await (const question of questions) {
        const messageResponse = replyTo(question.messageRequest, catalogue, sent);
        yield { validHost: question.host, originalRequest: question, messageResponse };
      }
    },
  });
  router.service(ServerReflectionAlpha, {
    async *serverReflectionInfo(questions) {
      const sent = new Set<DescFile>();
      for await (const question of questions) {
        const messageResponse = replyTo(question.messageRequest, catalogue, sent);
        yield { validHost: question.host, originalRequest: question, messageResponse };
      }
    },
  });
}

interface Catalogue {
  readonly registry: Registry;
  /** By the name that imports use: `hairtrigger/v1/run.proto`. */
  readonly files: ReadonlyMap<string, DescFile>;
  readonly serviceNames: readonly string[];
}

function replyTo(question: Question, catalogue: Catalogue, sent: Set<DescFile>): Reply {
  const { registry } = catalogue;
  switch (question.case) {
    case "listServices":
      return { case: "listServicesResponse", value: { service: catalogue.serviceNames.map((name) => ({ name })) } };
    case "fileByFilename":
      return fileReply(catalogue.files.get(question.value), `file ${question.value}`, sent);
    case "fileContainingSymbol":
      return fileReply(fileOfSymbol(registry, question.value), `symbol ${question.value}`, sent);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      const extendee = registry.getMessage(containingType);
      const extension = extendee === undefined ? undefined : registry.getExtensionFor(extendee, extensionNumber);
      return fileReply(extension?.file, `extension ${extensionNumber} of ${containingType}`, sent);
    }
    case "allExtensionNumbersOfType": {
      const baseTypeName = question.value;
      const extendee = registry.getMessage(baseTypeName);
      if (extendee === undefined) return notFound(`message ${baseTypeName}`);
      const extensionNumber = [...registry].flatMap((desc) =>
        desc.kind === "extension" && desc.extendee === extendee ? [desc.number] : [],
      );
      return { case: "allExtensionNumbersResponse", value: { baseTypeName, extensionNumber } };
    }
    case undefined:
      return {
        case: "errorResponse",
        value: { errorCode: Code.InvalidArgument, errorMessage: "the request asks for nothing" },
      };
  }
}

/** The file and all that it needs, dependencies first, without what this stream has had already; the file itself always. */
function fileReply(file: DescFile | undefined, what: string, sent: Set<DescFile>): Reply {
  if (file === undefined) return notFound(what);
  const news = withImports([file]).filter((needed) => needed === file || !sent.has(needed));
  for (const needed of news) sent.add(needed);
  const fileDescriptorProto = news.map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

function notFound(what: string): Reply {
  return { case: "errorResponse", value: { errorCode: Code.NotFound, errorMessage: `no ${what} here` } };
}

/** A message, enum, service, extension, or a method, field or enum value, whose name is one part longer. */
function fileOfSymbol(registry: Registry, symbol: string): DescFile | undefined {
  const parent = symbol.slice(0, Math.max(symbol.lastIndexOf("."), 0));
  const desc = registry.get(symbol) ?? registry.get(parent);
  if (desc !== undefined) return desc.file;
  // Values of an enum are named beside it, not inside.
  for (const candidate of registry) {
    const isBeside = candidate.kind === "enum" && scopeOf(candidate.typeName) === parent;
    if (isBeside && candidate.values.some((value) => `${parent}.${value.name}` === symbol)) return candidate.file;
  }
  return undefined;
}

function scopeOf(typeName: string): string {
  return typeName.slice(0, Math.max(typeName.lastIndexOf("."), 0));
}

/** Files with all that they import, each once, dependencies first. */
function withImports(files: readonly DescFile[]): readonly DescFile[] {
  const ordered = new Set<DescFile>();
  const visit = (file: DescFile): void => {
    for (const dependency of file.dependencies) visit(dependency);
    ordered.add(file);
  };
  for (const file of files) visit(file);
  return [...ordered];
}
