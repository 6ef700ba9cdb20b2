/** gRPC with nothing between the test and the frames: what exactly is sent, and in which frames it comes back. */
import { connect, type IncomingHttpHeaders } from "node:http2";

export interface RawAnswer {
  readonly headers: IncomingHttpHeaders;
  /** HEADERS ended the stream: Trailers-Only. */
  readonly isTrailersOnly: boolean;
  readonly trailers: IncomingHttpHeaders | undefined;
  readonly body: Buffer;
}

/** One unary call. @param params.message encoded, without envelope; `params.body` is sent as it is instead. */
export async function rawGrpc(params: {
  readonly url: string;
  readonly path: string;
  readonly message?: Uint8Array;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}): Promise<RawAnswer> {
  const session = connect(params.url, { rejectUnauthorized: false });
  try {
    return await new Promise((resolve, reject) => {
      session.once("error", reject);
      const stream = session.request({
        ":method": "POST",
        ":path": params.path,
        "content-type": "application/grpc",
        te: "trailers",
        ...params.headers,
      });
      let headers: IncomingHttpHeaders = {};
      let trailers: IncomingHttpHeaders | undefined;
      let isTrailersOnly = false;
      const chunks: Buffer[] = [];
      stream.once("response", (received, flags) => {
        headers = received;
        isTrailersOnly = (flags & END_STREAM) !== 0;
      });
      stream.once("trailers", (received) => {
        trailers = received;
      });
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.once("error", reject);
      stream.once("end", () => resolve({ headers, isTrailersOnly, trailers, body: Buffer.concat(chunks) }));
      stream.end(params.body ?? envelope(params.message ?? new Uint8Array()));
    });
  } finally {
    session.destroy();
  }
}

/** RFC 9113, 6.2. */
const END_STREAM = 0x1;

export function envelope(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(5 + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, 5);
  return framed;
}
